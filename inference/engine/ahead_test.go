package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// TestStepsGoAhead: while all that runs decodes, every step but those for
// housekeeping begins before the loop has handed out the tokens of the one before,
// and the text is the same as step by step.
func TestStepsGoAhead(t *testing.T) {
	for _, by := range []bool{false, true} {
		for _, split := range []bool{false, true} {
			h := newHarness(t, enginetest.Options{Split: split, Sequences: 3}, Config{StepByStep: by})
			var all []*asked
			for _, p := range []string{"one", "two", "three"} {
				r := ask(p, 60)
				all = append(all, &asked{r: r, s: h.put(r)})
			}
			ahead := 0
			for range 62 {
				h.turn()
				if h.l.ahead {
					ahead++
				}
			}
			if by && ahead != 0 || !by && ahead < 50 {
				t.Errorf("step by step %v, split %v: %d of 60 steps went ahead", by, split, ahead)
			}
			h.settle()
			for i, a := range all {
				if got := read(t, a.s); got.err != nil || got.text[0] != expected(h.b, a.r, 0) {
					t.Errorf("request %d: %+v", i, got)
				}
			}
			h.shut()
		}
	}
}

func TestHousekeepingComesRound(t *testing.T) {
	h := newHarness(t, enginetest.Options{}, Config{})
	h.put(ask("long", 400))
	longest, row := 0, 0
	for !(h.l.running == 0 && h.turns > 1) {
		h.turn()
		if row++; !h.l.ahead {
			row = 0
		}
		longest = max(longest, row)
	}
	if longest < housekeeping/2 || longest > housekeeping {
		t.Errorf("%d steps in a row went ahead, want at most %d", longest, housekeeping)
	}
	h.shut()
}

// TestNewcomerStopsGoingAhead: who arrives while a batch is ahead waits for that
// batch alone.
func TestNewcomerStopsGoingAhead(t *testing.T) {
	h := newHarness(t, enginetest.Options{}, Config{})
	h.put(ask("first", 100))
	for !h.l.ahead {
		h.turn()
	}
	second := ask("second", 3)
	s := h.put(second)
	h.turn()
	if h.l.ahead || h.l.running != 1 {
		t.Fatalf("ahead %v with %d running: the batch that is ahead comes first, and no other", h.l.ahead, h.l.running)
	}
	h.turn()
	if h.l.running != 2 {
		t.Errorf("%d run in the step after it", h.l.running)
	}
	h.settle()
	if a := read(t, s); a.err != nil || a.text[0] != expected(h.b, second, 0) {
		t.Errorf("%+v", a)
	}
	h.shut()
}

// TestStopStringWhileAhead: the one that stops ends after the batch that is
// ahead, the others go on, and the prefix it leaves is right.
func TestStopStringWhileAhead(t *testing.T) {
	reply := func(prompt string) string {
		return strings.Repeat(strings.ToUpper(prompt[:1]), 9) + "STOP" + strings.Repeat("z", 30)
	}
	h := newHarness(t, enginetest.Options{Reply: reply, Sequences: 3}, Config{Prefix: PrefixConfig{MinShare: 1, MinKeep: 1}})
	r := ask("a prompt with a stop", 40)
	r.Stop = []string{"STOP"}
	stops, goesOn := h.put(r), h.put(ask("b", 60))
	waited := false
	for h.l.running > 0 || h.turns == 0 {
		h.turn()
		if len(h.l.stops) > 0 {
			waited = true
			if !h.l.ahead {
				t.Fatal("a stop waits, and nothing is ahead")
			}
		}
	}
	if !waited {
		t.Fatal("no stop string came while a batch was ahead")
	}
	if a := read(t, stops); a.err != nil || a.text[0] != "AAAAAAAAA" || a.finish[0] != inference.FinishStop || a.usage.CompletionTokens != 13 {
		t.Errorf("%+v", a)
	}
	if a := read(t, goesOn); a.err != nil || a.text[0] != reply("b")[:43] {
		t.Errorf("%+v", a)
	}
	// What was computed ahead is a part of the prefix.
	again := ask("a prompt with a stopAAAAAAAAASTOPz", 1)
	s := h.put(again)
	h.settle()
	if a := read(t, s); a.err != nil || a.usage.CachedTokens != len("a prompt with a stopAAAAAAAAASTOP") {
		t.Errorf("%+v", a)
	}
	h.shut()
}

// TestFailureAhead: what fails while nobody looks is handled as any other
// failure, after the stops that waited.
func TestFailureAhead(t *testing.T) {
	for _, fault := range []error{inference.ErrNoSlot, inference.ErrAborted, inference.ErrDecodeFatal} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			failing := false
			h := newHarness(t, enginetest.Options{
				Sequences: 2,
				Reply:     func(p string) string { return strings.Repeat(p[:1], 9) + "STOP" + strings.Repeat("z", 30) },
				OnDecode: func(*inference.Batch) error {
					if failing {
						failing = false
						return fault
					}
					return nil
				},
			}, Config{})
			r := ask("stops", 40)
			r.Stop = []string{"STOP"}
			stops, other := h.put(r), h.put(ask("other", 40))
			for len(h.l.stops) == 0 {
				h.turn()
			}
			failing = true
			h.settle()
			if a := read(t, stops); a.err != nil || a.text[0] != "sssssssss" {
				t.Errorf("the one that had stopped: %+v", a)
			}
			a := read(t, other)
			if fault == inference.ErrNoSlot && (a.err != nil || len(a.text[0]) != 40) {
				t.Errorf("a lack of room is survived: %+v", a)
			}
			if fault != inference.ErrNoSlot && !errors.Is(a.err, fault) {
				t.Errorf("%+v", a)
			}
			h.shut()
		})
	}
}

// TestCloseWhileAhead: the loop ends only after the batch that is ahead.
func TestCloseWhileAhead(t *testing.T) {
	decoded, gate := 0, make(chan struct{})
	e, _ := start(t, enginetest.Options{OnDecode: func(*inference.Batch) error {
		if decoded++; decoded == 30 { // of a step that has gone ahead
			<-gate
		}
		return nil
	}}, Config{})
	s := submit(t, e, ask("runs for long", 900))
	closed := make(chan error)
	if _, err := s.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() { closed <- e.Close() }()
	if a := read(t, s); !errors.Is(a.err, inference.ErrShutdown) {
		t.Errorf("%+v", a)
	}
	close(gate)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}
