package llama

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/inference"
)

// beside computes b aside in short slices, a step of sequence 3 between two of
// them, and returns how many slices that took. A step must not change it, nor be
// changed by it.
func beside(t *testing.T, c *Context, b *inference.Batch, shares []inference.SeqMove) (slices int) {
	t.Helper()
	must(t, c.BeginAside(b, shares))
	for {
		slices++
		done, err := c.AdvanceAside(30 * time.Millisecond)
		must(t, err)
		if done {
			return slices
		}
		var step inference.Batch
		step.Add(1+int32(slices), c.SeqPosMax(3)+1, 3, false)
		_, err = c.Step(&step, nil, nil, false)
		must(t, err)
	}
}

// TestAside: prompts that are computed beside the steps go on as if they had been
// computed in them, in each layout, behind what their sequences held and sharing it.
func TestAside(t *testing.T) {
	const n = 4
	m := sharedModel(t)
	begin := tokenize(t, m, story[:len(story)/2])
	shared := int32(len(begin))
	prompts := [][]int32{
		slices.Concat(begin, tokenize(t, m, " In winter the keeper lit the lamp and waited for the")),
		slices.Concat(begin, tokenize(t, m, " Every night a ship passed by, and the captain waved his")),
		tokenize(t, m, "The recipe for bread begins with flour, water, salt and"),
	}
	for name, o := range map[string]ContextOptions{
		"pool":  {Cells: 1024, Sequences: 4, Unified: true, Streams: true, KVType: "f16"},
		"q8_0":  {Cells: 1024, Sequences: 4, Unified: true, Streams: true, KVType: "q8_0"},
		"split": {Cells: 2048, Sequences: 4},
	} {
		t.Run(name, func(t *testing.T) {
			o.Threads, o.FlashAttention, o.Aside = 1, "on", true
			c := newContext(t, m, o)
			if c.Traits().Aside < 512 {
				t.Fatalf("there is room for %d cells aside", c.Traits().Aside)
			}
			goOn := func(seq, from int32, tokens []int32) []int32 {
				t.Helper()
				return greedyFrom(t, m, c, seq, from, tokens, n)
			}
			var want [][]int32
			for _, p := range prompts {
				want = append(want, goOn(0, 0, p))
				c.SeqRemove(0, -1, -1)
			}
			layouts := []bool{true}
			if o.Streams {
				layouts = append(layouts, false)
			}
			for _, unified := range layouts {
				if c.Traits().Streams > 0 && unified != c.Traits().Unified {
					must(t, c.Relayout(unified, []inference.SeqMove{{From: 3, To: 3}}))
				}
				// All but the last token of the first prompt and of one that is shorter.
				var b inference.Batch
				for seq, p := range map[int32][]int32{0: prompts[0], 2: prompts[2]} {
					for i, token := range p[:len(p)-1] {
						b.Add(token, int32(i), seq, false)
					}
				}
				if slices := beside(t, c, &b, nil); slices < 3 {
					t.Errorf("it took %d slices: none was cut", slices)
				}
				// Meanwhile the sequence may have got another id.
				must(t, c.EndAside([]inference.SeqMove{{From: 0, To: 1}, {From: 2, To: 2}}))
				if c.SeqPosMax(0) >= 0 {
					t.Error("the old id holds something")
				}
				equalTokens(t, m, "aside", goOn(1, int32(len(prompts[0])-1), prompts[0][len(prompts[0])-1:]), want[0])
				equalTokens(t, m, "aside, together with it", goOn(2, int32(len(prompts[2])-1), prompts[2][len(prompts[2])-1:]), want[2])

				// Two prompts behind the same beginning.
				c.SeqRemove(1, shared, -1)
				c.SeqCopy(1, 0, 0, shared)
				b.Reset()
				for seq, p := range prompts[:2] {
					for i, token := range p[shared : len(p)-1] {
						b.Add(token, shared+int32(i), int32(1-seq), false)
					}
				}
				beside(t, c, &b, []inference.SeqMove{{From: 0, With: 1, Shared: shared}})
				must(t, c.EndAside([]inference.SeqMove{{From: 0, To: 0}, {From: 1, To: 1}}))
				equalTokens(t, m, "behind a prefix", goOn(1, int32(len(prompts[0])-1), prompts[0][len(prompts[0])-1:]), want[0])
				equalTokens(t, m, "behind a shared prefix", goOn(0, int32(len(prompts[1])-1), prompts[1][len(prompts[1])-1:]), want[1])

				// What is given up leaves no trace, however far it was.
				c.SeqRemove(0, shared, -1)
				b.Reset()
				for i, token := range prompts[2] {
					b.Add(token, shared+int32(i), 0, false)
				}
				for _, advance := range []bool{false, true} {
					must(t, c.BeginAside(&b, nil))
					if advance {
						if done, err := c.AdvanceAside(1); done || err != nil {
							t.Errorf("after a nanosecond it is done: %v, %v", done, err)
						}
					}
					must(t, c.EndAside(nil))
				}
				equalTokens(t, m, "after what was given up", goOn(0, shared, prompts[1][shared:]), want[1])
				for seq := range int32(3) {
					c.SeqRemove(seq, -1, -1)
				}
			}
			// Closing the context ends what is computed aside.
			b := inference.Batch{}
			for i, token := range begin {
				b.Add(token, int32(i), 0, false)
			}
			must(t, c.BeginAside(&b, nil))
			_, err := c.AdvanceAside(1)
			must(t, err)
		})
	}
}

// TestAsideRefuses holds that what cannot be computed aside is refused, and what is
// computed goes on.
func TestAsideRefuses(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 512, Sequences: 3, Unified: true, Threads: 1, Aside: true, MicroBatch: 128})
	tokens := tokenize(t, m, story)
	prompt(t, c, 0, 0, tokens[:20])
	prompt(t, c, 1, 0, tokens[:20])
	batch := func(seq, from int32, n int) *inference.Batch {
		var b inference.Batch
		for i := range n {
			b.Add(tokens[i%len(tokens)], from+int32(i), seq, false)
		}
		return &b
	}
	if _, err := c.AdvanceAside(time.Second); !errors.Is(err, errAside) {
		t.Errorf("nothing was begun: %v", err)
	}
	if err := c.EndAside(nil); !errors.Is(err, errAside) {
		t.Errorf("nothing was begun: %v", err)
	}
	both := batch(0, 20, 8)
	both.Token, both.Pos = append(both.Token, 5), append(both.Pos, 20)
	both.Seq, both.Output = append(both.Seq, 1), append(both.Output, 0)
	for name, bad := range map[string]struct {
		b      *inference.Batch
		shares []inference.SeqMove
	}{
		"empty":            {b: &inference.Batch{}},
		"not at its end":   {b: batch(0, 19, 4)},
		"no such sequence": {b: batch(3, 0, 4)},
		"too many":         {b: batch(0, 20, 129)},
		"shares too much":  {b: both, shares: []inference.SeqMove{{From: 1, With: 0, Shared: 21}}},
		"shares with none": {b: both, shares: []inference.SeqMove{{From: 1, With: 2, Shared: 4}}},
		"shares backwards": {b: both, shares: []inference.SeqMove{{From: 0, With: 1, Shared: 4}}},
	} {
		if err := c.BeginAside(bad.b, bad.shares); !errors.Is(err, inference.ErrBadBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, c.BeginAside(batch(0, 20, 40), nil))
	if err := c.BeginAside(batch(1, 20, 4), nil); !errors.Is(err, errAside) {
		t.Errorf("twice: %v", err)
	}
	if _, err := c.AdvanceAside(time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AdvanceAside(time.Minute); !errors.Is(err, errAside) {
		t.Errorf("it is done: %v", err)
	}
	if err := c.EndAside([]inference.SeqMove{{From: 1, To: 1}}); !errors.Is(err, errAside) || c.SeqPosMax(1) != 19 {
		t.Errorf("of a sequence that was not computed: %v, it ends at %d", err, c.SeqPosMax(1))
	}
	plain := newContext(t, m, ContextOptions{Cells: 512, Sequences: 3, Unified: true, Threads: 1})
	if err := plain.BeginAside(batch(0, 0, 4), nil); !errors.Is(err, errAside) {
		t.Errorf("not asked for: %v", err)
	}
}

func TestAsideCells(t *testing.T) {
	o := ContextOptions{Cells: 4096, Sequences: 4, Aside: true}
	lone, none := o, o
	lone.Sequences, none.Aside = 1, false
	for name, c := range map[string]struct {
		o          ContextOptions
		train      int
		each, free int64
		want       int
	}{
		"as the cache":         {o, 0, 10, 1 << 40, 4096},
		"no longer than it is": {o, 2000, 10, 1 << 40, 2048},
		"what memory is left":  {o, 0, 10, 10 * 5000, 768},
		"no memory is left":    {o, 0, 10, 10 * 4300, 0},
		"not known":            {o, 0, 0, 1 << 40, 0},
		"one sequence":         {lone, 0, 10, 1 << 40, 0},
		"not asked for":        {none, 0, 10, 1 << 40, 0},
	} {
		if got := asideCells(c.o, c.train, c.each, c.free); got != c.want {
			t.Errorf("%s: %d cells, want %d", name, got, c.want)
		}
	}
}

// TestAsideGivesBack: the cells that are copied to be gone on from take memory only
// while something is computed.
func TestAsideGivesBack(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 2048, Sequences: 2, Unified: true, Threads: 1, Aside: true})
	tokens := tokenize(t, m, strings.Repeat(story, 2))
	prompt(t, c, 0, 0, tokens)
	held := int32(len(tokens))
	var b inference.Batch
	b.Add(tokens[0], held, 0, false)
	computed := func() (taken int64) {
		t.Helper()
		must(t, c.BeginAside(&b, nil))
		done, err := c.AdvanceAside(time.Minute)
		must(t, err)
		if !done {
			t.Fatal("one token is not computed in a minute")
		}
		taken = residentMemory(t)
		must(t, c.EndAside(nil))
		return taken
	}
	computed() // makes the context
	before := residentMemory(t)
	taken := computed() - before
	each := int64(c.RunBytes(2) - c.RunBytes(1))
	if all := int64(len(tokens)) * each; taken < all/2 {
		t.Fatalf("%d bytes were taken for %d of cells: this measures nothing", taken, all)
	} else if left := residentMemory(t) - before; left > all/4 {
		t.Errorf("%d bytes of %d are still taken", left, all)
	}
}
