package llama_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine"
	"hearth/inference/llama"
	"hearth/inference/prefixstore"
	"hearth/internal/testkit"
)

// nearTie is how close the two best logits may lie for rounding to decide which
// of them is the likeliest. Cells of 16 bits were seen to move them by 1.2e-3.
const nearTie = 3e-3

// answer is what a request got: its tokens, each with the two likeliest.
type answer []inference.TokenLogprob

// differs returns the first position where got departs from want although the
// two best of want lay apart; -1: nowhere.
func (want answer) differs(got answer) int {
	for i := range want {
		if i < len(got) && got[i].Token == want[i].Token {
			continue
		}
		if top := want[i].Top; len(top) == 2 && top[0].Logprob-top[1].Logprob < nearTie {
			return -1
		}
		return i
	}
	return -1
}

func (want answer) tokens() []int32 {
	var ids []int32
	for _, t := range want {
		ids = append(ids, t.Token)
	}
	return ids
}

// greedy asks for n tokens after prompt; n may be 0 for a request without limit.
func greedy(prompt []int32, n int) *engine.Request {
	return &engine.Request{
		Caller: inference.DefaultCaller, Prompt: prompt, MaxTokens: n,
		Sampling: inference.Sampling{TopP: 1, RepeatPenalty: 1}, Logprobs: true, TopLogprobs: 2,
	}
}

// collect reads a stream; a cancelled one has what came before.
func collect(s *engine.Stream) (a answer, u inference.Usage, err error) {
	for {
		e, err := s.Next(context.Background())
		switch {
		case errors.Is(err, io.EOF):
			return a, u, nil
		case err != nil:
			return a, u, err
		case e.Kind == engine.KindUsage:
			u = e.Usage
		}
		a = append(a, e.Logprobs...)
	}
}

// withEngine makes a context and an engine on it, and closes both after f.
func withEngine(t *testing.T, m *llama.Model, o llama.ContextOptions, c engine.Config, f func(*engine.Engine, *llama.Context)) {
	t.Helper()
	o.Threads = 1
	ctx, err := m.NewContext(o)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(ctx, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	f(e, ctx)
	if err := errors.Join(e.Close(), ctx.Close()); err != nil {
		t.Error(err)
	}
}

// pseudo returns n tokens of a vocabulary, the same for the same seed.
func pseudo(seed, n, vocabulary int) []int32 {
	ids := make([]int32, n)
	x := uint32(seed)*2654435761 + 1
	for i := range ids {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		ids[i] = int32(x % uint32(vocabulary))
	}
	return ids
}

// prompts is traffic in which there is something to share: a long beginning that
// forks, a prompt that comes again, a conversation that goes on, a stranger.
func prompts(vocabulary int) [][]int32 {
	shared := pseudo(1, 40, vocabulary)
	fork := func(seed int) []int32 { return append(slices.Clone(shared), pseudo(seed, 6, vocabulary)...) }
	return [][]int32{
		fork(2), fork(3), fork(2), append(fork(2), pseudo(4, 12, vocabulary)...), pseudo(5, 30, vocabulary), shared,
	}
}

// alone computes what each prompt gives when nothing else is computed, in a
// cache that is empty.
func alone(t *testing.T, m *llama.Model, all [][]int32, n int) []answer {
	t.Helper()
	var want []answer
	withEngine(t, m, llama.ContextOptions{Cells: 256, Sequences: 1, Batch: 64, Unified: true},
		engine.Config{Prefix: engine.PrefixConfig{Off: true}}, func(e *engine.Engine, _ *llama.Context) {
			for _, p := range all {
				s, err := e.Submit(t.Context(), greedy(p, n))
				if err != nil {
					t.Fatal(err)
				}
				a, _, err := collect(s)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, a)
			}
		})
	return want
}

// crowded computes them together, twice, with sharing, in a cache that is too
// small for all, while neighbours are cancelled and others are preempted.
func crowded(t *testing.T, m *llama.Model, o llama.ContextOptions, all [][]int32, want []answer, n int) (shared bool, restored int) {
	t.Helper()
	seen := &restores{}
	store, err := prefixstore.New(prefixstore.Options{Block: 8, Observer: seen, Config: prefixstore.Config{RAM: 64 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	c := engine.Config{Reserve: 4, MinChunk: 8, Prefix: engine.PrefixConfig{MinShare: 4, MinKeep: 8, Cells: 64}, Store: store}
	withEngine(t, m, o, c, func(e *engine.Engine, ctx *llama.Context) {
		shared = ctx.WhyNotShared() == ""
		if shared && o.Unified && ctx.WhyNotKept() != "" {
			t.Errorf("prefixes are shared and not kept: %s", ctx.WhyNotKept())
		}
		cached := 0
		for round := range 2 {
			var streams []*engine.Stream
			for i, p := range all {
				// its neighbour: begins alike and goes away in the middle
				quit, cancel := context.WithCancel(t.Context())
				gone, err := e.Submit(quit, greedy(p, 0))
				if err != nil {
					t.Fatal(err)
				}
				s, err := e.Submit(t.Context(), greedy(p, n))
				if err != nil {
					t.Fatal(err)
				}
				streams = append(streams, s)
				if i%2 == round {
					cancel()
				} else {
					for range 3 {
						if _, err := gone.Next(t.Context()); err != nil {
							break
						}
					}
					cancel()
				}
				gone.Close()
			}
			for i, s := range streams {
				got, u, err := collect(s)
				if err != nil {
					t.Errorf("prompt %d: %v", i, err)
					continue
				}
				cached += u.CachedTokens
				if at := want[i].differs(got); at >= 0 {
					t.Errorf("round %d, prompt %d departs at token %d (%d tokens cached):\n got %v\nwant %v, whose two best there are %v",
						round, i, at, u.CachedTokens, got.tokens(), want[i].tokens(), want[i][at].Top)
				}
			}
		}
		switch {
		case shared && cached == 0:
			t.Error("nothing was shared, and the context says that it shares")
		case !shared && cached > 0:
			t.Errorf("%d tokens were shared, and the context says: %s", cached, ctx.WhyNotShared())
		}
	})
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if restored = seen.tokens; restored > 0 && (!shared || !o.Unified) {
		t.Errorf("%d tokens were restored where nothing is kept", restored)
	}
	return shared, restored
}

// restores is a store's observer that counts tokens.
type restores struct{ tokens int }

func (*restores) Stored(string, int64, int)  {}
func (r *restores) Restored(_ string, n int) { r.tokens += n }
func (*restores) Dropped(string, string)     {}

// Every architecture that llama.cpp's collection of tiny random models has:
// dense, with a sliding window, recurrent, hybrid, mixtures of experts. Tokens
// with sharing, eviction, preemption and cancellation around them are those of a
// lone run; or the model is refused with a sentence.
func TestEveryArchitecture(t *testing.T) {
	initBackends(t)
	files, err := filepath.Glob(filepath.Join(testkit.TinyModels(t), "*.gguf"))
	if err != nil || len(files) < 100 {
		t.Fatalf("found %d tiny models, %v", len(files), err)
	}
	const n = 12
	count := map[string]int{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".gguf")
		t.Run(name, func(t *testing.T) {
			m, err := llama.Load(file, llama.ModelOptions{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			}()
			c, err := m.NewContext(llama.ContextOptions{Cells: 64, Sequences: 1, Threads: 1})
			if err != nil {
				if !strings.Contains(err.Error(), "does not generate text") && !strings.Contains(err.Error(), "it is not served") {
					t.Error(err)
				}
				count["refused"]++
				return
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			all := prompts(m.Info().Vocabulary)
			want := alone(t, m, all, n)
			for _, o := range []llama.ContextOptions{
				{Cells: 192, Sequences: 4, Batch: 64, Unified: true},
				{Cells: 4 * 96, Sequences: 4, Batch: 64},
			} {
				t.Run(fmt.Sprintf("unified=%t", o.Unified), func(t *testing.T) {
					shared, restored := crowded(t, m, o, all, want, n)
					if restored > 0 {
						count["restored"]++
					}
					count[fmt.Sprintf("shared=%t", shared)]++
				})
			}
		})
	}
	// fewer would mean that a probe fails where it did not, or tries nothing
	if count["shared=true"] < 190 || count["restored"] < 90 || count["shared=false"] < 40 || count["refused"] < 4 || count["refused"] > 6 {
		t.Errorf("of the contexts, by kind: %v", count)
	}
}
