package llama

import (
	"path/filepath"
	"slices"
	"testing"

	"hearth/internal/testkit"
)

// unlike returns n tokens that differ from one salt to another.
func unlike(salt, n, vocabulary int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*31 + salt*977 + i*i*salt) % vocabulary)
	}
	return ids
}

// A layer with a sliding window gives up cells that the end of their sequence no
// longer sees. A prefix that ends before them is shared exactly while they are
// there; SeqIntact tells when they are gone, and going on would be wrong then.
func TestForkBeforeTheWindow(t *testing.T) {
	initBackends(t)
	const fork, n = 60, 12 // tokens; the window has 32
	departed := 0
	for _, name := range []string{"gemma2-dense", "gemma3-dense", "gpt-oss-moe", "cohere2-dense", "olmo2-dense"} {
		t.Run(name, func(t *testing.T) {
			m, err := Load(filepath.Join(testkit.TinyModels(t), name+".gguf"), ModelOptions{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { must(t, m.Close()) }()
			c, err := m.NewContext(ContextOptions{Cells: 512, Sequences: 4, Batch: 64, Threads: 1, Unified: true})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { must(t, c.Close()) }()
			vocabulary := m.Info().Vocabulary
			long, tail := unlike(1, 150, vocabulary), unlike(2, 9, vocabulary)
			goOn := func(seq, from int32, tokens []int32) []int32 {
				t.Helper()
				spec := greedySpec()
				s, err := m.newSampler(&spec, false)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { must(t, s.Close()) }()
				index := prompt(t, c, seq, from, tokens)
				return generate(t, c, s, seq, from+int32(len(tokens)), index, n)
			}
			prompt(t, c, 0, 0, long[:fork])
			wantFork := goOn(0, fork, tail)
			c.SeqRemove(0, -1, -1)
			prompt(t, c, 0, 0, long)
			wantLong := goOn(0, 150, tail)
			c.SeqRemove(0, -1, -1)

			prompt(t, c, 1, 0, unlike(3, 30, vocabulary)) // frees the first cells later
			prompt(t, c, 0, 0, long)
			if !c.SeqIntact(0, fork) || !c.SeqIntact(0, 150) {
				t.Fatal("nothing was given up, and something is said to be missing")
			}
			c.SeqCopy(0, 2, 0, fork)
			equalTokens(t, m, "a fork while the window is there", goOn(2, fork, tail), wantFork)
			c.SeqRemove(2, -1, -1)

			c.SeqRemove(1, -1, -1)
			prompt(t, c, 1, 0, unlike(4, 120, vocabulary)) // takes what nobody sees
			if c.SeqIntact(0, fork) {
				t.Fatal("cells were taken, and the fork is said to be intact")
			}
			if c.SeqRemove(0, fork, -1) || c.SeqPosMax(0) != 149 {
				t.Errorf("a tail was removed although nothing can go on there; the sequence ends at %d", c.SeqPosMax(0))
			}
			c.SeqCopy(0, 2, 0, fork)
			if !slices.Equal(goOn(2, fork, tail), wantFork) {
				departed++
			}
			if !c.SeqIntact(0, 150) {
				t.Fatal("the end of a sequence is never given up")
			}
			c.SeqCopy(0, 3, 0, 150)
			equalTokens(t, m, "a copy to the end", goOn(3, 150, tail), wantLong)
			equalTokens(t, m, "going on", goOn(0, 150, tail), wantLong)
			if !c.SeqRemove(0, 150, -1) {
				t.Error("the answer of a moment ago cannot be removed")
			}
		})
	}
	if departed == 0 {
		t.Error("no copy without its window gave other tokens: SeqIntact is not put to the test")
	}
}

// Where only the window is kept nothing is shared, and the context says so.
func TestWindowOnly(t *testing.T) {
	initBackends(t)
	m, err := Load(filepath.Join(testkit.TinyModels(t), "gemma3-dense.gguf"), ModelOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, m.Close()) })
	for _, unified := range []bool{true, false} {
		o := ContextOptions{Cells: 2048, Sequences: 2, Batch: 64, Threads: 1, Unified: unified}
		full := newContext(t, m, o)
		o.WindowOnly = true
		small := newContext(t, m, o)
		if !full.Traits().Share || full.WhyNotShared() != "" {
			t.Errorf("unified=%v: with all cells: %+v %s", unified, full.Traits(), full.WhyNotShared())
		}
		if small.Traits().Share || small.Traits().Holders != 0 || small.WhyNotShared() == "" {
			t.Errorf("unified=%v: with the window alone: %+v %s", unified, small.Traits(), small.WhyNotShared())
		}
		ids := unlike(1, 200, m.Info().Vocabulary)
		prompt(t, small, 1, 0, unlike(2, 200, m.Info().Vocabulary)) // more than there are places in the window
		equalTokens(t, m, "with the window alone", complete(t, small, 0, ids, 12, greedySpec()), complete(t, full, 0, ids, 12, greedySpec()))
	}
}
