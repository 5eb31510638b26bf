package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// failOnce returns a hook that fails the decode that chosen picks, once.
func failOnce(err error, chosen func(*inference.Batch) bool) func(*inference.Batch) error {
	failed := false
	return func(b *inference.Batch) error {
		if !failed && chosen(b) {
			failed = true
			return err
		}
		return nil
	}
}

func TestNoSlotIsSurvived(t *testing.T) {
	// The backend says that it is full although the ledger has room: once, and
	// so often that all but one must make way.
	for _, times := range []int{1, 3, 8} {
		left := times
		h := newHarness(t, enginetest.Options{OnDecode: func(*inference.Batch) error {
			if left > 0 {
				left--
				return inference.ErrNoSlot
			}
			return nil
		}}, Config{})
		kept := ask(unique("k", 100), 1)
		kept.Caller.Principal = "earlier"
		left = 0
		h.put(kept)
		h.settle()
		left = times
		var all []*asked
		for _, p := range []string{"a", "b", "c"} {
			r := ask(unique(p, 10), 20)
			all = append(all, &asked{r: r, s: h.put(r)})
		}
		h.settle()
		for i, a := range all {
			if got := read(t, a.s); got.err != nil || got.text[0] != expected(h.b, a.r, 0) {
				t.Errorf("%d times: request %d: %+v", times, i, got)
			}
		}
		h.shut()
	}
}

func TestNoSlotDropsIdlePrefixesFirst(t *testing.T) {
	full := false
	h := newHarness(t, enginetest.Options{OnDecode: func(*inference.Batch) error {
		if full {
			full = false
			return inference.ErrNoSlot
		}
		return nil
	}}, Config{})
	h.put(ask(unique("k", 50), 1))
	h.settle()
	h.put(ask(unique("x", 60), 2))
	full = true
	h.turn()
	if h.l.idle != 0 || h.l.batch.Len() != 60 {
		t.Errorf("%d idle prefixes, then a batch of %d tokens; want none and the whole batch", h.l.idle, h.l.batch.Len())
	}
	h.settle()
	h.shut()
}

func TestNoRoomForASingleTokenFailsTheRequestOnly(t *testing.T) {
	full := true
	h := newHarness(t, enginetest.Options{OnDecode: func(*inference.Batch) error {
		if full {
			return inference.ErrNoSlot
		}
		return nil
	}}, Config{})
	s := h.put(ask("hopeless", 5))
	h.turn()
	if a := read(t, s); !errors.Is(a.err, inference.ErrEngine) || !errors.Is(a.err, inference.ErrNoSlot) {
		t.Errorf("got %v", a.err)
	}
	full = false
	next := h.put(ask("works again", 5))
	h.settle()
	if a := read(t, next); a.err != nil {
		t.Error(a.err)
	}
	h.shut()
}

func TestFailedDecodeFailsThoseInItAndNobodyElse(t *testing.T) {
	for _, failure := range []error{inference.ErrDecodeFatal, inference.ErrAborted, inference.ErrBadBatch} {
		for name, o := range layouts {
			o.Batch = 32
			// The second batch of the shorter prompt, which fills it.
			o.OnDecode = failOnce(failure, func(b *inference.Batch) bool { return b.Pos[0] == 32 })
			h := newHarness(t, o, Config{Prefix: PrefixConfig{MinShare: 8}})
			kept := h.put(ask(unique("k", 30), 1))
			h.settle()
			read(t, kept)
			victim := h.put(ask(unique("v", 90), 10))
			other := ask(unique("o", 120), 10)
			waits := h.put(other)
			follower := h.put(ask(unique("v", 80)+"!", 10))
			h.settle()
			if a := read(t, victim); !errors.Is(a.err, inference.ErrEngine) || !errors.Is(a.err, failure) {
				t.Errorf("%s %v: the request in the batch got %v", name, failure, a.err)
			}
			if a := read(t, waits); a.err != nil || a.text[0] != expected(h.b, other, 0) {
				t.Errorf("%s %v: the other request: %+v", name, failure, a)
			}
			if a := read(t, follower); a.err != nil || a.text[0] != expected(h.b, ask(unique("v", 80)+"!", 10), 0) {
				t.Errorf("%s %v: the follower: %+v", name, failure, a)
			}
			h.shut()
		}
	}
}

func TestResyncTrustsTheBackend(t *testing.T) {
	// A failed decode lost the cells of sequences that were not in it.
	var b *enginetest.Backend
	fail := false
	h := newHarness(t, enginetest.Options{Batch: 8, OnDecode: func(*inference.Batch) error {
		if fail {
			fail = false
			for s := range int32(8) {
				b.Lose(s)
			}
			return inference.ErrDecodeFatal
		}
		return nil
	}}, Config{Sequences: 2, Prefix: PrefixConfig{MinShare: 4}})
	b = h.b
	h.put(ask(unique("k", 40), 1))
	h.settle()
	long := ask(unique("x", 60), 6)
	waits := h.put(long)
	h.turn()
	h.turn()
	short := h.put(ask(unique("y", 8), 5))
	fail = true
	h.turn()
	h.settle()
	if a := read(t, short); !errors.Is(a.err, inference.ErrEngine) {
		t.Errorf("the request in the batch got %v", a.err)
	}
	if a := read(t, waits); a.err != nil || a.text[0] != expected(h.b, long, 0) {
		t.Errorf("the one that lost its cells: %+v", a)
	}
	h.shut()
}

func TestFailedRowFailsItsRequestOnly(t *testing.T) {
	broken := errors.New("grammar has no way on")
	for _, whole := range []bool{false, true} {
		calls := 0
		e, b := start(t, enginetest.Options{OnSample: func(rows []inference.SampleRow, out []inference.Sampled) error {
			calls++
			if calls == 3 {
				if whole {
					return broken
				}
				out[0].Err = broken
			}
			return nil
		}}, Config{})
		two := ask("a", 10)
		two.Choices = 2
		first := read(t, submit(t, e, two))
		if !errors.Is(first.err, inference.ErrEngine) || !errors.Is(first.err, broken) {
			t.Errorf("got %v", first.err)
		}
		r := ask("b", 10)
		if a := read(t, submit(t, e, r)); a.err != nil || a.text[0] != expected(b, r, 0) {
			t.Errorf("afterwards: %+v", a)
		}
	}
}

func TestPanicFailsEverybodyAndHangsNobody(t *testing.T) {
	gate := make(chan struct{})
	b := enginetest.New(enginetest.Options{Sequences: 1, OnDecode: func(*inference.Batch) error {
		<-gate
		panic("index out of range")
	}})
	seen := newCounter()
	e, err := New(b, Config{}, seen)
	if err != nil {
		t.Fatal(err)
	}
	var streams []*Stream
	for range 3 {
		r := ask("x", 5)
		r.Choices = 2
		streams = append(streams, submit(t, e, r))
	}
	close(gate)
	for _, s := range streams {
		if a := read(t, s); !errors.Is(a.err, inference.ErrEngine) || strings.Contains(a.err.Error(), "index") {
			t.Errorf("got %v", a.err)
		}
	}
	if err := e.Drain(context.Background()); err != nil {
		t.Errorf("drain: %v", err)
	}
	if _, err := e.Submit(t.Context(), ask("y", 1)); !errors.Is(err, inference.ErrEngine) {
		t.Errorf("submit: %v", err)
	}
	if err := e.Probe(t.Context()); !errors.Is(err, inference.ErrEngine) {
		t.Errorf("probe: %v", err)
	}
	if err := e.Err(); err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("Err: %v", err)
	}
	e.Close()
	if open, twice := b.OpenSamplers(); open != 0 || twice != 0 {
		t.Errorf("%d samplers open, %d closed twice", open, twice)
	}
	if s := e.Stats(); s.Queued != 0 || s.Running != 0 {
		t.Errorf("%+v", s)
	}
	if n := seen.get("done error"); n != 3 {
		t.Errorf("%d requests were counted as failed", n)
	}
}
