package engine

import (
	"os"
	"slices"
	"testing"
	"time"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
	"hearth/inference/prefixstore"
	"hearth/internal/config"
)

// This file holds what the cost of the engine's own side of a step is measured
// with: a model that costs nothing, sequences that decode for as long as is
// wanted, and as many kept prefixes as is wanted.

// way is one way that a step takes.
type way struct {
	name    string
	rows    int  // sequences that decode
	slow    bool // no step goes ahead, so that each is planned
	grammar bool // the sampler foresees text
	guesses bool // that is how it has to be
}

// ways are all of them, with everything that is on by default. Guesses are made
// while few run.
var ways = []way{
	{name: "1 row, guesses", rows: 1, guesses: true},
	{name: "2 rows, foreseen text", rows: 2, grammar: true, guesses: true},
	{name: "8 rows", rows: 8},
	{name: "32 rows", rows: 32},
	{name: "32 rows, planned", rows: 32, slow: true},
	{name: "32 rows, foreseen text", rows: 32, grammar: true},
}

// kept is how many prefixes there are beside those that are computed: in the
// cache, where one sequence id is one, and as blocks of the store.
type kept struct {
	name             string
	prefixes, blocks int
}

var (
	few   = kept{"8 prefixes, 100 blocks", 8, 100}
	grown = kept{"all prefixes, 10,000 blocks", maxSequences, 10_000}
)

// idle is a backend that does nothing, and allocates nothing in a step.
type idle struct {
	*enginetest.Backend
	last    []int32
	foresee []int32
}

func (s *idle) Step(b *inference.Batch, rows []inference.SampleRow, out []inference.Sampled, more bool) (bool, error) {
	if b != nil {
		s.last = append(s.last[:0], b.Seq...)
	}
	for i := range rows {
		out[i] = inference.Sampled{Token: 'A' + s.last[rows[i].Index], Likely: s.foresee}
	}
	if more = more && len(s.foresee) == 0; more {
		for i := range rows {
			s.last[i] = s.last[rows[i].Index]
		}
		s.last = s.last[:len(rows)]
	}
	return more, nil
}

func (*idle) SeqRemove(_, _, _ int32) bool                 { return true }
func (*idle) SeqCopy(_, _, _, _ int32)                     {}
func (*idle) SeqSwap(_, _ int32) bool                      { return true }
func (*idle) SeqIntact(_, _ int32) bool                    { return true }
func (*idle) RunBytes(int) int                             { return 1 }
func (*idle) SaveRun(_, _, _ int32, _ []byte) (int, error) { return 1, nil }
func (*idle) LoadRuns(_, _ int32, _ []int32, d [][]byte) (int, error) {
	return len(d), nil
}

// steady is an engine whose sequences all decode.
type steady struct {
	t       testing.TB
	e       *Engine
	l       *loop
	store   *prefixstore.Store
	way     way
	streams []*Stream
}

func newSteady(t testing.TB, w way, k kept) *steady {
	t.Helper()
	// The costs of a layout are counted too, and never enough to change it.
	o := enginetest.Options{
		Cells: 1 << 24, Sequences: w.rows, Holders: maxSequences - w.rows, Batch: 512, Quiet: true,
		Streams: 1 << 20, ReadCost: 1e-9, Keep: true,
	}
	b := &idle{Backend: enginetest.New(o)}
	if w.grammar {
		b.foresee = []int32{'x', 'y', 'z'}
	}
	store, err := prefixstore.New(prefixstore.Options{
		Config: prefixstore.Config{RAM: config.Size(k.blocks+64) * config.Size(os.Getpagesize())}, Block: BlockTokens(b.Traits()),
	})
	if err != nil {
		t.Fatal(err)
	}
	// What is kept stays, however long a benchmark runs.
	c := Config{Sequences: w.rows, StepByStep: w.slow, Store: store, Prefix: PrefixConfig{IdleTokens: 1 << 30}}
	e, l, err := assemble(b, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &steady{t: t, e: e, l: l, store: store, way: w}
	s.fill(k)
	for range w.rows {
		s.submit(ask("prompt", 1<<18))
	}
	for range 200 {
		s.round()
	}
	return s
}

// prompt is the i-th of prompts that begin alike in pairs, pairs of pairs and so
// on: the tree over n of them has 2n-1 nodes.
func prompt(i int) []int32 {
	tokens := make([]int32, 8*40)
	for k := range tokens {
		tokens[k] = int32('0' + i>>(7-k/40)&1)
	}
	return tokens
}

// fill keeps prefixes in the cache and in the store.
func (s *steady) fill(k kept) {
	s.t.Helper()
	n := min(k.prefixes, maxSequences-s.way.rows)
	for i := range n {
		s.answer(prompt(i))
	}
	block := s.store.BlockTokens()
	for i := 0; s.store.Len() < k.blocks; i++ {
		tokens := slices.Repeat([]int32{int32('a' + i%26)}, block)
		tokens[1], tokens[2] = int32(i>>8), int32(i&255)
		if _, err := s.store.Add(scope{tenant: inference.DefaultCaller.Tenant}.key(), nil, tokens, 1, func([]byte) (int, error) { return 1, nil }); err != nil {
			s.t.Fatal(err)
		}
	}
	if s.l.idle != n || s.store.Len() != k.blocks {
		s.t.Fatalf("%d prefixes and %d blocks are kept, not %d and %d", s.l.idle, s.store.Len(), n, k.blocks)
	}
}

// submit hands in a request that the loop has not seen yet.
func (s *steady) submit(r *Request) {
	s.t.Helper()
	if s.way.grammar {
		r.Grammar = &inference.Grammar{GBNF: "root ::= [a-z]*"}
	}
	r.Stop = []string{"never comes", "AAAB"}
	stream, err := s.e.Submit(s.t.Context(), r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.streams = append(s.streams, stream)
}

// answer has one request come and end, beside those that decode.
func (s *steady) answer(tokens []int32) {
	r := ask("", 2)
	r.Prompt = tokens
	n := len(s.streams)
	s.submit(r)
	for running := s.l.running; s.e.mailed() || s.l.running > running || s.l.queue.size > 0; {
		s.round()
	}
	s.streams = slices.Delete(s.streams, n, n+1)
}

// round is one turn of the loop, with readers that take what there is.
func (s *steady) round() {
	if !s.l.ahead {
		s.e.collect(s.l)
	}
	s.l.step()
	s.e.publish(s.l)
	for _, r := range s.streams {
		r.mu.Lock()
		r.records, r.text = r.records[:0], r.text[:0]
		r.mu.Unlock()
	}
}

// time is how long one of n rounds takes.
func (s *steady) time(n int) time.Duration {
	began := time.Now()
	for range n {
		s.round()
	}
	return time.Since(began) / time.Duration(n)
}

func (s *steady) shut() {
	for s.l.ahead {
		s.round()
	}
	s.l.shutDown()
	if err := s.store.Close(); err != nil {
		s.t.Error(err)
	}
}
