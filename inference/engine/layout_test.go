package engine

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
	"hearth/inference/prefixstore"
)

// eitherWay is a cache whose cells are moved as soon as a step loses by their layout.
func eitherWay() enginetest.Options {
	return enginetest.Options{Cells: 4000, Sequences: 6, Holders: 4, Streams: 1000, ScanCost: 1e7, ReadCost: 1e9}
}

// unlike returns a request that shares nothing with others.
func unlike(i, words, tokens int) *Request {
	return ask(strings.Repeat(fmt.Sprintf("%c%d ", 'a'+i, i*7), words), tokens)
}

// relayouts returns where the cells were moved to, in order.
func relayouts(h *harness) []string {
	var to []string
	unified := true
	for _, c := range h.b.Calls() {
		if c.Op == "relayout" {
			unified = !unified
			to = append(to, map[bool]string{true: "pool", false: "streams"}[unified])
		}
	}
	return to
}

// answers runs requests to their end and compares each with the reference.
func answers(t *testing.T, h *harness, asked []*Request, streams []*Stream) {
	t.Helper()
	h.settle()
	for i, s := range streams {
		a := read(t, s)
		if want := expected(h.b, asked[i], 0); a.err != nil || a.text[0] != want {
			t.Errorf("request %d: %v\ngot  %.60q\nwant %.60q", i, a.err, a.text[0], want)
		}
	}
}

func (h *harness) submitAll(t *testing.T, asked ...*Request) (streams []*Stream) {
	t.Helper()
	for _, r := range asked {
		s, err := h.e.Submit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	return streams
}

// TestLayoutFollowsTheLoad: strangers get streams, those who share a long prompt
// one pool, and a sequence goes on through both.
func TestLayoutFollowsTheLoad(t *testing.T) {
	h := newHarness(t, eitherWay(), Config{Prefix: PrefixConfig{MinShare: 4}})
	defer h.shut()
	var asked []*Request
	for i := range 3 {
		asked = append(asked, unlike(i, 40, 60))
	}
	streams := h.submitAll(t, asked...)
	for range 40 {
		h.turn()
	}
	if got := relayouts(h); len(got) != 1 || got[0] != "streams" || h.l.t.Unified {
		t.Fatalf("three strangers: moved to %v", got)
	}
	var same []*Request
	for i := range 3 {
		same = append(same, ask(system+fmt.Sprint(" question ", i), 200))
	}
	streams = append(streams, h.submitAll(t, same...)...)
	answers(t, h, append(asked, same...), streams)
	if got := relayouts(h); len(got) < 2 || got[1] != "pool" {
		t.Errorf("three more with one prompt: moved to %v", got)
	}
	if h.l.layout.moved != uint64(len(relayouts(h))) {
		t.Errorf("%d moves counted", h.l.layout.moved)
	}
}

// TestWhatHasNoPlaceIsStoredBefore: the cells are moved when all idle prefixes that no
// stream holds are stored, which takes several steps; also where the store has no room
// for them together.
func TestWhatHasNoPlaceIsStoredBefore(t *testing.T) {
	for _, small := range []bool{false, true} {
		t.Run(fmt.Sprintf("small=%t", small), func(t *testing.T) {
			o := eitherWay()
			o.Streams, o.Keep = 300, true
			room := 1 << 20
			if small {
				room = 30 * os.Getpagesize() // a block takes a page
			}
			store, seen := newStore(t, room)
			h := newHarness(t, o, Config{Store: store, Prefix: PrefixConfig{MinShare: 4, MinKeep: 8, Cells: 2000}})
			defer h.shut()
			h.l.saveMost = 10 * h.b.RunBytes(16)
			h.l.layout.off = true // until the prefixes are there
			long := func(i int) *Request { return unlike(i, 100, 5) }
			for i := range 3 {
				h.put(long(i))
				h.settle()
			}
			if h.l.idle != 3 || store.Len() != 0 {
				t.Fatalf("%d prefixes are idle and %d blocks stored", h.l.idle, store.Len())
			}
			h.l.layout.off = false
			asked := []*Request{unlike(4, 20, 60), unlike(5, 20, 60), unlike(6, 20, 60)}
			streams := h.submitAll(t, asked...)
			steps := 0
			for len(relayouts(h)) == 0 {
				h.turn()
				if h.l.idle == 3 && store.Len() > 0 {
					steps++
				}
				if steps > 100 {
					t.Fatal("the cells are never moved")
				}
			}
			if h.l.idle != 0 || steps < 5 || seen.dropped[prefixstore.Unsaved] != 0 {
				t.Errorf("after %d steps %d prefixes are idle, and dropped were %v", steps, h.l.idle, seen.dropped)
			}
			answers(t, h, asked, streams)
			for i := range 3 {
				r := long(i)
				s := h.put(r)
				h.settle()
				a := read(t, s)
				if want := expected(h.b, r, 0); a.text[0] != want {
					t.Errorf("request %d: %q, want %q", i, a.text[0], want)
				}
				if least := len(r.Prompt) - 1; !small && a.usage.CachedTokens < least {
					t.Errorf("request %d: %d tokens cached, want %d", i, a.usage.CachedTokens, least)
				}
			}
		})
	}
}

// TestMovedCellsAreShared: what went to one pool holds a common prefix once.
func TestMovedCellsAreShared(t *testing.T) {
	h := newHarness(t, eitherWay(), Config{Prefix: PrefixConfig{MinShare: 4}})
	defer h.shut()
	h.l.layout.off = true // until the test says so
	var asked []*Request
	for i := range 3 {
		asked = append(asked, ask(system+fmt.Sprint(" question ", i), 50))
	}
	streams := h.submitAll(t, asked...)
	for range 15 {
		h.turn()
	}
	h.finishAhead()
	h.l.relayout(false)
	h.check()
	used := h.l.cells.used
	h.l.relayout(true)
	h.check()
	if saved := used - h.l.cells.used; saved != 2*len(system+" question ") {
		t.Errorf("%d cells in streams, %d in one pool", used, h.l.cells.used)
	}
	answers(t, h, asked, streams)
}

// finishAhead turns until no step has gone ahead, which is when cells may be moved.
func (h *harness) finishAhead() {
	for h.l.ahead {
		h.turn()
	}
}

// TestTooLongForAStream: a request, or an answer, that no stream holds is served
// from one pool.
func TestTooLongForAStream(t *testing.T) {
	o := eitherWay()
	o.Streams, o.ReadCost = 300, 0
	for name, late := range map[string]*Request{
		"a long prompt":        ask(strings.Repeat("w", 290), 30),
		"an answer that grows": ask(strings.Repeat("v", 200), 0),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, o, Config{Reserve: 16})
			defer h.shut()
			asked := []*Request{unlike(0, 30, 60), unlike(1, 30, 60)}
			streams := h.submitAll(t, asked...)
			for range 20 {
				h.turn()
			}
			if h.l.t.Unified {
				t.Fatal("two strangers are not in streams")
			}
			if late.MaxTokens == 0 {
				late.Stop = []string{"\x00\x01\x02"}
			}
			asked = append(asked, late)
			streams = append(streams, h.submitAll(t, late)...)
			answers(t, h, asked, streams)
			if got := relayouts(h); len(got) < 2 || got[1] != "pool" {
				t.Errorf("moved to %v", got)
			}
		})
	}
}

// TestSeedAloneStartsInOnePool: the same seed gives the same tokens only from the
// same cache.
func TestSeedAloneStartsInOnePool(t *testing.T) {
	h := newHarness(t, eitherWay(), Config{})
	defer h.shut()
	asked := []*Request{unlike(0, 40, 30), unlike(1, 40, 30)}
	answers(t, h, asked, h.submitAll(t, asked...))
	if !h.l.streaming() {
		t.Fatal("not in streams")
	}
	seed := uint32(7)
	r := unlike(2, 10, 5)
	r.Sampling.Seed, r.Sampling.Temperature = &seed, 1
	s := h.submitAll(t, r)
	h.take()
	if h.l.streaming() {
		t.Error("it began in streams")
	}
	answers(t, h, []*Request{r}, s)
}

// TestMoveFails: a backend that cannot move the cells to streams is not asked
// again; one that cannot move them back fails those that run, and serves on.
func TestMoveFails(t *testing.T) {
	broken := errors.New("no memory")
	for _, back := range []bool{false, true} {
		o := eitherWay()
		fail := true
		o.OnRelayout = func(unified bool) error {
			if fail && unified == back {
				fail = false
				return broken
			}
			return nil
		}
		h := newHarness(t, o, Config{})
		asked := []*Request{unlike(0, 40, 300), unlike(1, 40, 300)}
		streams := h.submitAll(t, asked...)
		if !back {
			answers(t, h, asked, streams)
			if got := relayouts(h); len(got) != 1 || h.l.streaming() {
				t.Errorf("asked %d times", len(got))
			}
			h.shut()
			continue
		}
		for range 20 {
			h.turn()
		}
		h.finishAhead()
		if h.l.t.Unified || h.l.running != 2 {
			t.Fatalf("%d running, unified %t", h.l.running, h.l.t.Unified)
		}
		h.l.relayout(true)
		h.check()
		for _, s := range streams {
			if a := read(t, s); !errors.Is(a.err, inference.ErrEngine) || !errors.Is(a.err, broken) {
				t.Errorf("a request that could not be moved ended with %v", a.err)
			}
		}
		after := []*Request{unlike(2, 40, 20), unlike(3, 40, 20)}
		answers(t, h, after, h.submitAll(t, after...))
		if h.l.streaming() {
			t.Error("the cells were moved again")
		}
		h.shut()
	}
}

// TestGapsAreClosed: in streams those that run are neighbours, because each gap
// among them costs a computation of its own.
func TestGapsAreClosed(t *testing.T) {
	h := newHarness(t, eitherWay(), Config{})
	defer h.shut()
	asked := []*Request{unlike(0, 40, 200), unlike(1, 40, 30), unlike(2, 40, 200), unlike(3, 40, 200)}
	streams := h.submitAll(t, asked...)
	for range 300 {
		h.turn()
		if h.l.running == 3 && !h.l.ahead {
			break
		}
	}
	for range 3 {
		h.turn()
		h.finishAhead()
	}
	if !h.l.streaming() || h.l.running != 3 {
		t.Fatalf("%d running, in streams: %t", h.l.running, h.l.streaming())
	}
	ids := []int32{}
	for _, s := range h.l.seqs[:h.l.t.Sequences] {
		if s != nil && s.owner != nil {
			ids = append(ids, s.id)
		}
	}
	if ids[2]-ids[0] != 2 {
		t.Errorf("those that run are in sequences %d", ids)
	}
	answers(t, h, asked, streams)
}

// TestRowsAreNeighbours: a prompt that is computed aside does not lie between those
// that decode. One of their ends is where it is placed, and goes where it would have
// lain; or the two change places, where it was there first. All go on.
func TestRowsAreNeighbours(t *testing.T) {
	for _, test := range []struct {
		name  string
		first []*Request // the third ends early
		then  []*Request
		swaps bool
		whole bool // what changes places does not lose cells
	}{
		{"comes between", []*Request{unlike(0, 40, 300), unlike(1, 40, 300), unlike(2, 40, 40), unlike(3, 40, 300)}, []*Request{unlike(4, 150, 20)}, false, true},
		{"comes before", []*Request{unlike(0, 40, 300), unlike(1, 40, 300), unlike(2, 40, 40)}, []*Request{unlike(4, 150, 20), unlike(5, 40, 300)}, true, true},
		{"loses cells", []*Request{unlike(0, 40, 300), unlike(1, 40, 300), unlike(2, 40, 40)}, []*Request{unlike(4, 150, 20), unlike(5, 40, 300)}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := eitherWay()
			o.Aside, o.AsideSlices, o.Batch = 2000, 12, 256
			o.OnSwap = func() bool { return test.whole }
			h := newHarness(t, o, Config{Prefix: PrefixConfig{MinShare: 4}})
			defer h.shut()
			streams := h.submitAll(t, test.first...)
			for range 400 {
				h.turn()
				if h.l.running == len(test.first)-1 && h.l.streaming() && !h.l.ahead {
					break
				}
			}
			streams = append(streams, h.submitAll(t, test.then...)...)
			swaps := func() (n int) {
				for _, c := range h.b.Calls() {
					if c.Op == "swap" {
						n++
					}
				}
				return n
			}
			aside := false
			for range 60 {
				h.turn()
				if h.l.aside.state != asideBegun || h.l.ahead {
					continue
				}
				aside = true
				if h.l.splits() > 0 && test.whole {
					t.Fatal("a sequence that is computed aside lies between those that decode")
				}
			}
			if !aside || test.whole && !h.l.streaming() {
				t.Fatalf("nothing was computed aside (%t) in streams (%t)", aside, h.l.streaming())
			}
			if swaps() > 0 != test.swaps {
				t.Errorf("%d times two changed places", swaps())
			}
			answers(t, h, slices.Concat(test.first, test.then), streams)
		})
	}
}
