package llama_test

import (
	"context"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine"
	"hearth/inference/llama"
	"hearth/internal/testkit"
)

// A real model with a sliding window of 512 tokens: what it tokenizes and writes
// is sensible, also behind its window, and the same whatever is computed, shared,
// cancelled and evicted around it.
func TestRealSlidingWindow(t *testing.T) {
	initBackends(t)
	m, err := llama.Load(testkit.WindowModel(t), llama.ModelOptions{Mmap: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	tokens := func(text string) []int32 {
		t.Helper()
		ids, err := m.Tokenize(text, inference.TokenizeOptions{AddSpecial: true, ParseSpecial: true})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	text := func(a answer) string {
		var b strings.Builder
		for _, l := range a {
			b.Write(m.Piece(l.Token, false))
		}
		return b.String()
	}
	for _, s := range []string{"Hello world", "naïve 東京 🙂", "  two  spaces\n\n\ttab", "def f(x):\n        return x"} {
		ids := tokens(s)
		back, err := m.Detokenize(ids[1:])
		if err != nil || back != s || ids[0] != 2 { // <bos>
			t.Errorf("%q becomes %v and %q, %v", s, ids, back, err)
		}
	}
	if ids := tokens("<start_of_turn>user"); len(ids) != 3 || ids[1] != 105 {
		t.Errorf("a turn begins with %v", ids)
	}

	const tale = "Once upon a time there was a small lighthouse on a rock far out at sea. "
	all := [][]int32{
		tokens("Monday, Tuesday, Wednesday,"), tokens(strings.Repeat(tale, 34) + "Every night"), tokens(strings.Repeat(tale, 28) + "One day"),
	}
	if n := len(all[1]); n < 512+64 {
		t.Fatalf("the long prompt has %d tokens", n)
	}
	const n = 8
	var want []answer
	config := engine.Config{Prefix: engine.PrefixConfig{Off: true}}
	options := llama.ContextOptions{Cells: 1024, Sequences: 4, Batch: 512, Unified: true}
	withEngine(t, m, options, config, func(e *engine.Engine, _ *llama.Context) {
		for _, p := range all {
			want = append(want, answered(t, e, p, n, nil))
		}
	})
	if got := text(want[0]); !strings.Contains(got, "Thursday, Friday") {
		t.Errorf("after Wednesday comes %q", got)
	}
	for _, windowOnly := range []bool{false, true} {
		options.WindowOnly = windowOnly
		options.Cells = 768 // not for two, if they share nothing
		withEngine(t, m, options, engine.Config{}, func(e *engine.Engine, c *llama.Context) {
			cached, some := 0, all
			if windowOnly {
				some = all[:2]
			}
			for i, p := range some {
				quit, cancel := context.WithCancel(t.Context())
				gone, err := e.Submit(quit, greedy(p, 0))
				if err != nil {
					t.Fatal(err)
				}
				if i%2 == 0 {
					if _, err := gone.Next(t.Context()); err != nil {
						t.Error(err)
					}
				}
				cancel()
				gone.Close()
				var u inference.Usage
				got := answered(t, e, p, n, &u)
				cached += u.CachedTokens
				if at := want[i].differs(got); at >= 0 {
					t.Errorf("window only %v, prompt %d departs at %d with %d tokens cached:\n got %q\nwant %q", windowOnly, i, at, u.CachedTokens, text(got), text(want[i]))
				}
			}
			if shares := c.WhyNotShared() == ""; shares == windowOnly || shares != (cached > 400) {
				t.Errorf("window only %v: %d tokens were cached, and the context says %q", windowOnly, cached, c.WhyNotShared())
			}
		})
	}
}

// answered runs one request to its end.
func answered(t *testing.T, e *engine.Engine, prompt []int32, n int, u *inference.Usage) answer {
	t.Helper()
	s, err := e.Submit(t.Context(), greedy(prompt, n))
	if err != nil {
		t.Fatal(err)
	}
	a, usage, err := collect(s)
	if err != nil {
		t.Fatal(err)
	}
	if u != nil {
		*u = usage
	}
	return a
}
