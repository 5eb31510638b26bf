package engine

import (
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

func TestPromisesGrowInBlocks(t *testing.T) {
	h := newHarness(t, enginetest.Options{Cells: 300}, Config{Reserve: 20})
	s := h.put(ask("0123456789", 0))
	h.turn()
	if got := h.l.seqs[0].end; got != 30 {
		t.Errorf("%d cells promised at admission, want prompt and reserve", got)
	}
	for h.l.seqs[0].held < 30 {
		h.turn()
	}
	h.turn()
	if got := h.l.seqs[0].end; got != 50 {
		t.Errorf("%d cells promised after growth, want a block more", got)
	}
	h.settle()
	if a := read(t, s); a.usage.CompletionTokens != 290 || a.finish[0] != inference.FinishLength || h.l.preempted != 0 {
		t.Errorf("%+v, %d preempted", a.usage, h.l.preempted)
	}
	h.shut()
}

func TestUnboundedRequestsDoNotBlockOthers(t *testing.T) {
	h := newHarness(t, enginetest.Options{Cells: 300}, Config{Reserve: 20})
	for _, p := range []string{"a", "b", "c", "d"} {
		h.put(ask(p, 0))
	}
	h.turn()
	if h.l.running != 4 {
		t.Errorf("%d run, want all four", h.l.running)
	}
	h.settle()
	h.shut()
}

func TestYoungestIsPreemptedAndResumes(t *testing.T) {
	for _, split := range []bool{false, true} {
		h := newHarness(t, enginetest.Options{Cells: 300, Sequences: 4, Split: split}, Config{Reserve: 20})
		var all []*asked
		for _, p := range []string{"first", "second", "third"} {
			r := ask(p, 0)
			r.Sampling.Temperature = 1
			seed := uint32(len(p))
			r.Sampling.Seed = &seed
			all = append(all, &asked{r: r, s: h.put(r)})
		}
		order := []int{}
		done := map[int]bool{}
		for len(done) < 3 {
			h.turn()
			for i, a := range all {
				if !done[i] && ended(a.s) {
					done[i] = true
					order = append(order, i)
				}
			}
		}
		if split != (h.l.preempted == 0) {
			t.Errorf("split %v: %d preemptions", split, h.l.preempted)
		}
		if !split && (order[0] != 0 || order[1] != 1) {
			t.Errorf("ended in the order %v; the oldest must not make way", order)
		}
		for i, a := range all {
			if got := read(t, a.s); got.err != nil || got.text[0] != expected(h.b, a.r, 0) {
				t.Errorf("request %d: %v, %d tokens", i, got.err, got.usage.CompletionTokens)
			}
		}
		h.settle()
		h.shut()
	}
}

func TestBoundedRequestIsNeverPreempted(t *testing.T) {
	h := newHarness(t, enginetest.Options{Cells: 200}, Config{Reserve: 10})
	open := h.put(ask("open-ended, and older", 0))
	h.turn()
	bounded := h.put(ask("bounded", 120))
	h.take()
	c := h.l.seqs[1].owner
	for !ended(bounded) {
		h.turn()
		if !ended(bounded) && c.seq == nil {
			t.Fatal("a request with a limit was preempted")
		}
	}
	if h.l.preempted == 0 {
		t.Error("the open-ended one was expected to pause")
	}
	h.settle()
	if a := read(t, open); a.err != nil || a.text[0] != expected(h.b, ask("open-ended, and older", 0), 0) {
		t.Errorf("%+v", a)
	}
	h.shut()
}

func TestPreemptedLeaderHandsOver(t *testing.T) {
	// A leader in the middle of its prompt that must make way leaves its part
	// to those who follow it.
	h := newHarness(t, enginetest.Options{Cells: 600, Batch: 32}, Config{Reserve: 10})
	h.put(ask(system+"leader", 0))
	follower := h.put(ask(system+"!", 5))
	h.turn()
	h.l.preempt(h.l.seqs[0].owner)
	h.turn()
	h.settle()
	if a := read(t, follower); a.err != nil || a.usage.CachedTokens != 32 {
		t.Errorf("%+v", a)
	}
	h.shut()
}

// TestPromisesTakeTheRoomOfIdlePrefixes: where a promise grows by itself, as that of a
// follower whose leader is past what it was to share, idle prefixes give way to it.
func TestPromisesTakeTheRoomOfIdlePrefixes(t *testing.T) {
	h := newHarness(t, enginetest.Options{Cells: 200, Sequences: 2}, Config{Reserve: 20})
	h.put(ask(strings.Repeat("idle", 25), 1))
	h.settle()
	h.put(ask("01234567890123456789", 10))
	h.turn()
	s := h.l.youngest(func(*choice) bool { return true }).seq
	if h.l.idle != 1 || h.l.cells.used <= 100 {
		t.Fatalf("%d prefixes are idle, %d cells used", h.l.idle, h.l.cells.used)
	}
	h.l.change(s, s.held, 0, 150)
	h.l.keepPromises()
	if h.l.idle != 0 || h.l.preempted != 0 || h.l.cells.used+h.l.future > 200 {
		t.Errorf("%d prefixes are idle, %d preempted, %d cells used and %d promised", h.l.idle, h.l.preempted, h.l.cells.used, h.l.future)
	}
}
