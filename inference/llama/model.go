package llama

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"hearth/inference"
)

// SplitMode says how a model is spread over several devices.
type SplitMode int

// The split modes.
const (
	SplitLayer SplitMode = iota // each device holds whole layers
	SplitNone                   // one device holds all
	SplitRow                    // each device holds a part of every matrix
)

// Values of ModelOptions.GPULayers besides a number.
const (
	AllLayers  = -1
	AutoLayers = -2 // as many as fit into free memory beside ModelOptions.Fit
)

// ModelOptions says how a model is loaded. The zero value loads it into the
// memory of the CPU.
type ModelOptions struct {
	// GPULayers is how many layers, counted from the last, lie on the GPUs: 0 or
	// more, AllLayers or AutoLayers. Without a GPU it has no effect.
	GPULayers int
	// Devices names the devices that may be used, as Devices lists them; nil:
	// all of them.
	Devices []string
	// TensorSplit is the share of the model for each device, in their order;
	// only ratios count. Nil: by free memory.
	TensorSplit []float32
	SplitMode   SplitMode
	Mmap        bool // map the file instead of reading it
	Mlock       bool // keep the model from being swapped out
	VocabOnly   bool // load the vocabulary and metadata only
	// Fit is the context that AutoLayers leaves room for; nil: 4096 cells for
	// one sequence.
	Fit *ContextOptions
}

// Model is a loaded model. See the package's comment on concurrency.
type Model struct {
	// mu guards h and users: readers call C, Close writes.
	mu     sync.RWMutex
	h      *C.hearth_model
	closed bool
	users  users

	path   string
	info   inference.ModelInfo
	layers int
	memory memoryKind
	pairs  inference.PairFormat
	vocab  vocabulary
	cuts   cutters
}

// users counts what was made from a model and is still open.
type users struct {
	mu                                      sync.Mutex
	contexts, samplers, templates, adapters int
}

func (u *users) add(n *int, delta int) {
	u.mu.Lock()
	*n += delta
	u.mu.Unlock()
}

func (u *users) count(n *int) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return *n
}

func (u *users) String() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var parts []string
	for _, c := range []struct {
		n    int
		name string
	}{{u.contexts, "contexts"}, {u.samplers, "samplers"}, {u.templates, "templates"}, {u.adapters, "adapters"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.name))
		}
	}
	return strings.Join(parts, ", ")
}

// progressInterval is how often Load looks at how far llama.cpp is.
const progressInterval = 50 * time.Millisecond

// Load loads the GGUF file at path. progress, if not nil, is called now and then
// from another goroutine with how much is done (0..1), and once with 1 at the end;
// when it returns false, Load stops and returns ErrCancelled.
func Load(path string, o ModelOptions, progress func(float32) bool) (*Model, error) {
	if !initDone.Load() {
		return nil, fmt.Errorf("load %s: %w", path, ErrNotInitialized)
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	if err := checkFile(path); err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	p := C.hearth_progress_new()
	if p == nil {
		return nil, fmt.Errorf("load %s: out of memory", path)
	}
	defer C.hearth_progress_free(p)
	stop := watch(p, progress)
	h, err := load(path, &o, p)
	stop()
	if err != nil {
		if C.hearth_progress_cancelled(p) != 0 {
			err = ErrCancelled
		}
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	m := &Model{h: h, path: path}
	if err := m.describe(); err != nil {
		C.hearth_model_free(h)
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	if progress != nil {
		progress(1)
	}
	return m, nil
}

// watch polls p for progress until the returned function is called.
func watch(p *C.hearth_progress, progress func(float32) bool) (stop func()) {
	if progress == nil {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	// asked before the load begins, so that a cancelled caller never waits for one
	if !progress(0) {
		C.hearth_progress_cancel(p)
	}
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				if !progress(float32(C.hearth_progress_get(p))) {
					C.hearth_progress_cancel(p)
				}
			}
		}
	}()
	return func() { close(end); <-ended }
}

func load(path string, o *ModelOptions, p *C.hearth_progress) (*C.hearth_model, error) {
	fit := o.Fit
	if fit == nil {
		fit = &ContextOptions{Cells: 4096, Sequences: 1, OffloadKQV: true}
	}
	params := C.hearth_model_params{
		gpu_layers:      C.int32_t(o.GPULayers),
		split_mode:      map[SplitMode]C.int32_t{SplitNone: 0, SplitLayer: 1, SplitRow: 2}[o.SplitMode],
		use_mmap:        flag(o.Mmap),
		use_mlock:       flag(o.Mlock),
		vocab_only:      flag(o.VocabOnly),
		any_device:      flag(o.Devices == nil),
		fit_cells:       C.uint32_t(fit.Cells),
		fit_sequences:   C.uint32_t(fit.Sequences),
		fit_batch:       C.uint32_t(fit.Batch),
		fit_ubatch:      C.uint32_t(fit.MicroBatch),
		fit_kv_type:     kvTypes[fit.KVType],
		fit_unified:     flag(fit.Unified),
		fit_offload_kqv: flag(fit.OffloadKQV),
		fit_window_only: flag(fit.WindowOnly),
	}
	cpath, cdev := C.CString(path), C.CString(strings.Join(o.Devices, "\n"))
	defer C.free(ptr(cpath))
	defer C.free(ptr(cdev))
	var split *C.float
	if len(o.TensorSplit) > 0 {
		split = (*C.float)(&o.TensorSplit[0])
	}
	var cerr *C.char
	h := C.hearth_model_load(cpath, &params, cdev, split, C.int32_t(len(o.TensorSplit)), p, &cerr)
	if h == nil {
		return nil, takeError(&cerr)
	}
	return h, nil
}

// describe reads what the file says about the model, and its vocabulary.
func (m *Model) describe() error {
	var cerr *C.char
	text := C.hearth_model_info(m.h, &cerr)
	if text == nil {
		return takeError(&cerr)
	}
	var j struct {
		Architecture string   `json:"architecture"`
		Description  string   `json:"description"`
		Quantization string   `json:"quantization"`
		Params       uint64   `json:"params"`
		TrainContext int      `json:"train_context"`
		Layers       int      `json:"layers"`
		Vocabulary   int      `json:"vocabulary"`
		GPULayers    int      `json:"gpu_layers"`
		ChatTemplate bool     `json:"chat_template"`
		EmbedsOnly   bool     `json:"embeds_only"`
		Devices      []string `json:"devices"`
		Recurrent    bool     `json:"recurrent"`
		Hybrid       bool     `json:"hybrid"`
		Window       int      `json:"window"`
		RankTemplate string   `json:"rank_template"`
		BOS          int32    `json:"bos"` // each -1 where the vocabulary adds none
		SEP          int32    `json:"sep"`
		EOS          int32    `json:"eos"`
	}
	if err := json.Unmarshal([]byte(takeString(text)), &j); err != nil {
		return fmt.Errorf("read the model's description: %w", err)
	}
	m.layers = j.Layers
	m.memory = memoryKind{recurrent: j.Recurrent, hybrid: j.Hybrid, window: j.Window}
	m.pairs = pairFormat(j.RankTemplate, j.BOS, j.SEP, j.EOS)
	m.info = inference.ModelInfo{
		Path: m.path, Architecture: j.Architecture, Description: j.Description,
		Quantization: j.Quantization, Params: j.Params, FileBytes: fileBytes(m.path),
		TrainContext: j.TrainContext, Context: j.TrainContext, Vocabulary: j.Vocabulary,
		ChatTemplate: j.ChatTemplate, GPULayers: j.GPULayers, Devices: j.Devices,
		LoadedAt: time.Now(), Defaults: inference.DefaultSampling(), EmbeddingOnly: j.EmbedsOnly,
	}
	if err := m.vocab.read(m.h, j.Vocabulary); err != nil {
		return err
	}
	m.cuts.read(m.h, &m.vocab)
	if name, _ := m.Meta("tokenizer.ggml.model"); remembers(name) {
		m.cuts.special.whole, m.cuts.plain.whole = true, true
	}
	return nil
}

// Close frees the model. It refuses with ErrInUse while contexts, samplers,
// templates or adapters of it are open, and waits for tokenizations that run.
func (m *Model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fmt.Errorf("close model: %w", ErrClosed)
	}
	if open := m.users.String(); open != "" {
		return fmt.Errorf("close model: %w: %s", ErrInUse, open)
	}
	m.closed = true
	C.hearth_model_free(m.h)
	m.h = nil
	return nil
}

// use calls f with the C handle, which stays valid meanwhile.
func (m *Model) use(f func(h *C.hearth_model) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return ErrClosed
	}
	return f(m.h)
}

// Info describes the model as far as its file does: ID, TemplateTools,
// PrefixSharing, WhyNotShared and Defaults beyond llama.cpp's are the caller's, and Context is
// what the model was trained for.
func (m *Model) Info() inference.ModelInfo {
	info := m.info
	info.Devices = append([]string(nil), m.info.Devices...)
	return info
}

// Layers returns the number of layers, without the output layer.
func (m *Model) Layers() int { return m.layers }

// Meta returns the file's metadata value of that key as text; false if there is
// none, or if it is an array.
func (m *Model) Meta(key string) (string, bool) {
	if strings.ContainsRune(key, 0) {
		return "", false
	}
	var value string
	var found bool
	err := m.use(func(h *C.hearth_model) error {
		ckey := C.CString(key)
		defer C.free(ptr(ckey))
		if text := C.hearth_model_meta(h, ckey); text != nil {
			value, found = takeString(text), true
		}
		return nil
	})
	return value, found && err == nil
}

func flag(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}
