package llama

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
)

// stages are samplings with one stage on, and some with several.
func stages() map[string]inference.SamplerSpec {
	with := func(f func(*inference.Sampling)) inference.SamplerSpec {
		s := inference.DefaultSampling()
		s.Temperature, s.TopP, s.MinP = 1, 1, 0
		f(&s)
		return inference.SamplerSpec{Sampling: s, Seed: 11}
	}
	dry := func(s *inference.Sampling) { s.DryMultiplier, s.DryAllowedLength, s.DryLastN = 4, 1, 200 }
	return map[string]inference.SamplerSpec{
		"off":                with(func(*inference.Sampling) {}),
		"typical":            with(func(s *inference.Sampling) { s.TypicalP = 0.5 }),
		"n-sigma":            with(func(s *inference.Sampling) { s.TopNSigma = 1 }),
		"n-sigma, no top-k":  with(func(s *inference.Sampling) { s.TopNSigma, s.TopK = 1.5, 0 }),
		"xtc":                with(func(s *inference.Sampling) { s.XTCProbability, s.XTCThreshold = 0.7, 0.05 }),
		"dry":                with(dry),
		"dry, no breakers":   with(func(s *inference.Sampling) { dry(s); s.DryBreakers, s.DryAllowedLength = nil, 2 }),
		"dry, long breakers": with(func(s *inference.Sampling) { dry(s); s.DryBreakers = []string{" the", "tion of", "é", "`, `"} }),
		"dry from 0, base 1": with(func(s *inference.Sampling) { dry(s); s.DryAllowedLength, s.DryBase, s.DryMultiplier = 0, 1, 0.7 }),
		"dry greedy":         with(func(s *inference.Sampling) { dry(s); s.Temperature = 0 }),
		"dynamic":            with(func(s *inference.Sampling) { s.DynatempRange, s.DynatempExponent = 0.9, 1.5 }),
		"dynamic from 0":     with(func(s *inference.Sampling) { s.Temperature, s.DynatempRange = 0, 1 }),
		"typical, coldest":   with(func(s *inference.Sampling) { s.Temperature, s.TypicalP = 0, 0.3 }),
		"mirostat 1":         with(func(s *inference.Sampling) { s.Mirostat, s.MirostatTau = 1, 4 }),
		"mirostat 2":         with(func(s *inference.Sampling) { s.Mirostat, s.MirostatTau, s.MirostatEta = 2, 3, 0.2 }),
		"mirostat greedy":    with(func(s *inference.Sampling) { s.Mirostat, s.Temperature = 2, 0 }),
		"penalties":          with(func(s *inference.Sampling) { s.RepeatPenalty, s.FrequencyPenalty, s.RepeatLastN = 1.4, 0.2, 200 }),
		"all": with(func(s *inference.Sampling) {
			dry(s)
			s.Temperature, s.TopP, s.MinP, s.TypicalP, s.TopNSigma = 1.3, 0.95, 0.02, 0.9, 3
			s.RepeatPenalty, s.XTCProbability, s.DynatempRange = 1.1, 0.5, 0.5
			s.LogitBias = map[int32]float32{260: 2, 198: -3}
		}),
		"all, wide": with(func(s *inference.Sampling) {
			dry(s)
			s.TopK, s.TypicalP, s.XTCProbability, s.DynatempRange = 0, 0.8, 0.5, 0.5
		}),
		"banned": with(func(s *inference.Sampling) { s.Banned = []string{"e", " th", "##", "\n\n"} }),
		"banned, all": with(func(s *inference.Sampling) {
			s.Banned, s.TypicalP, s.XTCProbability, s.DynatempRange = []string{"in", " a"}, 0.9, 0.5, 0.5
		}),
		"banned, mirostat": with(func(s *inference.Sampling) { s.Banned, s.Mirostat = []string{"in", " a"}, 1 }),
	}
}

// recordedRows is how many rows of logits the stages are compared on.
const recordedRows = 1000

// Each stage, alone and combined, draws from every row the token that llama.cpp's
// own sampler draws. The rows are those of real text; the end of the text before
// the first row is the samplers' history.
func TestStagesEqualLlama(t *testing.T) {
	m := sharedModel(t)
	const history, batch = 200, 100
	c := newContext(t, m, ContextOptions{Cells: 2048, Sequences: batch, Unified: true})
	page, err := os.ReadFile("../../LICENSE") // a text that stays as it is
	must(t, err)
	tokens := tokenize(t, m, string(page))
	if len(tokens) < history+recordedRows {
		t.Fatalf("the text has %d tokens", len(tokens))
	}
	all := stages()
	names := sortedKeys(all)
	var rows []inference.SampleRow // a pair for each stage: ours, then llama.cpp's
	for _, name := range names {
		spec := all[name]
		spec.History, spec.Logprobs = tokens[:history], true
		rows = append(rows, inference.SampleRow{Sampler: newSampler(t, m, spec, false)}, inference.SampleRow{Sampler: newSampler(t, m, spec, true)})
	}
	prompt(t, c, 0, 0, tokens[:history])
	out := make([]inference.Sampled, len(rows))
	plain := slices.Index(names, "off")
	differs := make([]int, len(names))
	broken := make([]bool, len(names))
	compared := make([]int, len(names))
	for from := history; from < history+recordedRows; from += batch {
		var b inference.Batch
		for i := range batch {
			b.Add(tokens[from+i], int32(from+i), 0, true)
		}
		if err := c.Decode(&b); err != nil {
			t.Fatal(err)
		}
		for i := range batch {
			for j := range rows {
				rows[j].Index = i
			}
			must(t, c.Sample(rows, out))
			for j, name := range names {
				got, want := out[2*j], out[2*j+1]
				switch {
				case broken[j]:
				case got.Err == nil && want.Err == nil && got.Token == want.Token:
					compared[j]++
				case got.Err == nil && want.Err == nil && got.Logprob == want.Logprob:
					// Two tokens of equal logits: either may come first, and from here on
					// the histories differ.
					broken[j] = true
					t.Logf("%s, row %d: %d and %d are equally likely", name, from+i-history, got.Token, want.Token)
				default:
					broken[j] = true
					t.Errorf("%s, row %d: drew %d %q (%v), llama.cpp %d %q (%v)", name, from+i-history,
						got.Token, m.Piece(got.Token, true), got.Err, want.Token, m.Piece(want.Token, true), want.Err)
				}
				if got.Token != out[2*plain].Token {
					differs[j]++
				}
			}
		}
	}
	for j, name := range names {
		if compared[j] < recordedRows/2 && !t.Failed() {
			t.Errorf("%s: compared on %d rows only", name, compared[j])
		}
		if differs[j] == 0 && j != plain {
			t.Errorf("%s changed no token of %d", name, recordedRows)
		}
	}
}

// What the prompt ends with counts for the penalties, as if it had been drawn.
func TestHistoryIsPenalized(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1, Unified: true})
	tokens := tokenize(t, m, "one two three four one two three")
	index := prompt(t, c, 0, 0, tokens)
	draw := func(change func(*inference.SamplerSpec)) int32 {
		t.Helper()
		spec := greedySpec()
		change(&spec)
		out := make([]inference.Sampled, 1)
		must(t, c.Sample([]inference.SampleRow{{Index: index, Sampler: newSampler(t, m, spec, false)}}, out))
		must(t, out[0].Err)
		return out[0].Token
	}
	plain := draw(func(*inference.SamplerSpec) {})
	if !slices.Contains(tokens, plain) {
		t.Fatalf("drew %q, which is not in the prompt", m.Piece(plain, true))
	}
	penalty := func(n int) func(*inference.SamplerSpec) {
		return func(s *inference.SamplerSpec) { s.RepeatPenalty, s.RepeatLastN, s.History = 10, n, tokens }
	}
	if got := draw(penalty(64)); got == plain {
		t.Error("the penalty does not see the prompt")
	}
	if got := draw(penalty(3)); got != plain {
		t.Error("the penalty looks back further than it should")
	}
	dry := func(s *inference.SamplerSpec) {
		s.DryMultiplier, s.DryBase, s.DryAllowedLength, s.DryLastN, s.History = 50, 2, 2, 64, tokens
	}
	if got := draw(dry); got == plain {
		t.Error("DRY does not see the prompt")
	}
	if got := draw(func(s *inference.SamplerSpec) { dry(s); s.DryBreakers = []string{" three"} }); got != plain {
		t.Error("DRY looks back behind a breaker")
	}
}

// No banned string is in the text, whatever tokens it could come about from.
func TestBannedStringsNeverAppear(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 512, Sequences: 1, Unified: true})
	tokens := tokenize(t, m, "Once upon a time")
	free := text(m, complete(t, c, 0, tokens, 40, greedySpec()))
	banned := []string{"e", " a l", "th", "\n", "1"}
	// pieces of what the model would say, across the borders of its tokens
	for i := 3; i+6 < len(free) && len(banned) < 12; i += 7 {
		banned = append(banned, free[i:i+6])
	}
	for _, temperature := range []float32{0, 1.5} {
		for skip := range banned { // without "e" the others are met at all
			spec := greedySpec()
			spec.Temperature, spec.Banned = temperature, banned[skip:]
			got := text(m, complete(t, c, 0, tokens, 40, spec))
			for _, b := range spec.Banned {
				if strings.Contains(got, b) {
					t.Errorf("temperature %g: %q is in %q", temperature, b, got)
				}
			}
		}
	}
}

// ban_list against the definition: a token is forbidden exactly if the text with
// it holds a banned string.
func TestBannedTokensAreTheRightOnes(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1, Unified: true})
	index := prompt(t, c, 0, 0, tokenize(t, m, "The"))
	spec := greedySpec()
	spec.Banned = []string{"hello world", "lo wo", "é", "aaab", " the"}
	for _, before := range []string{"", "hello", "hell", "hello w", "aaa", "aaaa", "caf", " ", " t"} {
		written := tokenizePlain(t, m, before)
		for _, candidate := range []string{" world", "o", "orld", " w", "b", "ab", "a", "é", "the", "he", "x"} {
			tokens := tokenizePlain(t, m, candidate)
			if len(tokens) != 1 {
				continue
			}
			s := spec
			s.LogitBias = map[int32]float32{tokens[0]: 100}
			sampler := newSampler(t, m, s, false)
			for _, tok := range written {
				must(t, sampler.Accept(tok))
			}
			out := make([]inference.Sampled, 1)
			must(t, c.Sample([]inference.SampleRow{{Index: index, Sampler: sampler}}, out))
			must(t, out[0].Err)
			whole := append([]byte(before), m.Piece(tokens[0], false)...)
			forbidden := slices.ContainsFunc(spec.Banned, func(b string) bool { return bytes.Contains(whole, []byte(b)) })
			if drew := out[0].Token == tokens[0]; drew == forbidden {
				t.Errorf("%q behind %q: drew it %t, forbidden %t", candidate, before, drew, forbidden)
			}
		}
	}
}

func tokenizePlain(t *testing.T, m *Model, text string) []int32 {
	t.Helper()
	if text == "" {
		return nil
	}
	tokens, err := m.Tokenize(text, inference.TokenizeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// Where a grammar and what is banned leave no token, the answer ends.
func TestBannedDeadEndEndsTheAnswer(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1, Unified: true})
	tokens := tokenize(t, m, "The")
	for _, temperature := range []float32{0, 1} {
		spec := greedySpec()
		spec.Temperature, spec.Banned = temperature, []string{"y"}
		spec.Grammar = &inference.Grammar{GBNF: `root ::= "x" "y"`}
		got := complete(t, c, 0, tokens, 8, spec)
		if n := len(got); n != 2 || text(m, got[:1]) != "x" || !c.EndOfGeneration(got[1]) {
			t.Errorf("temperature %g: %v %q", temperature, got, text(m, got))
		}
	}
}
