package engine

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// with returns r with one adapter at scale 1.
func with(r *Request, adapter int) *Request {
	r.Adapters = []inference.AdapterScale{{Adapter: adapter, Scale: 1}}
	return r
}

func TestAdaptersOfARequestAreChecked(t *testing.T) {
	e, _ := start(t, enginetest.Options{Adapters: 2}, Config{})
	for name, set := range map[string][]inference.AdapterScale{
		"unknown":    {{Adapter: 2, Scale: 1}},
		"negative":   {{Adapter: -1, Scale: 1}},
		"twice":      {{Adapter: 1, Scale: 1}, {Adapter: 1, Scale: 0.5}},
		"too strong": {{Adapter: 0, Scale: inference.MaxAdapterScale + 1}},
		"no number":  {{Adapter: 0, Scale: float32(math.NaN())}},
		"infinite":   {{Adapter: 0, Scale: float32(math.Inf(-1))}},
		"too many":   make([]inference.AdapterScale, inference.MaxAdapters+1),
	} {
		r := ask("hello", 4)
		r.Adapters = set
		var inv *inference.InvalidError
		if _, err := e.Submit(t.Context(), r); !errors.As(err, &inv) || !strings.HasPrefix(inv.Field, "lora") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneSetOfAdaptersHasOneKey(t *testing.T) {
	_, a := adapterSet([]inference.AdapterScale{{Adapter: 1, Scale: 0.5}, {Adapter: 0, Scale: 1}, {Adapter: 2}})
	set, b := adapterSet([]inference.AdapterScale{{Adapter: 0, Scale: 1}, {Adapter: 1, Scale: 0.5}})
	if a != b || len(set) != 2 {
		t.Errorf("%q and %q", a, b)
	}
	if _, c := adapterSet([]inference.AdapterScale{{Adapter: 0, Scale: 1}, {Adapter: 1, Scale: 0.25}}); c == b {
		t.Error("another scale has the same key")
	}
	if set, none := adapterSet([]inference.AdapterScale{{Adapter: 3}}); none != "" || len(set) != 0 {
		t.Errorf("scale 0 has the key %q", none)
	}
}

// TestAdaptersChangeOnlyBetweenTurns counts what a backend pays for.
func TestAdaptersChangeOnlyBetweenTurns(t *testing.T) {
	h := newHarness(t, enginetest.Options{Adapters: 2, Batch: 512, Cells: 4096}, Config{})
	var streams []*Stream
	var asked []*Request
	for i := range 6 {
		r := ask(unique(fmt.Sprint(i), 20), 80)
		if i%3 > 0 {
			with(r, i%3-1)
		}
		asked = append(asked, r)
		streams = append(streams, h.put(r))
	}
	h.settle()
	for i, s := range streams {
		if a := read(t, s); a.err != nil || a.text[0] != expected(h.b, asked[i], 0) {
			t.Errorf("request %d: %q, %v", i, a.text[0], a.err)
		}
	}
	changes, decodes := 0, 0
	for _, c := range h.b.Calls() {
		switch c.Op {
		case "adapt":
			changes++
		case "decode":
			decodes++
		}
	}
	if most := decodes/adapterTurn + 3; changes < 6 || changes > most {
		t.Errorf("%d changes of adapters in %d steps, want at most %d", changes, decodes, most)
	}
	h.shut()
}

// TestBaseAloneNeverAdapts: who uses no adapter pays nothing.
func TestBaseAloneNeverAdapts(t *testing.T) {
	h := newHarness(t, enginetest.Options{Adapters: 2}, Config{})
	zero := ask("zero", 9)
	zero.Adapters = []inference.AdapterScale{{Adapter: 1}}
	h.put(zero)
	h.put(ask("none", 9))
	h.settle()
	for _, c := range h.b.Calls() {
		if c.Op == "adapt" {
			t.Errorf("adapters were set to %v", c.Adapters)
		}
	}
	h.shut()
}

func TestPrefixesNeverCrossAdapters(t *testing.T) {
	prompt := unique("p", 60)
	for _, o := range []enginetest.Options{{Adapters: 2}, {Adapters: 2, Split: true}, {Adapters: 2, Holders: 8}} {
		h := newHarness(t, o, Config{Sequences: 4, Prefix: PrefixConfig{MinKeep: 16}})
		cached := func(r *Request) int {
			s := h.put(r)
			h.settle()
			a := read(t, s)
			if a.err != nil || a.text[0] != expected(h.b, r, 0) {
				t.Fatalf("%+v: %q, %v", o, a.text[0], a.err)
			}
			return a.usage.CachedTokens
		}
		half := ask(prompt, 5)
		half.Adapters = []inference.AdapterScale{{Adapter: 0, Scale: 0.5}}
		for _, step := range []struct {
			name string
			r    *Request
			hit  bool
		}{
			{"the model alone", ask(prompt, 5), false},
			{"the first adapter", with(ask(prompt, 5), 0), false},
			{"the second adapter", with(ask(prompt, 5), 1), false},
			{"another scale", half, false},
			{"the first adapter again", with(ask(prompt, 5), 0), true},
			{"the model alone again", ask(prompt, 5), true},
		} {
			if n := cached(step.r); (n > 0) != step.hit {
				t.Errorf("%+v %s: %d tokens were cached", o, step.name, n)
			}
		}
		h.shut()
	}
}

// TestFollowersWaitOnlyForTheirAdapters: a prompt in flight is computed once for
// each set of adapters.
func TestFollowersWaitOnlyForTheirAdapters(t *testing.T) {
	h := newHarness(t, enginetest.Options{Adapters: 1, Batch: 16}, Config{})
	prompt := unique("p", 64)
	streams := []*Stream{h.put(ask(prompt, 4)), h.put(with(ask(prompt, 4), 0)), h.put(ask(prompt, 4)), h.put(with(ask(prompt, 4), 0))}
	h.settle()
	for i, s := range streams {
		a := read(t, s)
		if shared := a.usage.CachedTokens > 0; a.err != nil || shared != (i >= 2) {
			t.Errorf("request %d: %d cached, %v", i, a.usage.CachedTokens, a.err)
		}
	}
	h.shut()
}

// TestNoAdapterStarves floods some sets with work and bounds how many steps any
// running request waits for one of its own.
func TestNoAdapterStarves(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const adapters = 3
		h := newHarness(t, enginetest.Options{Adapters: adapters, Sequences: 5, Cells: 4000, Batch: 24}, Config{
			Sequences: rapid.IntRange(2, 5).Draw(rt, "running at most"), Queue: 1000, Prefix: PrefixConfig{Off: rapid.Bool().Draw(rt, "no sharing")},
		})
		h.t = rapidTB{t, rt}
		waits := map[*choice]int{}
		flood := func() {
			r := ask(unique(rapid.StringMatching("[a-z]{3}").Draw(rt, "prompt"), rapid.IntRange(1, 90).Draw(rt, "length")), rapid.IntRange(1, 40).Draw(rt, "tokens"))
			if a := rapid.IntRange(-1, adapters-1).Draw(rt, "adapter"); a >= 0 {
				with(r, a)
			}
			h.put(r)
		}
		for range 3 {
			flood()
		}
		most := 0
		for range 300 {
			if h.l.queue.size < 3 {
				flood()
			}
			h.turn()
			moved := map[*choice]bool{}
			for _, p := range h.l.parts {
				moved[p.c] = true
			}
			for _, s := range h.l.seqs {
				if s == nil || s.owner == nil || s.source != nil {
					continue
				}
				if waits[s.owner]++; moved[s.owner] || h.l.turns.key == s.scope.adapters {
					waits[s.owner] = 0
				}
				most = max(most, waits[s.owner])
			}
		}
		// Each of the other sets has one turn at most, and an arrival of one of
		// them may have begun before the wait did.
		if bound := adapters * adapterTurn; most > bound {
			rt.Fatalf("a request waited %d steps for its adapters, the bound is %d", most, bound)
		}
		h.settle()
		h.shut()
	})
}

// TestCancelInAnothersTurn ends the only request of the set that has its turn,
// and one that waits: the others go on.
func TestCancelInAnothersTurn(t *testing.T) {
	h := newHarness(t, enginetest.Options{Adapters: 2}, Config{})
	r := with(ask("stays", 30), 1)
	first, gone, stays := h.put(with(ask("goes in its turn", 30), 0)), h.put(ask("goes while it waits", 30)), h.put(r)
	for range 3 {
		h.turn()
	}
	first.Close()
	gone.Close()
	h.settle()
	if a := read(t, stays); a.err != nil || a.text[0] != expected(h.b, r, 0) {
		t.Errorf("%q, %v", a.text[0], a.err)
	}
	h.shut()
}

// TestAdaptersThatFail fails who asked for them, and nobody else.
func TestAdaptersThatFail(t *testing.T) {
	broken := errors.New("no memory for it")
	h := newHarness(t, enginetest.Options{Adapters: 2, OnAdapt: func(set []inference.AdapterScale) error {
		if slices.ContainsFunc(set, func(a inference.AdapterScale) bool { return a.Adapter == 1 }) {
			return broken
		}
		return nil
	}}, Config{})
	base, good := ask("base", 40), with(ask("good", 40), 0)
	bad, sb, sg := h.put(with(ask("bad", 40), 1)), h.put(base), h.put(good)
	h.settle()
	if a := read(t, bad); !errors.Is(a.err, inference.ErrEngine) {
		t.Errorf("the adapter that fails: %v", a.err)
	}
	for r, s := range map[*Request]*Stream{base: sb, good: sg} {
		if a := read(t, s); a.err != nil || a.text[0] != expected(h.b, r, 0) {
			t.Errorf("beside it: %q, %v", a.text[0], a.err)
		}
	}
	h.shut()
}
