package llama_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/inference"
	"hearth/inference/engine"
	"hearth/inference/llama"
	"hearth/inference/prefixstore"
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

// piece is how many tokens of a prompt are computed at once. The last bits of what
// is computed depend on it, and on the order of the cells in memory: with weights
// of 4 bits, whose products round what they are multiplied with, that was seen to
// move logprobs by 0.2. So prompts that begin alike do so up to the border of a
// piece, prefixes are stored in blocks of that size, and it is measured what other
// pieces alone change (pieces).
const (
	piece  = 64
	pieces = 24
)

// preamble is longer than a piece, in any vocabulary, in each of its versions.
const preamble = `Notes of the harbour office, volume %d. The office keeps a list of all ships that come in and go out, with
their names, their masters, the day and the hour, what they carry, and what they owe. Ships of less than ten tons pay
nothing. Whoever finds a mistake in the list writes it on the last page.`

// prompted are n prompts for m, which begin in four ways and go on each in its own:
// texts where m knows words, else tokens.
func prompted(t *testing.T, m *llama.Model, words bool, n int) [][]int32 {
	t.Helper()
	var all [][]int32
	v := m.Info().Vocabulary
	for i, text := range texts(n) {
		begin, rest := pseudo(1+i%4, piece, v), pseudo(100+i, 5+i%40, v)
		if words {
			var err [2]error
			begin, err[0] = m.Tokenize(fmt.Sprintf(preamble, i%4), inference.TokenizeOptions{AddSpecial: true})
			rest, err[1] = m.Tokenize("\n"+text, inference.TokenizeOptions{})
			if err := errors.Join(err[:]...); err != nil {
				t.Fatal(err)
			}
		}
		own := int32(i*11%(v/2) + v/4) // a token that no other prompt has there
		all = append(all, slices.Concat(begin[:piece], []int32{own}, rest))
	}
	return all
}

// restless is a context whose cells seem so dear to scan and so cheap to move that
// the engine lays them out in streams as soon as two sequences hold some.
type restless struct{ *llama.Context }

func (r restless) Traits() inference.Traits {
	t := r.Context.Traits()
	if t.Streams > 0 {
		t.ScanCost, t.ReadCost, t.CopyCost = 1e9, 0, 1e-6
	}
	return t
}

// tally counts what happened on the way to the answers.
type tally struct {
	guesses
	streams, pools, ram, disk int
}

func (s *tally) Layout(streams bool) {
	if streams {
		s.streams++
	} else {
		s.pools++
	}
}
func (*tally) Stored(string, int64, int) {}
func (*tally) Dropped(string, string)    {}
func (s *tally) Restored(tier string, n int) {
	if tier == prefixstore.Disk {
		s.disk += n
	} else {
		s.ram += n
	}
}

// kind is a model to be exact with.
type kind struct {
	name  string
	path  string
	words bool // it has a vocabulary of words, so that grammars can be followed
	// What must have happened, or nothing was proved.
	lookup, forced, restore, move bool
}

func kinds(t *testing.T) []kind {
	tiny := func(name string) string { return filepath.Join(testkit.TinyModels(t), name+".gguf") }
	all := []kind{
		{name: "full attention", path: testkit.Model(t), words: true, lookup: true, forced: true, restore: true, move: true},
		{name: "mixture of experts", path: tiny("qwen3moe-moe"), restore: true},
		{name: "latent attention", path: tiny("deepseek2-moe"), restore: true},
		{name: "recurrent", path: tiny("mamba2-dense")},
		{name: "hybrid", path: tiny("falcon-h1-dense")},
		{name: "hybrid of experts", path: tiny("qwen3next-moe")},
	}
	if os.Getenv("HEARTH_PROMPTS") != "" {
		all = append(all,
			kind{name: "sliding window", path: testkit.WindowModel(t), words: true, restore: true},
			kind{name: "full attention, biased", path: testkit.ToolModel(t), words: true, lookup: true, forced: true, restore: true, move: true})
	}
	return all
}

// TestWhatIsFastIsExact: steps that go ahead, guesses from the text and from a
// grammar, shared prefixes, prefixes restored from RAM and from files, and cells in
// one pool and in streams give a lone request the tokens that come one by one, but
// where two are as likely as far as the order of computing allows to say.
// HEARTH_PROMPTS asks for more prompts, and for all kinds of models.
func TestWhatIsFastIsExact(t *testing.T) {
	initBackends(t)
	n := int(testkit.Number(t, "HEARTH_PROMPTS", 6))
	for _, k := range kinds(t) {
		t.Run(k.name, func(t *testing.T) {
			m := load(t, k.path)
			prompts := prompted(t, m, k.words, n)
			var grammar *inference.Grammar
			if k.words {
				g := constrained(t, m)["schema"]
				grammar = &g
			}
			run := func(c engine.Config, o llama.ContextOptions, seen *tally, files string, prompts [][]int32) answers {
				o.Cells, o.Threads, o.Unified, o.Guesses = 4096, 1, true, c.Guesses()
				ctx, err := m.NewContext(o)
				if err != nil {
					t.Fatal(err)
				}
				if files != "" {
					c.Store, err = prefixstore.New(prefixstore.Options{
						Config: prefixstore.Config{RAM: 64 << 20, Disk: 1 << 30, Dir: files}, Block: engine.BlockTokens(ctx.Traits()), Observer: seen,
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				e, err := engine.New(restless{ctx}, c, seen)
				if err != nil {
					t.Fatal(err)
				}
				var all answers
				for i, p := range prompts {
					r := greedy(p, 16)
					r.TopLogprobs = 8
					if i%5 == 1 {
						r.Grammar = grammar
					}
					if i%5 == 3 {
						r.Sampling.Seed = new(uint32) // what is to be repeatable begins with an empty pool
					}
					s, err := e.Submit(t.Context(), r)
					if err != nil {
						t.Fatal(err)
					}
					a, _, err := collect(s)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, a)
				}
				err = e.Close()
				if c.Store != nil {
					err = errors.Join(err, c.Store.Close())
				}
				if err := errors.Join(err, ctx.Close()); err != nil {
					t.Error(err)
				}
				return all
			}
			slow := engine.Config{StepByStep: true, Lookup: engine.LookupConfig{Off: true}, Forced: engine.ForcedConfig{Mode: inference.ForcedOff}, Prefix: engine.PrefixConfig{Off: true}}
			want := run(slow, llama.ContextOptions{Sequences: 1, MicroBatch: piece}, &tally{}, "", prompts)
			some := prompts[:max(n/4, min(n, 10))]
			departed, noise := want.compare(run(slow, llama.ContextOptions{Sequences: 1, MicroBatch: pieces}, &tally{}, "", some))
			bound := max(2*noise, 1e-4)
			t.Logf("where prompts are computed in other pieces, %d of %d answers are the same; noise %g", len(some)-len(departed), len(some), noise)
			files := t.TempDir()
			// What others began with leaves the cache soon, so that it has to be restored.
			fast := engine.Config{Prefix: engine.PrefixConfig{Cells: 128}}
			for _, streams := range []bool{false, true} {
				seen := &tally{}
				got := run(fast, llama.ContextOptions{Sequences: 4, MicroBatch: piece, Streams: streams}, seen, files, prompts)
				departed, noise := want.compare(got)
				for i, at := range departed {
					text := fmt.Sprintf("prompt %d of %d tokens, token %d of %d", i, len(prompts[i]), at, len(want[i]))
					if at == min(len(want[i]), len(got[i])) {
						t.Errorf("%s: %d tokens instead of %d", text, len(got[i]), len(want[i]))
						continue
					}
					gap := behind(&want[i][at], &got[i][at])
					text += fmt.Sprintf(": %q instead of %q, which is likelier by %g", got[i][at].Bytes, want[i][at].Bytes, gap)
					if gap > bound {
						t.Error(text)
						continue
					}
					t.Log(text)
				}
				t.Logf("streams %t: %d of %d answers are the same; guesses: %d of %d from the text right, %d of %d of grammars; tokens restored: %d from RAM, %d from files; moved to streams %d times, back %d times; noise %g",
					streams, len(want)-len(departed), len(want), seen.right, seen.all, seen.confirmed, seen.foreseen, seen.ram, seen.disk, seen.streams, seen.pools, noise)
				if k.lookup && seen.right < n/4 || k.forced && seen.confirmed < n/4 || k.restore && (seen.ram == 0 && !streams || seen.disk == 0 && streams) || k.move && streams && (seen.streams == 0 || seen.pools == 0) {
					t.Errorf("too little of that to prove anything: %+v", seen)
				}
			}
		})
	}
}

// answers are those to one prompt after the other.
type answers []answer

// compare returns where got, the answers to as many or fewer prompts, departs from
// want, by prompt, and the largest difference of logprobs before.
func (want answers) compare(got answers) (departed map[int]int, noise float64) {
	departed = map[int]int{}
	for i := range got {
		w, g := want[i], got[i]
		for k := range max(len(w), len(g)) {
			if k >= min(len(w), len(g)) || w[k].Token != g[k].Token {
				departed[i] = k
				break
			}
			noise = max(noise, math.Abs(float64(w[k].Logprob-g[k].Logprob)))
		}
	}
	return departed, noise
}

// behind is by how much g is less likely than the token w in its place. What a
// grammar allows is often none of the likeliest tokens of all: then it is what each
// was given where it was drawn, which differs by what moved the logprobs, too.
func behind(w, g *inference.TokenLogprob) float64 {
	for _, other := range w.Top {
		if other.Token == g.Token {
			return float64(w.Logprob - other.Logprob)
		}
	}
	return math.Abs(float64(w.Logprob - g.Logprob))
}
