package llama

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"hearth/inference"
)

// Adapter is a LoRA adapter, loaded beside its model. The contexts that
// ContextOptions.Adapters gives it to may compute with it.
type Adapter struct {
	once
	m     *Model
	h     *C.hearth_adapter
	path  string
	bytes int64
}

// LoadAdapter loads the adapter in the GGUF file at path. It must have been made
// for this model: models.CheckAdapter says whether it was, and llama.cpp ends the
// process for some that were not. While a context of the model is open it refuses
// with ErrInUse, because a context is made for the adapters that there are.
func (m *Model) LoadAdapter(path string) (*Adapter, error) {
	fail := func(err error) (*Adapter, error) { return nil, fmt.Errorf("load adapter %s: %w", path, err) }
	if err := checkFile(path); err != nil {
		return fail(err)
	}
	// The model keeps a list of its adapters without a lock of its own.
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fail(ErrClosed)
	}
	if n := m.users.count(&m.users.contexts); n > 0 {
		return fail(fmt.Errorf("%w: %d contexts", ErrInUse, n))
	}
	cpath := C.CString(path)
	defer C.free(ptr(cpath))
	var cerr *C.char
	h := C.hearth_adapter_load(m.h, cpath, &cerr)
	if h == nil {
		return fail(takeError(&cerr))
	}
	m.users.add(&m.users.adapters, 1)
	return &Adapter{m: m, h: h, path: path, bytes: int64(C.hearth_adapter_bytes(h))}, nil
}

// Bytes is the memory that the adapter's weights take.
func (a *Adapter) Bytes() int64 { return a.bytes }

// Close frees the adapter. While a context of the model is open it refuses with
// ErrInUse.
func (a *Adapter) Close() error {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if n := a.m.users.count(&a.m.users.contexts); n > 0 && !a.closed.Load() {
		return fmt.Errorf("close adapter: %w: %d contexts", ErrInUse, n)
	}
	if !a.close() {
		return fmt.Errorf("close adapter: %w", ErrClosed)
	}
	C.hearth_adapter_free(a.h)
	a.h = nil
	a.m.users.add(&a.m.users.adapters, -1)
	return nil
}

// checkAdapters refuses adapters that a context of m cannot compute with.
func (m *Model) checkAdapters(all []*Adapter) error {
	for i, a := range all {
		if a.m != m {
			return fmt.Errorf("adapter %d (%s) was loaded for another model", i, a.path)
		}
		if a.closed.Load() {
			return fmt.Errorf("adapter %d (%s): %w", i, a.path, ErrClosed)
		}
	}
	return nil
}

// Adapt sets the adapters that the following Steps compute with, by their
// places in ContextOptions.Adapters; an empty set is the model alone. The next
// Decode plans its computation anew, which takes milliseconds. What sequences
// hold stays as it was computed: go on with the adapters that it was begun with.
func (c *Context) Adapt(set []inference.AdapterScale) error {
	if c.closed.Load() {
		return fmt.Errorf("set adapters: %w", ErrClosed)
	}
	handles, scales := make([]*C.hearth_adapter, len(set)), make([]float32, len(set))
	for i, s := range set {
		if s.Adapter < 0 || s.Adapter >= len(c.adapters) {
			return fmt.Errorf("set adapters: there is no adapter %d, the context has %d", s.Adapter, len(c.adapters))
		}
		if err := inference.CheckAdapterScale("scale", s.Scale); err != nil {
			return fmt.Errorf("set adapters: %w", err)
		}
		handles[i], scales[i] = c.adapters[s.Adapter].h, s.Scale
	}
	var cerr *C.char
	if C.hearth_context_adapt(c.h, C.int32_t(len(set)), unsafe.SliceData(handles), (*C.float)(unsafe.SliceData(scales)), &cerr) != 0 {
		return fmt.Errorf("set adapters: %w", takeError(&cerr))
	}
	return nil
}
