package llama_test

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine"
	"hearth/inference/llama"
	"hearth/internal/testkit"
	"hearth/models"
)

// load loads a model that is closed with the test.
func load(t testing.TB, path string) *llama.Model {
	t.Helper()
	initBackends(t)
	m, err := llama.Load(path, llama.ModelOptions{Mmap: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// adapters loads one adapter for each seed, closed with the test.
func adapters(t testing.TB, m *llama.Model, seeds ...uint32) []*llama.Adapter {
	t.Helper()
	var all []*llama.Adapter
	for _, seed := range seeds {
		a, err := m.LoadAdapter(testkit.ModelLoRA(seed).Write(t, "adapter"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
		all = append(all, a)
	}
	return all
}

// with returns greedy's request with adapters: place, scale, place, scale …
func with(r *engine.Request, set ...float32) *engine.Request {
	for pair := range slices.Chunk(set, 2) {
		r.Adapters = append(r.Adapters, inference.AdapterScale{Adapter: int(pair[0]), Scale: pair[1]})
	}
	return r
}

func run(t testing.TB, e *engine.Engine, r *engine.Request) (answer, inference.Usage) {
	t.Helper()
	s, err := e.Submit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	a, u, err := collect(s)
	if err != nil {
		t.Fatal(err)
	}
	return a, u
}

func TestAdapterHandles(t *testing.T) {
	m := load(t, testkit.Model(t))
	path := testkit.ModelLoRA(1).Write(t, "adapter")
	a, err := m.LoadAdapter(path)
	if err != nil {
		t.Fatal(err)
	}
	if least := int64(4 * 4 * (576 + 576)); a.Bytes() < least {
		t.Errorf("the adapter says that it takes %d bytes", a.Bytes())
	}
	if n := llama.LiveHandles()["adapter"]; n != 1 {
		t.Errorf("%d adapters are open", n)
	}
	if err := m.Close(); !errors.Is(err, llama.ErrInUse) || !strings.Contains(err.Error(), "1 adapters") {
		t.Errorf("close the model: %v", err)
	}
	other := load(t, testkit.Model(t))
	if _, err := other.NewContext(llama.ContextOptions{Cells: 64, Threads: 1, Adapters: []*llama.Adapter{a}}); err == nil || !strings.Contains(err.Error(), "another model") {
		t.Errorf("a context of another model: %v", err)
	}
	c, err := m.NewContext(llama.ContextOptions{Cells: 64, Threads: 1, Adapters: []*llama.Adapter{a}})
	if err != nil {
		t.Fatal(err)
	}
	if n := c.Traits().Adapters; n != 1 {
		t.Errorf("the context has %d adapters", n)
	}
	if err := a.Close(); !errors.Is(err, llama.ErrInUse) {
		t.Errorf("close the adapter: %v", err)
	}
	if _, err := m.LoadAdapter(path); !errors.Is(err, llama.ErrInUse) {
		t.Errorf("load beside a context: %v", err)
	}
	for _, set := range [][]inference.AdapterScale{{{Adapter: 1, Scale: 1}}, {{Adapter: -1, Scale: 1}}, {{Scale: float32(math.Inf(1))}}} {
		if err := c.Adapt(set); err == nil {
			t.Errorf("%v was set", set)
		}
	}
	if err := errors.Join(c.Adapt([]inference.AdapterScale{{Scale: 1}}), c.Close(), a.Close()); err != nil {
		t.Error(err)
	}
	if err := c.Adapt(nil); !errors.Is(err, llama.ErrClosed) {
		t.Errorf("set on a closed context: %v", err)
	}
	if err := a.Close(); !errors.Is(err, llama.ErrClosed) {
		t.Errorf("a second close: %v", err)
	}
	if _, err := m.NewContext(llama.ContextOptions{Cells: 64, Threads: 1, Adapters: []*llama.Adapter{a}}); !errors.Is(err, llama.ErrClosed) {
		t.Errorf("a context with a closed adapter: %v", err)
	}
}

func TestLoadAdapterRefuses(t *testing.T) {
	m := load(t, testkit.Model(t))
	whole := testkit.ModelLoRA(1).GGUF()
	write := func(b []byte) string {
		path := filepath.Join(t.TempDir(), "adapter.gguf")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := testkit.ModelLoRA(1)
	foreign.Architecture = "qwen2"
	for name, c := range map[string]struct{ path, want string }{
		"missing":              {filepath.Join(t.TempDir(), "none.gguf"), "no such file"},
		"cut":                  {write(whole[:len(whole)/2]), "load adapter"},
		"a model":              {testkit.Model(t), "general.type"},
		"another architecture": {write(foreign.GGUF()), "arch"},
	} {
		if _, err := m.LoadAdapter(c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestAdaptersTogether computes requests with different adapters at the same
// time, with sharing, cancellation and a cache that is too small to keep all:
// each gets the tokens that it gets alone.
func TestAdaptersTogether(t *testing.T) {
	m := load(t, testkit.Model(t))
	both := adapters(t, m, 1, 2)
	prompt, err := m.Tokenize("The history of the lighthouse begins with a fire on a hill. Sailors who", inference.TokenizeOptions{AddSpecial: true})
	if err != nil {
		t.Fatal(err)
	}
	const n = 16
	sets := [][]float32{nil, {0, 1}, {1, 1}, {0, 0.5, 1, 0.5}, {0, 0}}
	want := make([]answer, len(sets))
	withEngine(t, m, llama.ContextOptions{Cells: 256, Unified: true, Adapters: both}, engine.Config{Prefix: engine.PrefixConfig{Off: true}}, func(e *engine.Engine, _ *llama.Context) {
		for i, set := range sets {
			want[i], _ = run(t, e, with(greedy(prompt, n), set...))
		}
	})
	if !slices.Equal(want[0].tokens(), want[4].tokens()) {
		t.Errorf("scale 0 changes the answer:\n%v\n%v", want[4].tokens(), want[0].tokens())
	}
	for i := range want[0] {
		if want[0][i].Logprob != want[4][i].Logprob {
			t.Errorf("scale 0 changes the probability of token %d: %g, %g", i, want[4][i].Logprob, want[0][i].Logprob)
		}
	}
	for i := range sets[:4] {
		for k := range i {
			if slices.Equal(want[i].tokens(), want[k].tokens()) {
				t.Errorf("the adapters %v and %v give the same answer", sets[i], sets[k])
			}
		}
	}
	for _, o := range []llama.ContextOptions{
		{Cells: 256, Sequences: 6, Unified: true, Adapters: both},
		{Cells: 6 * 64, Sequences: 6, Adapters: both},
	} {
		withEngine(t, m, o, engine.Config{Sequences: 6, MinChunk: 4, Prefix: engine.PrefixConfig{MinShare: 4, MinKeep: 8}}, func(e *engine.Engine, _ *llama.Context) {
			cached := 0
			for round := range 2 {
				var streams []*engine.Stream
				for i, set := range sets {
					quit, err := e.Submit(t.Context(), with(greedy(prompt, 0), set...))
					if err != nil {
						t.Fatal(err)
					}
					s, err := e.Submit(t.Context(), with(greedy(prompt, n), set...))
					if err != nil {
						t.Fatal(err)
					}
					streams = append(streams, s)
					for range i {
						if _, err := quit.Next(t.Context()); err != nil {
							break
						}
					}
					quit.Close()
				}
				for i, s := range streams {
					got, u, err := collect(s)
					if err != nil {
						t.Fatal(err)
					}
					cached += u.CachedTokens
					if at := want[i].differs(got); at >= 0 {
						t.Errorf("unified=%t round %d, adapters %v: departs at token %d:\n got %v\nwant %v", o.Unified, round, sets[i], at, got.tokens(), want[i].tokens())
					}
				}
			}
			if cached == 0 {
				t.Error("nothing was shared between requests with the same adapters")
			}
		})
	}
}

// merged writes a copy of the model at path whose weights, all F32, hold what the
// adapter adds at that scale: W + scale·alpha/rank·B·A. Where the model multiplies
// what the weight gives by a factor, the addition is divided by it.
func merged(t *testing.T, path string, l *testkit.LoRA, scale float32) string {
	t.Helper()
	h, err := models.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	tensor := func(name string) []byte {
		i := slices.IndexFunc(h.Tensors, func(x models.Tensor) bool { return x.Name == name })
		if i < 0 {
			return nil
		}
		if h.Tensors[i].Type != 0 {
			t.Fatalf("%s is not F32", name)
		}
		from := h.DataOffset + h.Tensors[i].Offset
		return file[from : from+h.Tensors[i].Bytes]
	}
	for i, w := range l.Weights {
		data, factors := tensor(w.Name), tensor(strings.TrimSuffix(w.Name, "weight")+"scale")
		a, b := l.Halves(i)
		for x := range max(w.Experts, 1) {
			factor := float64(scale) * float64(l.Alpha) / float64(l.Rank)
			if factors != nil {
				factor /= float64(math.Float32frombits(le.Uint32(factors[4*x:])))
			}
			for out := range w.Out {
				for in := range w.In {
					sum := 0.0
					for r := range l.Rank {
						sum += float64(b[(x*w.Out+out)*l.Rank+r]) * float64(a[(x*l.Rank+r)*w.In+in])
					}
					at := data[4*((x*w.Out+out)*w.In+in):]
					le.PutUint32(at, math.Float32bits(float32(float64(math.Float32frombits(le.Uint32(at)))+factor*sum)))
				}
			}
		}
	}
	to := filepath.Join(t.TempDir(), "merged.gguf")
	if err := os.WriteFile(to, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestAdapterEqualsMergedWeights holds an adapter against a model whose weights
// have it in them, which is computed without any code of adapters.
func TestAdapterEqualsMergedWeights(t *testing.T) {
	initBackends(t)
	dense := &testkit.LoRA{Architecture: "llama", Alpha: 6, Rank: 3, Strength: 0.15, Seed: 9, Weights: []testkit.LoRAWeight{
		{Name: "blk.0.attn_q.weight", In: 256, Out: 256},
		{Name: "blk.0.attn_v.weight", In: 256, Out: 256},
		{Name: "blk.0.ffn_down.weight", In: 384, Out: 256},
		{Name: "blk.1.attn_k.weight", In: 256, Out: 256},
		{Name: "blk.1.attn_output.weight", In: 256, Out: 256},
		{Name: "blk.1.ffn_up.weight", In: 256, Out: 384},
		{Name: "blk.1.ffn_gate.weight", In: 256, Out: 384},
	}}
	moe := &testkit.LoRA{Architecture: "llama", Rank: 2, Strength: 0.8, Seed: 5, Weights: []testkit.LoRAWeight{
		{Name: "blk.0.attn_q.weight", In: 256, Out: 256},
		{Name: "blk.1.ffn_gate_exps.weight", In: 256, Out: 384, Experts: 2},
		{Name: "blk.0.ffn_down_exps.weight", In: 384, Out: 256, Experts: 2},
		{Name: "blk.0.ffn_up_exps.weight", In: 256, Out: 384, Experts: 2},
	}}
	for _, c := range []struct {
		model string
		lora  *testkit.LoRA
		scale float32
	}{{"llama-dense", dense, 1}, {"llama-dense", dense, -0.5}, {"llama-moe", moe, 2}} {
		path := filepath.Join(testkit.TinyModels(t), c.model+".gguf")
		if c.lora == moe {
			c.lora.Alpha = float32(c.lora.Rank) // so that the formula holds whatever rank is
		}
		m := load(t, path)
		a, err := m.LoadAdapter(c.lora.Write(t, "adapter"))
		if err != nil {
			t.Fatal(err)
		}
		reference := load(t, merged(t, path, c.lora, c.scale))
		prompt := pseudo(3, 40, m.Info().Vocabulary)
		first := func(m *llama.Model, r *engine.Request, all ...*llama.Adapter) (got answer) {
			r.TopLogprobs = inference.MaxTopLogprobs
			withEngine(t, m, llama.ContextOptions{Cells: 128, Unified: true, Adapters: all}, engine.Config{}, func(e *engine.Engine, _ *llama.Context) { got, _ = run(t, e, r) })
			return got
		}
		base, got, want := first(m, greedy(prompt, 1)), first(m, with(greedy(prompt, 1), 0, c.scale), a), first(reference, greedy(prompt, 1))
		if d := distance(got[0], want[0]); d > 2e-3 {
			t.Errorf("%s at scale %g: log probabilities differ by %g from those of the merged weights", c.model, c.scale, d)
		}
		if d := distance(base[0], want[0]); d < 0.02 {
			t.Errorf("%s at scale %g: the adapter changes log probabilities by %g, which shows nothing", c.model, c.scale, d)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

// distance is the greatest difference of the log probabilities of the tokens that
// are likely in want; a token that is missing in got counts as far away.
func distance(got, want inference.TokenLogprob) float64 {
	worst := 0.0
	for _, w := range want.Top[:10] {
		i := slices.IndexFunc(got.Top, func(g inference.TokenLogprob) bool { return g.Token == w.Token })
		if i < 0 {
			return math.Inf(1)
		}
		worst = max(worst, math.Abs(float64(got.Top[i].Logprob-w.Logprob)))
	}
	return worst
}

// BenchmarkAdapterChange decodes one row a step, with the same adapter and with
// one that changes at every step.
func BenchmarkAdapterChange(b *testing.B) {
	m := load(b, testkit.Model(b))
	both := adapters(b, m, 1, 2)
	for _, c := range []struct {
		name   string
		places [2]int
	}{{"none", [2]int{-1, -1}}, {"same", [2]int{0, 0}}, {"changing", [2]int{0, 1}}} {
		b.Run(c.name, func(b *testing.B) {
			ctx, err := m.NewContext(llama.ContextOptions{Cells: 4096, Sequences: 8, Batch: 2048, MicroBatch: 512, Unified: true, Threads: 1, Adapters: both})
			if err != nil {
				b.Fatal(err)
			}
			defer ctx.Close()
			var batch inference.Batch
			step := func(i int) {
				if place := c.places[i%2]; place >= 0 {
					if err := ctx.Adapt([]inference.AdapterScale{{Adapter: place, Scale: 1}}); err != nil {
						b.Fatal(err)
					}
				}
				batch.Reset()
				batch.Add(100, int32(i%64), 0, true)
				if i%64 == 0 {
					ctx.SeqRemove(0, -1, -1)
				}
				if err := ctx.Decode(&batch); err != nil {
					b.Fatal(err)
				}
			}
			step(0)
			i := 0
			for b.Loop() {
				i++
				step(i)
			}
		})
	}
}
