package llama

// #include "shim.h"
import "C"

import (
	"errors"
	"sync/atomic"
)

var (
	// ErrClosed: the handle was closed before.
	ErrClosed = errors.New("already closed")
	// ErrInUse: something made from the handle is still open.
	ErrInUse = errors.New("still in use")
	// ErrCancelled: the progress function of Load asked to stop.
	ErrCancelled = errors.New("loading was cancelled")
	// ErrNotInitialized: Init was not called, or failed.
	ErrNotInitialized = errors.New("the llama.cpp backends are not loaded: call llama.Init first")
	// ErrUnparsed: a model's final answer does not have the form that its chat
	// template prescribes. The caller has the text and may show it as it is.
	ErrUnparsed = errors.New("the answer does not have the form that the chat template prescribes")
)

// takeError returns the error text that C left in *s, and frees it.
func takeError(s **C.char) error {
	if *s == nil {
		return errors.New("unknown failure in llama.cpp")
	}
	err := errors.New(C.GoString(*s))
	C.hearth_string_free(*s)
	*s = nil
	return err
}

// takeString returns a string that C made, and frees it.
func takeString(s *C.char) string {
	text := C.GoString(s)
	C.hearth_string_free(s)
	return text
}

// takeBytes is takeString for n bytes that may hold zeros.
func takeBytes(s *C.char, n C.int64_t) []byte {
	b := C.GoBytes(ptr(s), C.int(n))
	C.hearth_string_free(s)
	return b
}

// handleKinds are the kinds that C counts, by its own numbers.
var handleKinds = [...]string{
	C.HEARTH_KIND_MODEL:     "model",
	C.HEARTH_KIND_CONTEXT:   "context",
	C.HEARTH_KIND_SAMPLER:   "sampler",
	C.HEARTH_KIND_TEMPLATES: "templates",
	C.HEARTH_KIND_PARSER:    "parser",
	C.HEARTH_KIND_PROGRESS:  "progress",
	C.HEARTH_KIND_ADAPTER:   "adapter",
}

// LiveHandles returns how many C++ objects of each kind exist. Kinds of which
// there are none are left out, so that a program without leaks ends with an
// empty map.
func LiveHandles() map[string]int64 {
	live := map[string]int64{}
	for kind, name := range handleKinds {
		if n := int64(C.hearth_live(C.int32_t(kind))); n != 0 {
			live[name] = n
		}
	}
	return live
}

// once is the state of a handle that is closed exactly once.
type once struct{ closed atomic.Bool }

// close reports whether this call is the one that closes.
func (o *once) close() bool { return o.closed.CompareAndSwap(false, true) }
