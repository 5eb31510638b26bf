package engine

import (
	"slices"
	"testing"

	"hearth/inference/engine/enginetest"
)

// harness turns the loop by hand, so that a test decides what happens between
// two steps, and checks every invariant after each.
type harness struct {
	t      testing.TB
	e      *Engine
	l      *loop
	b      *enginetest.Backend
	turns  int
	scopes map[uint64]scope // of each cell ever seen, by its origin
	// computed counts the prompt tokens that were decoded for each choice.
	computed map[*choice]int
}

func newHarness(t testing.TB, o enginetest.Options, c Config) *harness {
	t.Helper()
	b := enginetest.New(o)
	e, l, err := assemble(b, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &harness{t: t, e: e, l: l, b: b, scopes: map[uint64]scope{}, computed: map[*choice]int{}}
}

// turn does one round of the loop and checks it.
func (h *harness) turn() bool {
	h.t.Helper()
	h.turns++
	if !h.l.ahead {
		h.e.collect(h.l)
	}
	steps, joins := h.l.steps, h.l.aside.joins
	worked := h.l.step()
	if h.l.steps > steps {
		for _, p := range h.l.parts {
			from := int(h.l.batch.Pos[p.first])
			h.computed[p.c] += max(min(from+p.n, len(p.c.req.Prompt))-from, 0)
		}
	}
	if h.l.aside.joins > joins {
		for _, p := range h.l.aside.parts {
			if p.s != nil {
				c := p.s.owner
				h.computed[c] += max(min(p.from+p.n, len(c.req.Prompt))-p.from, 0)
			}
		}
	}
	h.e.publish(h.l)
	h.check()
	return worked
}

// take turns until the mailbox is empty: a step that has gone ahead comes first.
func (h *harness) take() {
	h.t.Helper()
	for h.turn(); h.e.mailed(); {
		h.turn()
	}
}

// settle turns until there is nothing to do.
func (h *harness) settle() {
	h.t.Helper()
	for range 100_000 {
		if !h.turn() {
			if h.l.running > 0 || h.l.queue.size > 0 {
				h.t.Fatalf("the loop sleeps with %d running and %d waiting", h.l.running, h.l.queue.size)
			}
			return
		}
	}
	h.t.Fatal("no end after 100,000 turns")
}

// shut ends the loop as run does, and checks that nothing is left.
func (h *harness) shut() {
	h.t.Helper()
	h.e.mu.Lock()
	h.e.closing = true
	h.e.mu.Unlock()
	for h.l.ahead {
		h.turn()
	}
	h.e.collect(h.l)
	h.l.shutDown()
	h.e.publish(h.l)
	checkEmpty(h.t, h.e, h.b)
	if len(h.e.open) != 0 {
		h.t.Errorf("%d requests are open after the end", len(h.e.open))
	}
	if h.l.future != 0 || len(h.l.index.roots) != 0 {
		h.t.Errorf("after the end %d cells are promised, %d scopes in the index", h.l.future, len(h.l.index.roots))
	}
}

// check compares the loop's books with each other and with the backend.
func (h *harness) check() {
	h.t.Helper()
	l := h.l
	held, origins, places := h.b.Held(), h.b.Origins(), h.b.Places()
	running, idle, future := 0, 0, 0
	served := map[*request]int{}
	all, live := map[uint64]bool{}, map[uint64]bool{}
	for id := range held {
		var s *sequence
		if id < len(l.seqs) {
			s = l.seqs[id]
		}
		if s == nil {
			if len(held[id]) > 0 {
				h.t.Fatalf("turn %d: sequence %d holds %d cells that nobody knows", h.turns, id, len(held[id]))
			}
			continue
		}
		future += s.future()
		if int(s.id) != id || s.held != len(held[id]) || s.chain.length != s.held || s.chain.live != (s.owner != nil) {
			h.t.Fatalf("turn %d: sequence %d: books say %+v, the backend holds %d cells", h.turns, id, s, len(held[id]))
		}
		if s.owner != nil {
			running++
			served[s.owner.req]++
			h.checkRunning(s, held[id])
		} else {
			idle++
			if !s.filed || !slices.Equal(l.index.keys[id], held[id]) {
				h.t.Fatalf("turn %d: idle prefix %d is filed under other tokens than it holds", h.turns, id)
			}
		}
		for _, made := range origins[id] {
			o := h.b.Origin(made) // of a loaded cell, that of the one that was saved
			if owner, ok := h.scopes[o]; ok && owner != s.scope {
				h.t.Fatalf("turn %d: sequence %d of %v holds a cell of %v", h.turns, id, s.scope, owner)
			}
			h.scopes[o] = s.scope
		}
		for _, place := range places[id] {
			all[place] = true
			if s.owner != nil {
				live[place] = true
			}
		}
	}
	used, usedLive := len(all), len(live)
	if l.running != running || l.idle != idle || l.future != future || l.cells.used != used || l.cells.live != usedLive {
		h.t.Fatalf("turn %d: books say %d running, %d idle, %d promised, %d used, %d live; counted %d, %d, %d, %d, %d",
			h.turns, l.running, l.idle, l.future, l.cells.used, l.cells.live, running, idle, future, used, usedLive)
	}
	for r, n := range served {
		if r.running != n {
			h.t.Fatalf("turn %d: books say that %d choices of a request run; counted %d", h.turns, r.running, n)
		}
	}
	if l.serving != len(served) {
		h.t.Fatalf("turn %d: books say that %d requests run; counted %d", h.turns, l.serving, len(served))
	}
	if l.pool && used+future > l.t.Cells {
		h.t.Fatalf("turn %d: %d cells used and %d promised of %d", h.turns, used, future, l.t.Cells)
	}
	if n := h.b.NoSlots(); n != 0 {
		h.t.Fatalf("turn %d: a batch had no room", h.turns)
	}
}

func (h *harness) checkRunning(s *sequence, held []int32) {
	h.t.Helper()
	c := s.owner
	if c.seq != s || c.ended || c.sampler == nil {
		h.t.Fatalf("turn %d: sequence %d belongs to a choice that does not run in it", h.turns, s.id)
	}
	if !slices.Equal(held, c.tokens[:len(held)]) {
		h.t.Fatalf("turn %d: sequence %d holds other tokens than its choice", h.turns, s.id)
	}
	if s.scope != c.req.scope {
		h.t.Fatalf("turn %d: sequence %d of %v runs for %v", h.turns, s.id, s.scope, c.req.scope)
	}
	if f := s.source; f != nil && (f.owner == nil || f.ticket >= s.ticket || h.l.seqs[f.id] != f || s.promised == 0) {
		h.t.Fatalf("turn %d: sequence %d waits for one that will not come", h.turns, s.id)
	}
}
