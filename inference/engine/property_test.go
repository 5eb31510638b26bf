package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
	"hearth/inference/prefixstore"
	"hearth/internal/config"
)

// drawOptions draws a backend small enough for everything to become scarce.
func drawOptions(t *rapid.T) enginetest.Options {
	o := enginetest.Options{
		Cells:     rapid.IntRange(64, 400).Draw(t, "cells"),
		Sequences: rapid.IntRange(1, 6).Draw(t, "sequences"),
		Batch:     rapid.IntRange(6, 64).Draw(t, "batch"),
		Split:     rapid.Bool().Draw(t, "split"),
		EOGEvery:  rapid.SampledFrom([]int{0, 10, 40}).Draw(t, "eog every"),
	}
	if o.Split {
		o.Cells = max(o.Cells, 40*o.Sequences)
	} else {
		o.Holders = rapid.SampledFrom([]int{0, 0, 2, 6}).Draw(t, "holders")
	}
	o.Adapters = rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "adapters")
	if rapid.IntRange(0, 2).Draw(t, "parrot") == 0 {
		o.Reply = func(prompt string) string { return strings.Repeat(prompt, 3) }
		if o.Adapters > 0 {
			o.Adapters = 0 // a reply knows nothing of them
		}
	}
	o.Forced = forcedWord
	o.Guesses = rapid.SampledFrom([]int{-1, 1, 4, 16}).Draw(t, "guesses")
	o.NoTrim = rapid.IntRange(0, 5).Draw(t, "no trim") == 0
	o.NoShare = rapid.IntRange(0, 5).Draw(t, "no share") == 0
	o.Window = rapid.SampledFrom([]int{0, 0, 5, 20, 60}).Draw(t, "window")
	if !o.Split && !o.NoTrim && !o.NoShare && o.Window == 0 && o.Sequences > 1 {
		drawLayouts(t, &o)
	}
	if o.Aside = rapid.SampledFrom([]int{0, 20, 400}).Draw(t, "aside"); o.Aside > 0 {
		drawAside(t, &o)
	}
	return o
}

// drawAside lets what is computed aside take a while, or fail.
func drawAside(t *rapid.T, o *enginetest.Options) {
	o.AsideSlices = rapid.IntRange(1, 5).Draw(t, "slices")
	op := rapid.SampledFrom([]string{"", "", "begin", "advance", "end"}).Draw(t, "fails aside")
	left := rapid.IntRange(0, 4).Draw(t, "before it fails")
	o.OnAside = func(at string) error {
		if at == op {
			left--
		}
		if at != op || left >= 0 {
			return nil
		}
		return inference.ErrDecodeFatal
	}
}

// drawLayouts lets the cells be moved often, or never.
func drawLayouts(t *rapid.T, o *enginetest.Options) {
	if o.Streams = rapid.SampledFrom([]int{0, 1, 2}).Draw(t, "streams"); o.Streams == 0 {
		return
	}
	o.Streams *= o.Cells / 2
	costs := []float64{0, 1e5, 1e7, 1e9}
	o.ScanCost = rapid.SampledFrom(costs).Draw(t, "scan cost")
	o.ReadCost = rapid.SampledFrom(costs).Draw(t, "read cost")
	o.CopyCost = rapid.SampledFrom(costs[:3]).Draw(t, "copy cost")
	if fails := rapid.IntRange(0, 9).Draw(t, "moves before one fails"); fails > 5 {
		o.OnRelayout = func(unified bool) error {
			if fails--; fails < 6 && !unified {
				return inference.ErrNoSlot
			}
			return nil
		}
	}
}

func drawConfig(t *rapid.T) Config {
	return Config{
		Sequences:  rapid.IntRange(1, 6).Draw(t, "running at most"),
		Queue:      1000,
		MinChunk:   rapid.IntRange(1, 8).Draw(t, "min chunk"),
		Reserve:    rapid.IntRange(1, 60).Draw(t, "reserve"),
		StepByStep: rapid.IntRange(0, 3).Draw(t, "step by step") == 0,
		Lookup: LookupConfig{
			Rows:   rapid.IntRange(1, 6).Draw(t, "guess up to rows"),
			Tokens: rapid.IntRange(1, 8).Draw(t, "guesses in a step"),
		},
		Forced: ForcedConfig{
			Mode:   rapid.SampledFrom([]inference.ForcedText{"", inference.ForcedOff, inference.ForcedGuess, inference.ForcedAppend}).Draw(t, "forced text"),
			Rows:   rapid.IntRange(0, 6).Draw(t, "guess forced text up to rows"),
			Tokens: rapid.IntRange(0, 16).Draw(t, "forced tokens in a step"),
		},
		Prefix: PrefixConfig{
			MinShare:   rapid.IntRange(1, 10).Draw(t, "min share"),
			MinKeep:    rapid.IntRange(1, 40).Draw(t, "min keep"),
			IdleTokens: rapid.IntRange(1, 100).Draw(t, "idle tokens"),
			Cells:      rapid.IntRange(1, 200).Draw(t, "idle cells"),
		},
	}
}

// drawStore draws a store of tiny bounds, and makes o a backend that can use it.
func drawStore(t *rapid.T, o *enginetest.Options, seen *counted) *prefixstore.Store {
	o.Keep, o.Split, o.NoShare, o.NoTrim = true, false, false, false
	fails := func(name string) func() error {
		every := rapid.SampledFrom([]int{0, 0, 3}).Draw(t, name)
		n := 0
		return func() error {
			if n++; every > 0 && n%every == 0 {
				return errors.New(name)
			}
			return nil
		}
	}
	o.OnSave, o.OnLoad = fails("failing save"), fails("failing load")
	bytes := rapid.SampledFrom([]int{100 * 4096, 5 * 4096, 4096}).Draw(t, "bytes of the store")
	block := min(rapid.IntRange(2, 20).Draw(t, "tokens of a block"), BlockTokens(inference.Traits{Window: o.Window}))
	s, err := prefixstore.New(prefixstore.Options{Block: block, Observer: seen, Config: prefixstore.Config{RAM: config.Size(bytes)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drawRequest draws prompts that have much in common, also between tenants.
func drawRequest(t *rapid.T, window, adapters int) *Request {
	var prompt strings.Builder
	for range rapid.IntRange(1, 4).Draw(t, "parts") {
		prompt.WriteString(rapid.SampledFrom([]string{"a", "system prompt; ", "be good. ", "x", "tell me of whales ", strings.Repeat("long ", 12)}).Draw(t, "part"))
	}
	text := prompt.String()
	text = text[:min(len(text), window-1)]
	seed := rapid.Uint32().Draw(t, "seed")
	r := &Request{
		Caller: inference.Caller{
			Principal: rapid.SampledFrom([]string{"ann", "bob", "cid"}).Draw(t, "principal"),
			Tenant:    rapid.SampledFrom([]string{"red", "blue"}).Draw(t, "tenant"),
		},
		Priority: inference.Priority(rapid.IntRange(0, 1).Draw(t, "priority")),
		Prompt:   enginetest.Tokens(text),
		Choices:  rapid.IntRange(1, 3).Draw(t, "choices"),
		Sampling: inference.Sampling{TopP: 1, RepeatPenalty: 1, Seed: &seed},
	}
	if rapid.Bool().Draw(t, "bounded") {
		r.MaxTokens = rapid.IntRange(1, window-len(r.Prompt)).Draw(t, "max tokens")
	}
	for i := range adapters {
		if scale := rapid.SampledFrom([]float32{0, 0.5, 1}).Draw(t, "scale"); rapid.Bool().Draw(t, "adapted") {
			r.Adapters = append(r.Adapters, inference.AdapterScale{Adapter: i, Scale: scale})
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "stops") == 0 {
		r.Stop = []string{"e", "a", "t", "cd", "\n"}
	}
	if rapid.Bool().Draw(t, "grammar") {
		r.Grammar = &inference.Grammar{GBNF: "root ::= [a-z]*"}
		r.Forced = rapid.SampledFrom([]inference.ForcedText{"", inference.ForcedOff, inference.ForcedGuess, inference.ForcedAppend}).Draw(t, "forced text of the request")
	}
	if rapid.Bool().Draw(t, "warm") {
		r.Sampling.Temperature = 1
	} else if rapid.Bool().Draw(t, "no seed") {
		r.Sampling.Seed = nil
	}
	return r
}

// asked is a request on its way through the property test.
type asked struct {
	r      *Request
	s      *Stream
	cancel context.CancelFunc
	gone   bool // cancelled by somebody
}

// TestAnyOrder submits, cancels, closes and steps in any order, on any shape of
// backend: nothing is lost, and every answer is the reference's.
func TestAnyOrder(t *testing.T) {
	if joins := anyOrder(t, nil); joins == 0 {
		t.Error("no prompt was computed aside")
	}
}

// TestAnyOrderWithAStore does so with a store behind the cache.
func TestAnyOrderWithAStore(t *testing.T) {
	seen := &counted{dropped: map[string]int{}}
	anyOrder(t, seen)
	if seen.restored == 0 || seen.dropped[prefixstore.Evicted] == 0 {
		t.Errorf("%d tokens came from stores, which dropped %v", seen.restored, seen.dropped)
	}
}

// anyOrder returns how many chunks were computed aside.
func anyOrder(t *testing.T, seen *counted) (joins uint64) {
	rapid.Check(t, func(rt *rapid.T) {
		o, c := drawOptions(rt), drawConfig(rt)
		if seen != nil {
			c.Store = drawStore(rt, &o, seen)
			defer c.Store.Close()
		}
		drawn := aside{
			least: rapid.IntRange(1, 10).Draw(rt, "least aside"),
			most:  rapid.IntRange(10, 64).Draw(rt, "most aside"),
			cells: rapid.IntRange(1, 200).Draw(rt, "cells aside"),
		}
		h := newHarness(t, o, c)
		h.t = rapidTB{t, rt}
		h.l.aside.least, h.l.aside.most, h.l.aside.cells = drawn.least, drawn.most, drawn.cells
		var all []*asked
		for range rapid.IntRange(1, 40).Draw(rt, "actions") {
			switch rapid.IntRange(0, 9).Draw(rt, "action") {
			case 0, 1, 2:
				all = append(all, h.ask(rt))
			case 3:
				if len(all) > 0 {
					a := all[rapid.IntRange(0, len(all)-1).Draw(rt, "closed")]
					a.gone = true
					a.s.Close()
				}
			case 4:
				if len(all) > 0 {
					// The letter that the watch on the context would write.
					a := all[rapid.IntRange(0, len(all)-1).Draw(rt, "cancelled")]
					a.gone = true
					if a.s.finish(inference.ErrDeadline) {
						a.s.cancel(inference.ErrDeadline)
					}
				}
			default:
				for range rapid.IntRange(1, 12).Draw(rt, "steps") {
					h.turn()
				}
			}
		}
		if rapid.Bool().Draw(rt, "run to the end") {
			h.settle()
			for i, a := range all {
				h.compare(rt, i, a)
			}
		}
		h.shut()
		joins += h.l.aside.joins
		for i, a := range all {
			a.cancel()
			// After the end every stream has ended, whatever became of it.
			for ended := false; !ended; {
				_, err, ok := a.s.pop()
				if !ok {
					rt.Fatalf("request %d never ended", i)
				}
				ended = err != nil
			}
		}
	})
	return joins
}

// ask submits a drawn request.
func (h *harness) ask(rt *rapid.T) *asked {
	ctx, cancel := context.WithCancel(context.Background())
	a := &asked{r: drawRequest(rt, h.l.window, h.l.t.Adapters), cancel: cancel}
	var err error
	if a.s, err = h.e.Submit(ctx, a.r); err != nil {
		rt.Fatalf("submit: %v", err)
	}
	return a
}

// compare checks the answer to a request that was run to its end.
func (h *harness) compare(rt *rapid.T, i int, a *asked) {
	got := read(h.t, a.s)
	if a.gone {
		if got.err != nil && !errors.Is(got.err, inference.ErrCancelled) && !errors.Is(got.err, inference.ErrDeadline) {
			rt.Fatalf("request %d was cancelled and ended with %v", i, got.err)
		}
		if got.err != nil {
			return
		}
	}
	if got.err != nil {
		rt.Fatalf("request %d failed: %v", i, got.err)
	}
	for choice := range a.r.Choices {
		if want := expected(h.b, a.r, choice); got.text[choice] != want {
			rt.Fatalf("request %d choice %d:\ngot  %q\nwant %q", i, choice, got.text[choice], want)
		}
	}
	h.compareCached(rt, i, a, got.usage)
}

// compareCached checks that what a request did not compute of its prompt is
// what it reports as cached.
func (h *harness) compareCached(rt *rapid.T, i int, a *asked, u inference.Usage) {
	for c, computed := range h.computed {
		if c.req.stream != a.s || c.index != 0 || h.l.preempted > 0 || h.l.aside.off {
			continue
		}
		if want := len(a.r.Prompt) - computed; u.CachedTokens != want {
			rt.Fatalf("request %d: %d tokens of %d computed, usage says %d cached", i, computed, len(a.r.Prompt), u.CachedTokens)
		}
	}
}

// rapidTB reports through rapid, so that it can shrink.
type rapidTB struct {
	testing.TB
	rt *rapid.T
}

func (r rapidTB) Fatalf(format string, args ...any) { r.rt.Fatalf(format, args...) }
func (r rapidTB) Fatal(args ...any)                 { r.rt.Fatal(args...) }
func (r rapidTB) Errorf(format string, args ...any) { r.rt.Fatal(fmt.Sprintf(format, args...)) }
func (r rapidTB) Helper()                           {}
