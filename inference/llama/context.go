package llama

/*
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"hearth/inference"
)

// ContextOptions says how a context is made. Zero values stand for the defaults
// named with each field.
type ContextOptions struct {
	Cells        int    // places in the KV cache, all sequences together; 0: what the model was trained for
	Sequences    int    // sequences that may be decoded, 1..256; 0: 1. Some architectures have one, whatever is asked
	Guesses      int    // rows of guessed tokens in one Step, 0..64; 0: none, as with a sliding window
	Batch        int    // most tokens in one Step; 0: 512
	MicroBatch   int    // tokens computed at once, at most Batch; 0: Batch, at most 512
	Threads      int    // for one token a sequence; 0: one for each CPU
	ThreadsBatch int    // for prompts; 0: Threads
	KVType       string // "f16", "q8_0" or "q4_0"; empty: "f16"
	// FlashAttention is "auto", "on" or "off"; empty: "auto". Quantized cells
	// need it.
	FlashAttention string
	Unified        bool // all sequences share one pool of cells
	Streams        bool // with Unified: Relayout shall be possible, if it can be; see Traits.Streams
	Aside          bool // prompts shall be computed beside the Steps, if they can be; see Traits.Aside
	OffloadKQV     bool // cells and attention on the GPU, for the layers there
	// WindowOnly: layers with a sliding window keep no more than it. That takes
	// less memory, and no prefixes are shared.
	WindowOnly bool
	// Adapters are those that Adapt may set, by their places here.
	Adapters []*Adapter
}

const (
	maxSequences  = 256 // llama.cpp's LLAMA_MAX_SEQ
	maxGuesses    = 64
	maxThreads    = 512 // ggml's GGML_MAX_N_THREADS
	maxCells      = 1 << 28
	defaultBatch  = 512
	defaultUBatch = 512
)

var kvTypes = map[string]C.int32_t{"": C.HEARTH_KV_F16, "f16": C.HEARTH_KV_F16, "q8_0": C.HEARTH_KV_Q8_0, "q4_0": C.HEARTH_KV_Q4_0}

var flashAttention = map[string]C.int32_t{"": -1, "auto": -1, "off": 0, "on": 1}

func (o *ContextOptions) check() error {
	for _, c := range []struct {
		name string
		v    int
		hi   int
	}{
		{"cells", o.Cells, maxCells},
		{"sequences", o.Sequences, maxSequences},
		{"guesses", o.Guesses, maxGuesses},
		{"batch", o.Batch, maxCells},
		{"micro-batch", o.MicroBatch, maxCells},
		{"threads", o.Threads, maxThreads},
		{"threads for prompts", o.ThreadsBatch, maxThreads},
	} {
		if c.v < 0 || c.v > c.hi {
			return fmt.Errorf("%s must be between 0 (default) and %d, got %d", c.name, c.hi, c.v)
		}
	}
	kv, ok := kvTypes[o.KVType]
	if !ok {
		return fmt.Errorf("the cell type must be f16, q8_0 or q4_0, got %q", o.KVType)
	}
	fa, ok := flashAttention[o.FlashAttention]
	if !ok {
		return fmt.Errorf("flash attention must be auto, on or off, got %q", o.FlashAttention)
	}
	if kv != C.HEARTH_KV_F16 && fa == 0 {
		return fmt.Errorf("cells of type %s need flash attention: set it to auto or on, or the cell type to f16", o.KVType)
	}
	return nil
}

func (o ContextOptions) withDefaults(train int) ContextOptions {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Cells, max(train, 1))
	def(&o.Sequences, 1)
	def(&o.Batch, defaultBatch)
	def(&o.MicroBatch, min(o.Batch, defaultUBatch))
	o.MicroBatch = min(o.MicroBatch, o.Batch)
	def(&o.Threads, min(runtime.NumCPU(), maxThreads))
	def(&o.ThreadsBatch, o.Threads)
	return o
}

// Context computes: it holds the KV cache and the threads. It is the engine's
// backend. Batches are computed on a thread of its own, while the goroutine that
// called Decode is parked. See the package's comment on concurrency.
type Context struct {
	once
	m      *Model
	h      *C.hearth_context
	traits inference.Traits
	// windowOnly is ContextOptions.WindowOnly.
	windowOnly bool

	done   *os.File // an eventfd: the compute thread has finished a step
	signal [8]byte  // what is read from it

	hold *atomic.Uint32 // C reads it: not 0 while Hold is on
	pin  runtime.Pinner // of hold

	// rows[i] is not 0 where token i of the batch in hand has logits.
	rows  []int8
	ahead bool // the batch in hand is being computed: the next step has none
	// last[s] is the position of sequence s's last token in the batch being
	// checked, where stamp[s] is that batch's number.
	last  [maxSequences]int32
	stamp [maxSequences]uint64
	batch uint64
	draw  drawRows
	aside aside

	adapters []*Adapter

	runBytes [2]int64 // of a run of no cells, and of each cell
}

// NewContext makes a context and probes what its memory can do, which decodes a
// few tokens; the memory is empty afterwards.
func (m *Model) NewContext(o ContextOptions) (*Context, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("create context: %w", err)
	}
	if err := checkArchitecture(m.info.Architecture); err != nil {
		return nil, fmt.Errorf("create context: %w", err)
	}
	o = o.withDefaults(m.info.TrainContext)
	o.Sequences = sequencesOf(m.info.Architecture, o.Sequences)
	done, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create context: eventfd: %w", err)
	}
	p := C.hearth_context_params{
		cells: C.uint32_t(o.Cells), sequences: C.uint32_t(o.Sequences), guesses: C.uint32_t(o.Guesses),
		batch: C.uint32_t(o.Batch), ubatch: C.uint32_t(o.MicroBatch),
		threads: C.int32_t(o.Threads), threads_batch: C.int32_t(o.ThreadsBatch),
		kv_type: kvTypes[o.KVType], flash_attention: flashAttention[o.FlashAttention],
		unified: flag(o.Unified), offload_kqv: flag(o.OffloadKQV), window_only: flag(o.WindowOnly), done: C.int32_t(done),
	}
	if m.memory.window > 0 {
		// Cells that a wrong guess pushed out of the window would be missing.
		p.guesses = 0
	}
	c := &Context{
		m: m, adapters: slices.Clone(o.Adapters), done: os.NewFile(uintptr(done), "eventfd"),
		windowOnly: o.WindowOnly, hold: new(atomic.Uint32),
	}
	c.pin.Pin(c.hold)
	p.hold = (*C.uint32_t)(unsafe.Pointer(c.hold))
	err = m.use(func(h *C.hearth_model) error {
		if err := m.checkAdapters(o.Adapters); err != nil {
			return err
		}
		each, free := int64(C.hearth_cell_bytes(h, p.kv_type, p.window_only)), freeMemory()
		if err := checkRoom(o.Cells, each, free, o.KVType); err != nil {
			return err
		}
		if o.Streams {
			p.streams = C.uint32_t(streamCells(o, m.info.TrainContext, each, free))
		}
		p.aside = C.uint32_t(asideCells(o, m.info.TrainContext, each, free))
		var t C.hearth_traits
		var cerr *C.char
		if c.h = C.hearth_context_new(h, &p, &t, &cerr); c.h == nil {
			return takeError(&cerr)
		}
		m.users.add(&m.users.contexts, 1)
		c.traits = inference.Traits{
			Cells: int(t.cells), Sequences: int(t.sequences), Guesses: int(t.guesses), Holders: int(t.holders),
			Batch: int(t.batch), MicroBatch: int(t.ubatch), Context: window(int(t.context), m.info.TrainContext),
			Vocabulary: int(t.vocabulary), Unified: t.unified != 0, Share: t.share != 0, TrimTail: t.trim_tail != 0,
			Adapters: len(c.adapters), Keep: t.keep != 0, Window: m.memory.window, Streams: int(t.streams), Aside: int(t.aside),
		}
		if c.traits.Streams > 0 {
			c.traits.ScanCost = scanNanos * float64(t.heads) / float64(o.Threads)
			c.traits.ReadCost = float64(each) / readBytes
			c.traits.CopyCost = float64(each) / copyBytes
		}
		c.runBytes = [2]int64{int64(t.run_bytes[0]), int64(t.run_bytes[1])}
		return nil
	})
	if err != nil {
		c.pin.Unpin()
		_ = c.done.Close()
		return nil, fmt.Errorf("create context of %d cells for %d sequences: %w", o.Cells, o.Sequences, err)
	}
	return c, nil
}

// window is the most positions of one sequence: a model is of no use beyond what
// it was trained for, however many cells there are for all.
func window(cells, train int) int {
	if train > 0 {
		return min(cells, train)
	}
	return cells
}

// Close frees the context. No other call may be running.
func (c *Context) Close() error {
	if !c.close() {
		return fmt.Errorf("close context: %w", ErrClosed)
	}
	C.hearth_context_free(c.h)
	c.pin.Unpin()
	_ = c.done.Close()
	c.m.users.add(&c.m.users.contexts, -1)
	return nil
}

// Traits returns what the context can do.
func (c *Context) Traits() inference.Traits { return c.traits }

// Piece is Model.Piece.
func (c *Context) Piece(token int32, special bool) []byte { return c.m.Piece(token, special) }

// EndOfGeneration is Model.EndOfGeneration.
func (c *Context) EndOfGeneration(token int32) bool { return c.m.EndOfGeneration(token) }

// checkBatch refuses what llama.cpp would abort on or misread. It does not
// allocate unless it refuses.
func (c *Context) checkBatch(b *inference.Batch) error {
	n := len(b.Token)
	if n == 0 {
		return errors.New("it is empty")
	}
	if len(b.Pos) != n || len(b.Seq) != n || len(b.Output) != n {
		return fmt.Errorf("its slices differ in length: %d tokens, %d positions, %d sequences, %d output flags", n, len(b.Pos), len(b.Seq), len(b.Output))
	}
	if n > c.traits.Batch {
		return fmt.Errorf("it has %d tokens, and a batch holds %d", n, c.traits.Batch)
	}
	c.batch++
	outputs := 0
	for i, t := range b.Token {
		pos, seq := b.Pos[i], b.Seq[i]
		if t < 0 || int(t) >= c.traits.Vocabulary {
			return fmt.Errorf("token %d at index %d is not in the vocabulary (0..%d)", t, i, c.traits.Vocabulary-1)
		}
		if seq < 0 || int(seq) >= c.traits.Sequences {
			return fmt.Errorf("sequence %d at index %d cannot be decoded (0..%d can)", seq, i, c.traits.Sequences-1)
		}
		if pos < 0 || int(pos) >= c.traits.Context {
			return fmt.Errorf("position %d at index %d is outside the context (0..%d)", pos, i, c.traits.Context-1)
		}
		if c.stamp[seq] == c.batch && c.last[seq]+1 != pos {
			return fmt.Errorf("position %d of sequence %d at index %d does not follow %d", pos, seq, i, c.last[seq])
		}
		c.stamp[seq], c.last[seq] = c.batch, pos
		if b.Output[i] != 0 {
			outputs++
		}
	}
	if most := c.traits.Sequences + c.traits.Guesses; outputs > most {
		return fmt.Errorf("%d of its tokens want an output row, and there are %d", outputs, most)
	}
	return nil
}

// Abort stops the Decode that is running, which returns inference.ErrAborted; one
// that begins later is not touched. Any goroutine may call it while the context
// is open. It works for what is computed on the CPU; on a GPU the step ends first.
func (c *Context) Abort() {
	if !c.closed.Load() {
		C.hearth_abort(c.h)
	}
}

// held reports whether seq is an id that may hold cells.
func (c *Context) held(seq int32) bool {
	ids := c.traits.Sequences
	if c.traits.Unified {
		ids += c.traits.Holders
	}
	return !c.closed.Load() && seq >= 0 && int(seq) < ids
}

// SeqRemove frees the cells of seq in [p0, p1) that no other sequence holds. It is
// false where the memory cannot remove a part, or has no longer what going on at
// p0 would need, and for an id that does not exist.
func (c *Context) SeqRemove(seq, p0, p1 int32) bool {
	return c.held(seq) && (p0 <= 0 || c.SeqIntact(seq, p0)) && C.hearth_seq_rm(c.h, C.int32_t(seq), C.int32_t(p0), C.int32_t(p1)) != 0
}

// SeqIntact reports whether seq holds all that going on at position n needs.
// Layers with a sliding window may have given up what lies further back than
// the window before the end of seq.
func (c *Context) SeqIntact(seq, n int32) bool {
	w := int32(c.m.memory.window)
	if w == 0 || !c.held(seq) {
		return c.held(seq)
	}
	return int32(C.hearth_seq_pos_min(c.h, C.int32_t(seq))) <= max(0, n-w+1)
}

// SeqCopy lets dst hold the cells of src in [p0, p1). Where Traits.Unified is
// false, dst loses what it had, and the copy begins at position 0 whatever p0 is.
// Ids that do not exist are ignored: a step that relies on such a copy fails with
// inference.ErrBadBatch.
func (c *Context) SeqCopy(src, dst, p0, p1 int32) {
	if c.held(src) && c.held(dst) && src != dst {
		C.hearth_seq_cp(c.h, C.int32_t(src), C.int32_t(dst), C.int32_t(p0), C.int32_t(p1))
	}
}

// SeqSwap implements engine.Memory.
func (c *Context) SeqSwap(a, b int32) bool {
	if c.traits.Streams == 0 || !c.held(a) || !c.held(b) || a == b {
		return false
	}
	return C.hearth_seq_swap(c.h, C.int32_t(a), C.int32_t(b)) != 0
}

// SeqPosMax returns the last position that seq holds, -1 if it is empty or does
// not exist.
func (c *Context) SeqPosMax(seq int32) int32 {
	if !c.held(seq) {
		return -1
	}
	return int32(C.hearth_seq_pos_max(c.h, C.int32_t(seq)))
}
