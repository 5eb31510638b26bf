package enginetest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"hearth/inference"
)

// The vocabulary: tokens 0..255 are bytes, then come the special ones.
const (
	EOG        = 256 // ends a generation
	Control    = 257 // first control token; its text is "<|c0|>"
	Controls   = 4
	Vocabulary = Control + Controls
)

// Options say what the model is like. The zero value is a unified cache of 1024
// cells for 8 sequences, batches and micro-batches of 64, prefixes shared, and
// answers that look random.
type Options struct {
	Cells, Sequences, Holders, Batch, MicroBatch, Context int
	// Adapters is how many adapters there are; each changes every answer.
	Adapters int
	// OnAdapt, if set, may refuse a set of adapters.
	OnAdapt func(set []inference.AdapterScale) error
	// Guesses is the trait (default 16; negative: none).
	Guesses int
	// Split gives every sequence a cache of its own.
	Split bool
	// Streams is the trait: how many cells each sequence has in the other layout.
	// ScanCost, ReadCost and CopyCost are those that make it worth while.
	Streams                      int
	ScanCost, ReadCost, CopyCost float64
	// Aside is the trait, AsideSlices in how many slices a chunk is computed (default
	// 1). OnAside, if set, may fail a "begin", "advance" or "end".
	Aside, AsideSlices int
	OnAside            func(op string) error
	// OnRelayout, if set, may refuse to move the cells.
	OnRelayout func(unified bool) error
	// OnSwap, if set, may fail to exchange two sequences.
	OnSwap func() bool
	// NoShare and NoTrim take the traits of that name away.
	NoShare, NoTrim bool
	// Window is how many tokens a token sees, itself included; 0: all. When a
	// batch is computed, cells that one sequence alone holds are given up where
	// its next token will not see them.
	Window int
	// EOGEvery makes about one token in so many an end of generation, if no
	// Next or Reply decides; 0: none.
	EOGEvery int
	// Next, if set, is the model: the token that follows a history.
	Next func(history []int32) int32
	// Forced is how the model goes on where a grammar leaves it no choice: the text
	// that follows the end of a history, "" where it is free. Next, Reply and the
	// random answers give way to it. A sampler with a grammar foresees it.
	Forced func(history []int32) string
	// Reply, if set, answers each prompt with a text, then ends the generation.
	// Prompt is the text of the prompt, control tokens included.
	Reply func(prompt string) string
	// OnDecode, if set, is called before a batch is computed. An error is what
	// Step returns; with ErrAborted and ErrDecodeFatal the first micro-batch
	// is computed all the same.
	OnDecode func(b *inference.Batch) error
	// OnSample, if set, may replace the answer of a row, Err included, and fail
	// the whole call.
	OnSample func(rows []inference.SampleRow, out []inference.Sampled) error
	// OnSampler, if set, may refuse a sampler.
	OnSampler func(*inference.SamplerSpec) error
	// Keep is the trait: runs of cells can be saved and loaded. Not with Split.
	Keep bool
	// OnSave and OnLoad, if set, may fail a run that is saved or loaded.
	OnSave, OnLoad func() error
	// Quiet records no calls.
	Quiet bool
}

// Call is an entry of the trace.
type Call struct {
	Op       string // "decode", "sample", "copy", "swap", "remove", "load", "adapt", "relayout" or "aside"
	Batch    inference.Batch
	Err      error // of a decode
	Src, Dst int32 // of a copy; Dst of a removal or a load
	P0, P1   int32
	Rows     []int // of a sample: indices into the batch before
	Moves    []inference.SeqMove
	Adapters []inference.AdapterScale // of a change, or those that a decode was computed with
}

// cell is one place of the cache.
type cell struct {
	token, pos int32
	owners     int
	serial     uint64 // of the computation that made it; a copy keeps it
	place      uint64 // its own, also of a copy
	gone       bool   // given up; see Options.Window
	adapters   uint64 // mark of those it was computed with
}

// Backend is the model. Make it with New.
type Backend struct {
	o      Options
	traits inference.Traits

	inside  atomic.Bool
	hold    atomic.Bool
	mu      sync.Mutex // for those who look from outside
	seqs    [][]*cell  // by id: the cells in the order of positions
	used    int
	made    uint64
	places  uint64
	origins map[uint64]uint64 // of loaded cells: the computation that they were saved from
	last    inference.Batch
	next    inference.Batch // what a Step went ahead with
	ahead   bool
	calls   []Call

	aside    *aside                   // nil: nothing is computed beside the steps
	adapters []inference.AdapterScale // that are set

	samplers    atomic.Int64
	oldSamplers atomic.Int64
	noSlots     atomic.Int64
}

// New makes a backend.
func New(o Options) *Backend {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.Cells, 1024)
	set(&o.Sequences, 8)
	set(&o.Batch, 64)
	set(&o.Guesses, 16)
	if o.Guesses = max(o.Guesses, 0); o.Window > 0 {
		o.Guesses = 0 // a wrong one would have cost cells of the window
	}
	set(&o.MicroBatch, o.Batch)
	set(&o.Context, o.Cells)
	if o.Split {
		o.Holders = 0
		o.Context = min(o.Context, o.Cells/o.Sequences)
	}
	return &Backend{
		o:    o,
		seqs: make([][]*cell, o.Sequences+o.Holders), origins: map[uint64]uint64{},
		traits: inference.Traits{
			Cells: o.Cells, Sequences: o.Sequences, Holders: o.Holders, Batch: o.Batch,
			MicroBatch: o.MicroBatch, Guesses: o.Guesses, Context: o.Context, Vocabulary: Vocabulary,
			Unified: !o.Split, Share: !o.NoShare, TrimTail: !o.NoTrim, Adapters: o.Adapters,
			Keep: o.Keep && !o.Split, Window: o.Window,
			Streams: o.Streams, ScanCost: o.ScanCost, ReadCost: o.ReadCost, CopyCost: o.CopyCost,
			Aside: o.Aside,
		},
	}
}

// Traits implements engine.Decoder.
func (b *Backend) Traits() inference.Traits { return b.traits }

// Step implements engine.Decoder. A batch that it goes ahead with is computed by
// the next Step, so that whoever looks in between sees the memory as it was.
func (b *Backend) Step(batch *inference.Batch, rows []inference.SampleRow, out []inference.Sampled, more bool) (bool, error) {
	if (batch == nil) != b.ahead {
		panic(fmt.Sprintf("enginetest: a step with a batch of its own: %t, while one is ahead: %t", batch != nil, b.ahead))
	}
	if batch == nil {
		b.mu.Lock()
		b.ahead = false
		b.mu.Unlock()
		batch = &b.next
	}
	if err := b.Decode(batch); err != nil {
		return false, err
	}
	if len(rows) == 0 {
		return false, nil
	}
	if err := b.Sample(rows, out); err != nil {
		for i := range out {
			out[i].Err = err
		}
		return false, nil
	}
	return more && b.goAhead(rows, out), nil
}

func (b *Backend) goAhead(rows []inference.SampleRow, out []inference.Sampled) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hold.Load() {
		return false
	}
	b.next.Reset()
	for i, r := range rows {
		if r.Guess || out[i].Err != nil || b.EndOfGeneration(out[i].Token) || len(out[i].Appended)+len(out[i].Likely) > 0 {
			return false
		}
		b.next.Add(out[i].Token, b.last.Pos[r.Index]+1, b.last.Seq[r.Index], true)
	}
	b.ahead = true
	return true
}

// Hold implements engine.Decoder.
func (b *Backend) Hold(on bool) { b.hold.Store(on) }

// enter panics if another goroutine is in the backend, or a Step has gone ahead.
func (b *Backend) enter() func() {
	if !b.inside.CompareAndSwap(false, true) {
		panic("enginetest: two goroutines use the context at the same time")
	}
	b.mu.Lock()
	if b.ahead {
		panic("enginetest: the context is used while a step has gone ahead")
	}
	return func() {
		b.mu.Unlock()
		b.inside.Store(false)
	}
}

func (b *Backend) record(c Call) {
	if !b.o.Quiet {
		b.calls = append(b.calls, c)
	}
}

// Decode computes a batch.
func (b *Backend) Decode(batch *inference.Batch) error {
	if !b.inside.CompareAndSwap(false, true) {
		panic("enginetest: two goroutines use the context at the same time")
	}
	defer b.inside.Store(false)
	b.check(batch)
	var injected error
	if b.o.OnDecode != nil {
		injected = b.o.OnDecode(batch) // may block, so without the lock
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.decode(batch, injected)
	b.record(Call{Op: "decode", Batch: inference.Batch{
		Token: slices.Clone(batch.Token), Pos: slices.Clone(batch.Pos),
		Seq: slices.Clone(batch.Seq), Output: slices.Clone(batch.Output),
	}, Adapters: b.adapters, Err: err})
	return err
}

func (b *Backend) decode(batch *inference.Batch, injected error) error {
	b.last.Reset()
	n := batch.Len()
	if injected != nil {
		if injected == inference.ErrNoSlot || injected == inference.ErrBadBatch {
			return fmt.Errorf("fake: %w", injected)
		}
		n = min(n, b.o.MicroBatch/2)
	}
	if !b.room(batch) {
		b.noSlots.Add(1)
		return fmt.Errorf("fake: %w", inference.ErrNoSlot)
	}
	b.forget()
	for i := range n {
		s := batch.Seq[i]
		if !b.intact(s, batch.Pos[i]) {
			panic(fmt.Sprintf("enginetest: position %d of sequence %d sees cells that were given up", batch.Pos[i], s))
		}
		b.made++
		b.checkAdapters(s)
		b.seqs[s] = append(b.seqs[s], b.fill(cell{token: batch.Token[i], pos: batch.Pos[i], serial: b.made, adapters: mark(b.adapters)}))
	}
	if injected != nil {
		return fmt.Errorf("fake: %w", injected)
	}
	for i := range n {
		b.last.Add(batch.Token[i], batch.Pos[i], batch.Seq[i], batch.Output[i] == 1)
	}
	return nil
}

// room reports whether the batch has free cells.
func (b *Backend) room(batch *inference.Batch) bool {
	if !b.o.Split && b.used+batch.Len() > b.o.Cells {
		return false
	}
	each := b.o.Cells
	switch {
	case b.o.Split:
		each = b.o.Cells / b.o.Sequences
	case !b.traits.Unified:
		each = b.o.Streams
	}
	for s := range b.seqs {
		n := len(b.seqs[s])
		for _, t := range batch.Seq {
			if int(t) == s {
				n++
			}
		}
		if n > each {
			return false
		}
	}
	return true
}

// check panics where llama.cpp would abort or compute nonsense.
func (b *Backend) check(batch *inference.Batch) {
	n := batch.Len()
	if n == 0 || n > b.o.Batch {
		panic(fmt.Sprintf("enginetest: a batch of %d tokens; 1 to %d are allowed", n, b.o.Batch))
	}
	if len(batch.Pos) != n || len(batch.Seq) != n || len(batch.Output) != n {
		panic("enginetest: the slices of a batch differ in length")
	}
	outputs := 0
	for i := range n {
		s := batch.Seq[i]
		if s < 0 || int(s) >= b.o.Sequences {
			panic(fmt.Sprintf("enginetest: sequence %d cannot be decoded; 0 to %d can", s, b.o.Sequences-1))
		}
		if t := batch.Token[i]; t < 0 || t >= Vocabulary {
			panic(fmt.Sprintf("enginetest: token %d is not in the vocabulary", t))
		}
		next := len(b.seqs[s])
		for _, earlier := range batch.Seq[:i] {
			if earlier == s {
				next++
			}
		}
		if int(batch.Pos[i]) != next {
			panic(fmt.Sprintf("enginetest: sequence %d goes on at position %d, the batch has %d", s, next, batch.Pos[i]))
		}
		if next >= b.o.Context {
			panic(fmt.Sprintf("enginetest: position %d is beyond the context of %d", next, b.o.Context))
		}
		outputs += int(batch.Output[i])
	}
	if outputs > b.o.Sequences+b.o.Guesses {
		panic(fmt.Sprintf("enginetest: %d rows wanted, at most %d are allowed", outputs, b.o.Sequences))
	}
}

// Sample draws from the last batch.
func (b *Backend) Sample(rows []inference.SampleRow, out []inference.Sampled) error {
	defer b.enter()()
	if len(rows) != len(out) || len(rows) == 0 {
		panic(fmt.Sprintf("enginetest: %d rows to sample into %d places", len(rows), len(out)))
	}
	for i, r := range rows {
		if r.Index < 0 || r.Index >= b.last.Len() || b.last.Output[r.Index] != 1 {
			panic(fmt.Sprintf("enginetest: row %d was not wanted in the last batch", r.Index))
		}
		s, ok := r.Sampler.(*Sampler)
		if !ok || s.closed.Load() {
			panic("enginetest: sampling with a sampler that is closed or not of this backend")
		}
		if r.Guess {
			if i == 0 || rows[i-1].Sampler != r.Sampler || rows[i-1].Index != r.Index-1 {
				panic(fmt.Sprintf("enginetest: row %d holds a guess and does not follow its sampler's row", r.Index))
			}
			if before := out[i-1]; before.Skipped || before.Err != nil || before.Token != b.last.Token[r.Index] || b.EndOfGeneration(before.Token) {
				out[i] = inference.Sampled{Skipped: true}
				continue
			}
		}
		out[i] = s.draw(b.history(b.last.Seq[r.Index], b.last.Pos[r.Index]), mark(b.adapters))
	}
	b.foresee(rows, out)
	var err error
	if b.o.OnSample != nil {
		err = b.o.OnSample(rows, out)
	}
	if !b.o.Quiet {
		var index []int
		for _, r := range rows {
			index = append(index, r.Index)
		}
		b.record(Call{Op: "sample", Rows: index})
	}
	return err
}

// history reads what sequence s holds up to pos from its cells.
func (b *Backend) history(s, pos int32) []int32 {
	var h []int32
	for i, c := range b.seqs[s] {
		if int(c.pos) != i {
			panic(fmt.Sprintf("enginetest: sequence %d has position %d in place %d", s, c.pos, i))
		}
		h = append(h, c.token)
		if c.pos == pos {
			break
		}
	}
	return h
}

// Piece implements engine.Vocabulary.
func (b *Backend) Piece(token int32, special bool) []byte {
	switch {
	case token < EOG:
		return bytesOf[token : token+1]
	case !special:
		return nil
	case token == EOG:
		return []byte("<|eog|>")
	}
	return fmt.Appendf(nil, "<|c%d|>", token-Control)
}

// EndOfGeneration implements engine.Vocabulary.
func (b *Backend) EndOfGeneration(token int32) bool { return token == EOG }

var bytesOf = func() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}()

// Tokens turns text into tokens, one a byte.
func Tokens(text string) []int32 {
	var t []int32
	for i := range len(text) {
		t = append(t, int32(text[i]))
	}
	return t
}

// Text turns tokens into text, special ones included.
func (b *Backend) Text(tokens []int32) string {
	var text []byte
	for _, t := range tokens {
		text = append(text, b.Piece(t, true)...)
	}
	return string(text)
}
