package llama_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth/inference"
	"hearth/inference/engine"
	"hearth/inference/llama"
	"hearth/internal/testkit"
)

// guesses is an engine.Observer that counts guesses.
type guesses struct {
	all, right                    int
	steps, rows                   int
	foreseen, confirmed, appended int
}

func (g *guesses) Forced(guessed, right, appended int) {
	g.foreseen, g.confirmed, g.appended = g.foreseen+guessed, g.confirmed+right, g.appended+appended
}

func (g *guesses) Guessed(all, right int)                    { g.all, g.right = g.all+all, g.right+right }
func (g *guesses) Queued(int)                                {}
func (g *guesses) Running(int)                               {}
func (g *guesses) Step(rows, _ int, _ time.Duration)         { g.steps, g.rows = g.steps+1, g.rows+rows }
func (g *guesses) Cells(int, int, int, int)                  {}
func (g *guesses) FirstToken(time.Duration)                  {}
func (g *guesses) Layout(bool)                               {}
func (g *guesses) InterToken(time.Duration)                  {}
func (g *guesses) Done(string, int, int, int, time.Duration) {}

// texts are prompts whose answers repeat themselves or the prompt more or less.
func texts(n int) []string {
	list := []string{
		"one two three four five six. one two three four five six. one two three",
		"A B C D E F G. A B C D E F G. A B C D",
		"def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\ndef mul(a, b):\n",
		"The capital of France is Paris. The capital of Spain is Madrid. The capital of Italy is",
		"Once upon a time there was a lighthouse keeper who",
		"{\"name\": \"Ann\", \"age\": 31}\n{\"name\": \"Bob\", \"age\": 27}\n{\"name\":",
		"<li>first</li>\n<li>second</li>\n<li>third</li>\n",
		"Rivers of the world:\n1. The Nile\n2. The Amazon\n3.",
	}
	for i := len(list); i < n; i++ {
		list = append(list, fmt.Sprintf("Chapter %d. %s and then", i, strings.Repeat(list[i%8][:12], i%5)))
	}
	return list[:n]
}

// TestWhatIsFastIsExact: steps that go ahead, guesses and shared prefixes give
// the tokens that come one by one. HEARTH_PROMPTS asks for more prompts.
func TestWhatIsFastIsExact(t *testing.T) {
	initBackends(t)
	m := load(t, testkit.Model(t))
	prompts := texts(int(testkit.Number(t, "HEARTH_PROMPTS", 10)))
	run := func(c engine.Config, seen engine.Observer) []answer {
		o := llama.ContextOptions{Cells: 2048, Sequences: 1, Threads: 1, Unified: true, Guesses: c.Guesses()}
		ctx, err := m.NewContext(o)
		if err != nil {
			t.Fatal(err)
		}
		e, err := engine.New(ctx, c, seen)
		if err != nil {
			t.Fatal(err)
		}
		var all []answer
		for _, p := range prompts {
			ids, err := m.Tokenize(p, inference.TokenizeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s, err := e.Submit(t.Context(), greedy(ids, 48))
			if err != nil {
				t.Fatal(err)
			}
			a, _, err := collect(s)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, a)
		}
		if err := errors.Join(e.Close(), ctx.Close()); err != nil {
			t.Error(err)
		}
		return all
	}
	slow := engine.Config{StepByStep: true, Lookup: engine.LookupConfig{Off: true}, Prefix: engine.PrefixConfig{Off: true}}
	want := run(slow, nil)
	seen := &guesses{}
	got := run(engine.Config{}, seen)
	for i := range want {
		if at := want[i].differs(got[i]); at >= 0 {
			t.Errorf("%q: token %d: %v, one by one %v", prompts[i], at, got[i][at], want[i][at])
		}
	}
	if seen.right < 20 {
		t.Errorf("%d guesses of %d were right: too few to prove anything", seen.right, seen.all)
	}
	t.Logf("%d guesses, %d right, over %d prompts", seen.all, seen.right, len(prompts))
}
