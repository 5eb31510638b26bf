package llama

/*
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"hearth/inference"
)

// EmbedderOptions says how a context that embeds is made. Zero values stand for
// the defaults named with each field.
type EmbedderOptions struct {
	// Batch is the most tokens in one Embed, all inputs together, and so of one
	// input; 0: 512.
	Batch     int
	Sequences int // inputs in one Embed, 1..256; 0: 64
	Threads   int // 0: one for each CPU
	// Pooling is what the vectors of an input's tokens become; empty: what the
	// model's file says, and the mean where it says nothing.
	Pooling        inference.Pooling
	FlashAttention string // as in ContextOptions
	OffloadKQV     bool   // attention on the GPU, for the layers there
}

const defaultEmbedSequences = 64

var poolings = map[inference.Pooling]C.int32_t{
	"": C.HEARTH_POOLING_MODEL, inference.PoolingMean: C.HEARTH_POOLING_MEAN, inference.PoolingCLS: C.HEARTH_POOLING_CLS,
	inference.PoolingLast: C.HEARTH_POOLING_LAST,
}

// pairFormat says how a query and a document are put together: by the file's
// template, or as BERT and its kin were trained, with the tokens that the
// vocabulary adds; a token is -1 where it adds none.
func pairFormat(template string, bos, sep, eos int32) inference.PairFormat {
	f := inference.PairFormat{Template: template}
	add := func(to *[]int32, token int32) {
		if token >= 0 {
			*to = append(*to, token)
		}
	}
	add(&f.Before, bos)
	add(&f.Between, eos)
	add(&f.Between, sep)
	if add(&f.After, eos); len(f.After) == 0 {
		add(&f.After, sep)
	}
	return f
}

// PairFormat says how the model reads a query with a document, which is of use
// where it scores documents.
func (m *Model) PairFormat() inference.PairFormat {
	f := m.pairs
	f.Before, f.Between, f.After = slices.Clone(f.Before), slices.Clone(f.Between), slices.Clone(f.After)
	return f
}

func (o *EmbedderOptions) check() error {
	for _, c := range []struct {
		name  string
		v, hi int
	}{
		{"batch", o.Batch, maxCells},
		{"sequences", o.Sequences, maxSequences},
		{"threads", o.Threads, maxThreads},
	} {
		if c.v < 0 || c.v > c.hi {
			return fmt.Errorf("%s must be between 0 (default) and %d, got %d", c.name, c.hi, c.v)
		}
	}
	if _, ok := poolings[o.Pooling]; !ok {
		return fmt.Errorf("the pooling must be mean, cls or last, got %q", o.Pooling)
	}
	if _, ok := flashAttention[o.FlashAttention]; !ok {
		return fmt.Errorf("flash attention must be auto, on or off, got %q", o.FlashAttention)
	}
	return nil
}

func (o EmbedderOptions) withDefaults() EmbedderOptions {
	if o.Batch == 0 {
		o.Batch = defaultUBatch
	}
	if o.Sequences == 0 {
		o.Sequences = defaultEmbedSequences
	}
	o.Sequences = min(o.Sequences, o.Batch)
	if o.Threads == 0 {
		o.Threads = min(runtime.NumCPU(), maxThreads)
	}
	return o
}

// Embedder is a context that turns inputs into vectors. Inputs of one call do
// not see each other, and nothing stays from one call to the next. It computes
// on a thread of its own, while the goroutine that called Embed is parked. It
// belongs to one goroutine; Abort may be called by any.
type Embedder struct {
	once
	m      *Model
	h      *C.hearth_context
	traits inference.EmbedTraits
	done   *os.File // an eventfd: the compute thread has finished a batch
	signal [8]byte  // what is read from it
	batch  inference.Batch
}

// NewEmbedder makes a context that embeds. It refuses models whose tokens have
// no vectors to pool: recurrent ones, diffusion models, and those of an encoder
// and a decoder together; and a model that sorts texts into classes. A model
// whose file asks for a score instead of a vector gives scores.
func (m *Model) NewEmbedder(o EmbedderOptions) (*Embedder, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("create embedding context: %w", err)
	}
	o = o.withDefaults()
	done, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create embedding context: eventfd: %w", err)
	}
	p := C.hearth_embedder_params{
		batch: C.uint32_t(o.Batch), sequences: C.uint32_t(o.Sequences), threads: C.int32_t(o.Threads),
		pooling: poolings[o.Pooling], flash_attention: flashAttention[o.FlashAttention],
		offload_kqv: flag(o.OffloadKQV), done: C.int32_t(done),
	}
	e := &Embedder{m: m, done: os.NewFile(uintptr(done), "eventfd")}
	err = m.use(func(h *C.hearth_model) error {
		var t C.hearth_embedder_traits
		var cerr *C.char
		if e.h = C.hearth_embedder_new(h, &p, &t, &cerr); e.h == nil {
			return takeError(&cerr)
		}
		m.users.add(&m.users.contexts, 1)
		e.traits = inference.EmbedTraits{
			Batch: int(t.batch), Sequences: int(t.sequences), MaxTokens: int(t.longest),
			Width: int(t.width), Vocabulary: int(t.vocabulary), Pooling: poolingName(t.pooling),
		}
		return nil
	})
	if err != nil {
		_ = e.done.Close()
		return nil, fmt.Errorf("create embedding context of %d tokens: %w", o.Batch, err)
	}
	return e, nil
}

func poolingName(p C.int32_t) inference.Pooling {
	if p == C.HEARTH_POOLING_RANK {
		return inference.PoolingRank
	}
	for name, v := range poolings {
		if v == p && name != "" {
			return name
		}
	}
	return ""
}

// Close frees the context. No other call may be running.
func (e *Embedder) Close() error {
	if !e.close() {
		return fmt.Errorf("close embedding context: %w", ErrClosed)
	}
	C.hearth_context_free(e.h)
	_ = e.done.Close()
	e.m.users.add(&e.m.users.contexts, -1)
	return nil
}

// Traits returns what the context can do.
func (e *Embedder) Traits() inference.EmbedTraits { return e.traits }

// Abort stops the Embed that is running, which returns inference.ErrAborted; on a
// GPU the batch ends first. Any goroutine may call it while the context is open.
func (e *Embedder) Abort() {
	if !e.closed.Load() {
		C.hearth_abort(e.h)
	}
}

// fill makes the batch of inputs, and refuses what llama.cpp would abort on.
func (e *Embedder) fill(inputs [][]int32) error {
	if len(inputs) == 0 || len(inputs) > e.traits.Sequences {
		return fmt.Errorf("it has %d inputs; 1 to %d can be computed at once", len(inputs), e.traits.Sequences)
	}
	e.batch.Reset()
	for seq, tokens := range inputs {
		if len(tokens) == 0 || len(tokens) > e.traits.MaxTokens {
			return fmt.Errorf("input %d has %d tokens; 1 to %d are possible", seq, len(tokens), e.traits.MaxTokens)
		}
		if e.batch.Len()+len(tokens) > e.traits.Batch {
			return fmt.Errorf("it has more than %d tokens", e.traits.Batch)
		}
		for pos, t := range tokens {
			if t < 0 || int(t) >= e.traits.Vocabulary {
				return fmt.Errorf("token %d at index %d of input %d is not in the vocabulary (0..%d)", t, pos, seq, e.traits.Vocabulary-1)
			}
			e.batch.Add(t, int32(pos), int32(seq), true)
		}
	}
	return nil
}

// Embed computes a vector of Traits.Width numbers for each input, scaled to
// length 1; where Traits.Pooling is PoolingRank, numbers of which the first is
// the score of the input. The error wraps one of inference.ErrAborted, ErrNoSlot, ErrBadBatch, ErrDecodeFatal, or
// ErrClosed.
func (e *Embedder) Embed(inputs [][]int32) ([][]float32, error) {
	if e.closed.Load() {
		return nil, fmt.Errorf("embed: %w", ErrClosed)
	}
	if err := e.fill(inputs); err != nil {
		return nil, fmt.Errorf("embed: %w: %w", inference.ErrBadBatch, err)
	}
	b := &e.batch
	C.hearth_step_start(e.h, C.int32_t(len(b.Token)), (*C.int32_t)(unsafe.SliceData(b.Token)), (*C.int32_t)(unsafe.SliceData(b.Pos)),
		(*C.int32_t)(unsafe.SliceData(b.Seq)), (*C.int8_t)(unsafe.SliceData(b.Output)), 0, nil, nil, 0)
	// Parked here, as in Context.compute. If the read fails, the next line waits.
	_, _ = e.done.Read(e.signal[:])
	var drawn C.hearth_drawn
	if rc := C.hearth_step_result(e.h, &drawn); rc != 0 {
		return nil, fmt.Errorf("embed: %w", decodeFailure(int(rc), C.GoString(C.hearth_context_error(e.h))))
	}
	all := make([]float32, len(inputs)*e.traits.Width)
	out := make([][]float32, len(inputs))
	for i := range out {
		v := all[i*e.traits.Width : (i+1)*e.traits.Width : (i+1)*e.traits.Width]
		if C.hearth_embedding(e.h, C.int32_t(i), (*C.float)(&v[0])) != 0 {
			return nil, fmt.Errorf("embed: %w: input %d has no vector", inference.ErrDecodeFatal, i)
		}
		if e.traits.Pooling == inference.PoolingRank {
			if x := float64(v[0]); math.IsNaN(x) || math.IsInf(x, 0) {
				return nil, fmt.Errorf("embed: %w: input %d has a score that is no number", inference.ErrDecodeFatal, i)
			}
		} else if err := unitLength(v); err != nil {
			return nil, fmt.Errorf("embed: %w: input %d: %w", inference.ErrDecodeFatal, i, err)
		}
		out[i] = v
	}
	return out, nil
}

// unitLength scales v to length 1.
func unitLength(v []float32) error {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return errors.New("the model computed numbers that are none")
	}
	if sum == 0 {
		return nil
	}
	scale := 1 / math.Sqrt(sum)
	for i := range v {
		v[i] = float32(float64(v[i]) * scale)
	}
	return nil
}
