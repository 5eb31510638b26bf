package llama

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"hearth/inference"
	"hearth/internal/testkit"
)

// TestAsideOfAWindow: prompts of models with a sliding window that are computed
// beside the steps, several windows at once, go on as if they had been computed in
// them: at their end, and where another begins with a part of them.
func TestAsideOfAWindow(t *testing.T) {
	initBackends(t)
	const from, end, n = 50, 150, 12 // tokens; the window has 32
	for _, name := range []string{"gemma2-dense", "gemma3-dense", "gpt-oss-moe", "cohere2-dense", "olmo2-dense"} {
		t.Run(name, func(t *testing.T) {
			m, err := Load(filepath.Join(testkit.TinyModels(t), name+".gguf"), ModelOptions{}, nil)
			must(t, err)
			defer func() { must(t, m.Close()) }()
			c, err := m.NewContext(ContextOptions{Cells: 1024, Sequences: 5, Batch: 256, Threads: 1, Unified: true, FlashAttention: "on", Aside: true})
			must(t, err)
			defer func() { must(t, c.Close()) }()
			if c.Traits().Aside < 256 || c.Traits().Window != 32 {
				t.Fatalf("the traits are %+v", c.Traits())
			}
			vocabulary := m.Info().Vocabulary
			long, other, tail := unlike(1, end, vocabulary), unlike(3, 80, vocabulary), unlike(2, 9, vocabulary)
			goOn := func(seq, at int32) []int32 {
				t.Helper()
				return greedyFrom(t, m, c, seq, at, tail, n)
			}
			want := map[int32][]int32{}
			for _, at := range []int32{60, 110, end} {
				prompt(t, c, 0, 0, long[:at])
				want[at] = goOn(0, at)
				c.SeqRemove(0, -1, -1)
			}
			prompt(t, c, 0, 0, other)
			wantOther := goOn(0, int32(len(other)))
			c.SeqRemove(0, -1, -1)

			prompt(t, c, 0, 0, long[:from])
			var b inference.Batch
			for i := int32(from); i < end; i++ {
				b.Add(long[i], i, 0, false)
			}
			for i, token := range other {
				b.Add(token, int32(i), 1, false)
			}
			shares := []inference.SeqMove{{From: 1, With: 0, Shared: 0}}
			if err := c.BeginAside(&b, shares); !errors.Is(err, inference.ErrBadBatch) {
				t.Errorf("sequences that share: %v", err)
			}
			for _, all := range []bool{false, true} {
				must(t, c.BeginAside(&b, nil))
				for slice := range 1000 {
					done, err := c.AdvanceAside(time.Microsecond)
					must(t, err)
					var step inference.Batch
					step.Add(long[slice%end], c.SeqPosMax(3)+1, 3, false)
					_, err = c.Step(&step, nil, nil, false)
					must(t, err)
					if done || !all && slice == 1 {
						break
					}
				}
				var moves []inference.SeqMove
				if all {
					moves = []inference.SeqMove{{From: 0, To: 0}, {From: 1, To: 1}}
				}
				must(t, c.EndAside(moves))
				if last := c.SeqPosMax(0); !all && last != from-1 || all && last != end-1 {
					t.Fatalf("sequence 0 ends at %d", last)
				}
			}
			equalTokens(t, m, "at its end, together with it", goOn(1, int32(len(other))), wantOther)
			for _, at := range []int32{60, 110, end} {
				if !c.SeqIntact(0, at) {
					t.Fatalf("something is missing at %d", at)
				}
				c.SeqCopy(0, 2, 0, at)
				equalTokens(t, m, "a fork", goOn(2, at), want[at])
				c.SeqRemove(2, -1, -1)
			}
			// Saved like any other run.
			for at := int32(0); at < end; at += 30 {
				buf := make([]byte, c.RunBytes(30))
				if _, err := c.SaveRun(0, at, at+30, buf); err != nil {
					t.Errorf("from %d: %v", at, err)
				}
			}
		})
	}
}
