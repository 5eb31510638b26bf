package llama

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
)

// specs are samplings of every kind, by name.
func specs() map[string]inference.SamplerSpec {
	off := inference.Sampling{Temperature: 1, TopP: 1, RepeatPenalty: 1}
	with := func(f func(*inference.Sampling)) inference.SamplerSpec {
		s := off
		f(&s)
		return inference.SamplerSpec{Sampling: s, Seed: 7}
	}
	return map[string]inference.SamplerSpec{
		"greedy":     with(func(s *inference.Sampling) { s.Temperature = 0 }),
		"defaults":   {Sampling: inference.DefaultSampling(), Seed: 42},
		"all off":    with(func(*inference.Sampling) {}),
		"top-k 1":    with(func(s *inference.Sampling) { s.TopK = 1 }),
		"top-k 5":    with(func(s *inference.Sampling) { s.TopK = 5 }),
		"top-k 2048": with(func(s *inference.Sampling) { s.TopK = 2048 }),
		"top-k 3000": with(func(s *inference.Sampling) { s.TopK = 3000 }),
		"top-k huge": with(func(s *inference.Sampling) { s.TopK = inference.MaxTopK }),
		"top-p":      with(func(s *inference.Sampling) { s.TopP = 0.7 }),
		"min-p":      with(func(s *inference.Sampling) { s.MinP = 0.2 }),
		"hot":        with(func(s *inference.Sampling) { s.Temperature, s.TopK = 2, 100 }),
		"cold":       with(func(s *inference.Sampling) { s.Temperature, s.TopK = 0.05, 20 }),
		"repeat":     with(func(s *inference.Sampling) { s.TopK, s.RepeatPenalty, s.RepeatLastN = 40, 1.3, 8 }),
		"presence":   with(func(s *inference.Sampling) { s.TopK, s.PresencePenalty, s.RepeatLastN = 40, 1.5, 64 }),
		"frequency":  with(func(s *inference.Sampling) { s.FrequencyPenalty, s.RepeatLastN = 0.7, 64 }),
		"greedy tamed": with(func(s *inference.Sampling) {
			s.Temperature, s.RepeatPenalty, s.FrequencyPenalty, s.PresencePenalty, s.RepeatLastN = 0, 1.2, 0.3, 0.3, 16
		}),
		"biased": with(func(s *inference.Sampling) {
			s.TopK, s.LogitBias = 40, map[int32]float32{100: 8, 198: -100, 260: 3.5}
		}),
		"greedy biased": with(func(s *inference.Sampling) { s.Temperature, s.LogitBias = 0, map[int32]float32{260: 30} }),
	}
}

// The fast paths draw the very tokens that llama.cpp's whole chain draws.
func TestFastPathsEqualTheChain(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 512, Sequences: 2, Unified: true})
	tokens := tokenize(t, m, "Once upon a time")
	for name, spec := range specs() {
		t.Run(name, func(t *testing.T) {
			var got [2][]int32
			for i, reference := range []bool{false, true} {
				s := newSampler(t, m, spec, reference)
				index := prompt(t, c, 0, 0, tokens)
				got[i] = generate(t, c, s, 0, int32(len(tokens)), index, 20)
				c.SeqRemove(0, -1, -1)
			}
			equalTokens(t, m, "fast path", got[0], got[1])
		})
	}
}

func TestSeedDecides(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 512, Sequences: 1, Unified: true})
	tokens := tokenize(t, m, "Once upon a time")
	spec := inference.SamplerSpec{Sampling: inference.DefaultSampling()}
	seen := map[string]uint32{}
	for _, seed := range []uint32{0, 1, 2, math.MaxUint32} { // the last is llama.cpp's "random"
		spec.Seed = seed
		first := complete(t, c, 0, tokens, 16, spec)
		equalTokens(t, m, fmt.Sprint("seed ", seed), complete(t, c, 0, tokens, 16, spec), first)
		seen[fmt.Sprint(first)] = seed
	}
	if len(seen) < 3 {
		t.Errorf("4 seeds gave %d different texts", len(seen))
	}
}

func TestPenaltiesAndBiasHaveEffect(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 512, Sequences: 1, Unified: true})
	tokens := tokenize(t, m, strings.Repeat("la la la la ", 8))
	plain := complete(t, c, 0, tokens, 12, greedySpec())
	spec := greedySpec()
	spec.PresencePenalty, spec.RepeatLastN = 2, 64
	spec.RepeatPenalty = 5
	tamed := complete(t, c, 0, tokens, 12, spec)
	distinct := func(s []int32) int { s = slices.Sorted(slices.Values(s)); return len(slices.Compact(s)) }
	if distinct(tamed) <= distinct(plain) {
		t.Errorf("penalized: %q, plain: %q", text(m, tamed), text(m, plain))
	}
	spec = greedySpec()
	spec.LogitBias = map[int32]float32{plain[0]: -100}
	if got := complete(t, c, 0, tokens, 1, spec); got[0] == plain[0] {
		t.Error("a bias of -100 changed nothing")
	}
}

func TestLogprobs(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1, Unified: true})
	index := prompt(t, c, 0, 0, tokenize(t, m, "The sky is"))
	sample := func(spec inference.SamplerSpec) inference.Sampled {
		t.Helper()
		out := make([]inference.Sampled, 1)
		must(t, c.Sample([]inference.SampleRow{{Index: index, Sampler: newSampler(t, m, spec, false)}}, out))
		must(t, out[0].Err)
		return out[0]
	}
	spec := greedySpec()
	if got := sample(spec); got.Logprob != 0 || got.Top != nil {
		t.Errorf("unasked: %+v", got)
	}
	spec.Logprobs, spec.TopLogprobs = true, 20
	greedy := sample(spec)
	if len(greedy.Top) != 20 || greedy.Top[0].Token != greedy.Token || greedy.Top[0].Logprob != greedy.Logprob || greedy.Logprob >= 0 {
		t.Fatalf("greedy: %+v", greedy)
	}
	sum := 0.0
	for i, top := range greedy.Top {
		sum += math.Exp(float64(top.Logprob))
		if i > 0 && top.Logprob > greedy.Top[i-1].Logprob {
			t.Errorf("place %d is likelier than the one before", i)
		}
	}
	if sum <= 0.3 || sum > 1.0001 {
		t.Errorf("the first 20 sum up to %g", sum)
	}

	// no stage of sampling changes what the model thinks
	hot := spec
	hot.Temperature, hot.TopK, hot.PresencePenalty, hot.RepeatLastN, hot.Seed = 2, 3, 2, 64, 3
	if got := sample(hot); !slices.EqualFunc(got.Top, greedy.Top, func(a, b inference.TokenLogprob) bool { return a.Token == b.Token && a.Logprob == b.Logprob }) {
		t.Errorf("hot sampling shows %v, greedy %v", got.Top, greedy.Top)
	}

	// but a bias does: with all other tokens as they were, by this much
	biased := spec
	biased.LogitBias = map[int32]float32{greedy.Token: 5}
	p := math.Exp(float64(greedy.Logprob))
	want := math.Log(p * math.Exp(5) / (1 - p + p*math.Exp(5)))
	if got := sample(biased); math.Abs(float64(got.Logprob)-want) > 1e-4 {
		t.Errorf("biased by 5: %g, want %g", got.Logprob, want)
	}

	none := spec
	none.TopLogprobs = 0
	if got := sample(none); got.Top != nil || got.Logprob != greedy.Logprob {
		t.Errorf("without alternatives: %+v", got)
	}
}

// The probabilities of all tokens sum up to one: each is asked for by a bias that
// forces it.
func TestLogprobsSumToOne(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1, Unified: true})
	index := prompt(t, c, 0, 0, tokenize(t, m, "The sky is"))
	spec := greedySpec()
	spec.Logprobs, spec.TopLogprobs = true, 20
	seen := map[int32]bool{}
	sum := 0.0
	mass := 1.0 // of what was not seen yet
	for range 8 {
		spec.LogitBias = map[int32]float32{}
		for token := range seen {
			spec.LogitBias[token] = -100
		}
		out := make([]inference.Sampled, 1)
		must(t, c.Sample([]inference.SampleRow{{Index: index, Sampler: newSampler(t, m, spec, false)}}, out))
		must(t, out[0].Err)
		for _, top := range out[0].Top {
			if seen[top.Token] {
				t.Fatalf("token %d came twice", top.Token)
			}
			seen[top.Token] = true
			sum += math.Exp(float64(top.Logprob)) * mass
		}
		mass = 1 - sum
	}
	if sum < 0.7 || sum > 1.0001 {
		t.Errorf("the likeliest 160 tokens sum up to %g", sum)
	}
}

func TestRowsFailAlone(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 512, Sequences: 4, Unified: true})
	var b inference.Batch
	for i, token := range tokenize(t, m, "The sky is") {
		b.Add(token, int32(i), 0, i == 2 || i == 1)
	}
	must(t, c.Decode(&b))
	good, other, closed := newSampler(t, m, greedySpec(), false), newSampler(t, m, greedySpec(), false), newSampler(t, m, greedySpec(), false)
	gone, err := m.newSampler(&inference.SamplerSpec{Sampling: greedySpec().Sampling}, false)
	must(t, err)
	must(t, gone.Close())
	rows := []inference.SampleRow{
		{Index: 2, Sampler: good},
		{Index: 0, Sampler: closed},
		{Index: 1, Sampler: other},
		{Index: 99, Sampler: closed},
		{Index: -1, Sampler: closed},
		{Index: 2, Sampler: good},
		{Index: 2, Sampler: gone},
		{Index: 2, Sampler: nil},
		{Index: 2, Sampler: (*Sampler)(nil)},
	}
	want := []string{"", "has no output", "", "has no output", "has no output", "used by another row", "is closed", "no sampler", "no sampler"}
	out := make([]inference.Sampled, len(rows))
	must(t, c.Sample(rows, out))
	for i := range rows {
		if (out[i].Err == nil) != (want[i] == "") || out[i].Err != nil && !strings.Contains(out[i].Err.Error(), want[i]) {
			t.Errorf("row %d: %v, want %q", i, out[i].Err, want[i])
		}
	}
	if err := c.Sample(rows, out[:1]); err == nil {
		t.Error("fewer places than rows")
	}
	bad := inference.Batch{}
	if err := c.Decode(&bad); !errors.Is(err, inference.ErrBadBatch) {
		t.Fatal(err)
	}
	must(t, c.Sample(rows[:1], out[:1]))
	if out[0].Err == nil {
		t.Error("rows of a refused batch were sampled")
	}
}

func TestSamplerRefuses(t *testing.T) {
	m := sharedModel(t)
	for name, change := range map[string]func(*inference.SamplerSpec){
		"temperature":    func(s *inference.SamplerSpec) { s.Temperature = -1 },
		"NaN":            func(s *inference.SamplerSpec) { s.TopP = float32(math.NaN()) },
		"repeat":         func(s *inference.SamplerSpec) { s.RepeatPenalty = 0 },
		"bias token":     func(s *inference.SamplerSpec) { s.LogitBias = map[int32]float32{49152: 1} },
		"bias below":     func(s *inference.SamplerSpec) { s.LogitBias = map[int32]float32{-1: 1} },
		"bias NaN":       func(s *inference.SamplerSpec) { s.LogitBias = map[int32]float32{1: float32(math.NaN())} },
		"top logprobs":   func(s *inference.SamplerSpec) { s.TopLogprobs = 21 },
		"last n":         func(s *inference.SamplerSpec) { s.RepeatLastN = 1 << 20 },
		"empty grammar":  func(s *inference.SamplerSpec) { s.Grammar = &inference.Grammar{} },
		"broken grammar": func(s *inference.SamplerSpec) { s.Grammar = &inference.Grammar{GBNF: "root ::= nothing"} },
	} {
		spec := greedySpec()
		change(&spec)
		if s, err := m.newSampler(&spec, false); err == nil {
			must(t, s.Close())
			t.Errorf("%s was accepted", name)
		} else if !errors.Is(err, inference.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Many rows, some of them costly, drawn on several threads: the same tokens as
// one by one.
func TestParallelRowsEqualSingleRows(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 1024, Sequences: 18, Unified: true, Threads: 2})
	var specsInOrder []inference.SamplerSpec
	all := specs()
	for _, name := range sortedKeys(all) {
		spec := all[name]
		spec.Logprobs, spec.TopLogprobs = true, 5
		specsInOrder = append(specsInOrder, spec)
	}
	index := prompt(t, c, 0, 0, tokenize(t, m, "Once upon a time"))
	draw := func(together bool) []inference.Sampled {
		rows := make([]inference.SampleRow, len(specsInOrder))
		out := make([]inference.Sampled, len(rows))
		for i, spec := range specsInOrder {
			rows[i] = inference.SampleRow{Index: index, Sampler: newSampler(t, m, spec, false)}
		}
		for range 5 {
			if together {
				must(t, c.Sample(rows, out))
				continue
			}
			for i := range rows {
				must(t, c.Sample(rows[i:i+1], out[i:i+1]))
			}
		}
		return out
	}
	single, together := draw(false), draw(true)
	for i := range single {
		if single[i].Err != nil || together[i].Err != nil || single[i].Token != together[i].Token || single[i].Logprob != together[i].Logprob {
			t.Errorf("row %d: %+v alone, %+v together", i, single[i], together[i])
		}
	}
}
