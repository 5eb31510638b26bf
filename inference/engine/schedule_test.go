package engine

import (
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// put submits to a harness.
func (h *harness) put(r *Request) *Stream {
	h.t.Helper()
	s, err := h.e.Submit(h.t.Context(), r)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// text empties what a stream has by now and returns its text.
func text(s *Stream) string {
	var b strings.Builder
	for {
		ev, err, ok := s.pop()
		if !ok || err != nil {
			return b.String()
		}
		b.WriteString(ev.Text)
	}
}

// ended reports whether a stream has ended, after its events.
func ended(s *Stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end != nil
}

// unique is a prompt of n tokens that begins like no other of another letter.
func unique(letter string, n int) string { return strings.Repeat(letter, n) }

func TestLongPromptHoldsNobody(t *testing.T) {
	h := newHarness(t, enginetest.Options{Cells: 4000, Batch: 512}, Config{MaxChunk: 32})
	decoding := []*Stream{h.put(ask("a", 300)), h.put(ask("b", 300)), h.put(ask("c", 300))}
	h.turn()
	long := h.put(ask(unique("x", 2000), 5))
	steps := 0
	for h.l.seqs[3] == nil || h.l.seqs[3].owner.remaining() > 1 {
		for _, s := range decoding {
			text(s)
		}
		h.turn()
		steps++
		if h.l.rowCount != 3 {
			t.Fatalf("step %d computed %d rows while 3 decode", steps, h.l.rowCount)
		}
		if n := h.l.batch.Len() - 3; n > 32 {
			t.Fatalf("step %d has %d prompt tokens beside those that decode", steps, n)
		}
		for i, s := range decoding {
			if len(text(s)) != 1 {
				t.Fatalf("step %d gave no token to %d", steps, i)
			}
		}
	}
	if steps < 2000/32 || steps > 2000/16+1 {
		t.Errorf("the long prompt took %d steps", steps)
	}
	h.settle()
	if a := read(t, long); a.err != nil || a.usage.CompletionTokens != 5 {
		t.Errorf("%+v", a)
	}
	h.shut()
}

func TestIdleMachineTakesWholeMicroBatches(t *testing.T) {
	h := newHarness(t, enginetest.Options{Cells: 4000, Batch: 512, MicroBatch: 128}, Config{MaxChunk: 16})
	h.put(ask(unique("x", 300), 1))
	h.put(ask(unique("y", 84), 1))
	h.turn()
	if n := h.l.batch.Len(); n != 128 {
		t.Errorf("a step of %d tokens, a micro-batch has 128", n)
	}
	if n := len(h.l.parts); n != 2 {
		t.Errorf("%d prompts share the step, want 2", n)
	}
	h.turn()
	// The second request ended with its only token; the first goes on.
	if n := h.l.batch.Len(); n != 128 {
		t.Errorf("then a step of %d tokens", n)
	}
	h.settle()
	h.shut()
}

func TestShortestPromptFirstButNobodyForEver(t *testing.T) {
	h := newHarness(t, enginetest.Options{Cells: 4000, Batch: 64}, Config{Prefix: PrefixConfig{Off: true}})
	long := h.put(ask(unique("x", 1000), 1))
	h.turn()
	before := h.l.seqs[0].held
	short := h.put(ask(unique("y", 60), 1))
	h.turn()
	if !ended(short) || h.l.seqs[0].held != before+4 {
		t.Fatalf("the short prompt was not computed first; the long one has %d", h.l.seqs[0].held)
	}
	// Now a short one arrives with every step, each enough to fill it.
	turns := 0
	for ; !ended(long); turns++ {
		if turns > 100 {
			t.Fatalf("the long prompt has %d of 1000 tokens after %d steps with a short one each", h.l.seqs[0].held, turns)
		}
		h.put(ask(unique(string(rune('a'+turns%20)), 64), 1))
		h.turn()
	}
	h.settle()
	h.shut()
}

func TestRowsGoByIDs(t *testing.T) {
	h := newHarness(t, enginetest.Options{Split: true, Sequences: 4}, Config{})
	first := h.put(ask("a", 3))
	for _, p := range []string{"b", "c", "d"} {
		h.put(ask(p, 50))
	}
	for !ended(first) {
		h.turn()
	}
	h.put(ask("e", 50))
	h.turn()
	h.turn()
	for i, s := range h.l.batch.Seq {
		if int(s) != i {
			t.Errorf("rows of sequences %v, want neighbours in order", h.l.batch.Seq)
		}
	}
	h.settle()
	h.shut()
}

func TestLowPriorityIsNotStarved(t *testing.T) {
	h := newHarness(t, enginetest.Options{}, Config{Sequences: 1})
	low := ask("low", 1)
	low.Priority = inference.PriorityLow
	low.Caller.Principal = "patient"
	h.put(ask("first", 1))
	waits := h.put(low)
	for turns := 0; !ended(waits); turns++ {
		if turns > 3*agingTurns {
			t.Fatal("a flood of normal requests starves a low one")
		}
		h.put(ask("flood", 1))
		h.put(ask("flood", 1))
		h.turn()
	}
	h.settle()
	h.shut()
}

func TestBigRequestIsNotStarved(t *testing.T) {
	h := newHarness(t, enginetest.Options{Cells: 200, Sequences: 8}, Config{Sequences: 8})
	for _, p := range []string{"a", "b", "c"} {
		h.put(ask(p, 40))
	}
	h.turn()
	big := ask("big", 180)
	big.Caller.Principal = "big"
	waits := h.put(big)
	overtook := 0
	for turns := 0; !ended(waits); turns++ {
		if turns > 2000 {
			t.Fatal("a flood of small requests starves a big one")
		}
		if h.l.queue.size < 4 {
			h.put(ask("s", 20))
		}
		before := h.l.ticket
		h.turn()
		overtook += int(h.l.ticket - before)
	}
	if overtook < 2 || overtook > maxOvertaken+1 {
		t.Errorf("%d were admitted before the big request that did not fit, want some and at most %d", overtook-1, maxOvertaken)
	}
	h.settle()
	h.shut()
}

func TestOnePrincipalDoesNotTakeAll(t *testing.T) {
	h := newHarness(t, enginetest.Options{}, Config{Sequences: 1})
	for range 20 {
		h.put(ask("greedy", 2))
	}
	h.turn()
	r := ask("modest", 2)
	r.Caller.Principal = "modest"
	modest := h.put(r)
	turns := 0
	for ; !ended(modest); turns++ {
		h.turn()
	}
	if turns > 6 {
		t.Errorf("a second principal waited %d steps behind the first one's queue", turns)
	}
	h.settle()
	h.shut()
}

func TestProgressOfAPrompt(t *testing.T) {
	h := newHarness(t, enginetest.Options{Batch: 40}, Config{})
	s := h.put(ask(unique("x", 100), 2))
	var got []int
	for !ended(s) {
		h.turn()
		for {
			ev, _, ok := s.pop()
			if !ok || ev.Kind != KindProgress {
				break
			}
			if ev.Progress.Prompt != 100 {
				t.Errorf("%+v", ev.Progress)
			}
			got = append(got, ev.Progress.Prefilled)
		}
	}
	if len(got) != 3 || got[0] != 40 || got[1] != 80 || got[2] != 100 {
		t.Errorf("progress %v", got)
	}
	h.shut()
}
