package llama

import (
	"errors"
	"strings"
	"testing"

	"hearth/inference"
)

func thinkingSpec(budget int, open bool, g inference.Grammar) inference.SamplerSpec {
	spec := greedySpec()
	g.Thinking = &inference.Thinking{Start: "<think>", Ends: []string{"</think>", "<end>"}, Open: open, Budget: budget}
	spec.Grammar = &g
	return spec
}

// A spent budget writes the end of the block, and then the model is free again,
// or as bound as its grammar says.
func TestThinkingBudget(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1, Unified: true})
	end := len(tokenize(t, m, "</think>"))
	for name, tc := range map[string]struct {
		spec   inference.SamplerSpec
		budget int
		after  string // all of the text behind the end; empty: anything
	}{
		"some":                {thinkingSpec(5, true, inference.Grammar{}), 5, ""},
		"none":                {thinkingSpec(0, true, inference.Grammar{}), 0, ""},
		"with a grammar":      {thinkingSpec(4, true, inference.Grammar{GBNF: `root ::= [^<]* "</think>" "{\"a\": 1}"`}), 4, `{"a": 1}`},
		"no room for thought": {thinkingSpec(0, true, inference.Grammar{GBNF: `root ::= [^<]* "</think>" "[]"`}), 0, `[]`},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := complete(t, c, 0, tokenize(t, m, "Let me think about the weather of today."), 24, tc.spec)
			if len(tokens) < tc.budget+end {
				t.Fatalf("%d tokens", len(tokens))
			}
			before, mark, after := text(m, tokens[:tc.budget]), text(m, tokens[tc.budget:tc.budget+end]), text(m, tokens[tc.budget+end:])
			if strings.Contains(before, "</think>") || mark != "</think>" {
				t.Errorf("the block is %q, its end %q", before, mark)
			}
			if tc.after != "" && after != tc.after {
				t.Errorf("after it: %q", after)
			}
		})
	}
}

// Inside a thought the word that starts a lazy grammar is a word like others.
func TestThoughtsTriggerNothing(t *testing.T) {
	m := sharedModel(t)
	spec := thinkingSpec(-1, false, inference.Grammar{
		GBNF: `root ::= "CALL" "(" [a-z]+ ")"`, Lazy: true,
		Triggers: []inference.Trigger{{Kind: inference.TriggerWord, Value: "CALL"}},
	})
	s := newSampler(t, m, spec, false)
	say := func(words string) error {
		ids, err := m.Tokenize(words, inference.TokenizeOptions{ParseSpecial: true})
		must(t, err)
		for _, id := range ids {
			if err := s.Accept(id); err != nil {
				return err
			}
		}
		return nil
	}
	must(t, say("So: <think> I could CALL it 1 2 3 </think> or not. <think>CALL 4"))
	must(t, say("<end> Well, CALL(abc"))
	if err := say("123"); err == nil {
		t.Error("after the thought the trigger does not start the grammar")
	}
}

func TestThinkingMarksAreBounded(t *testing.T) {
	m := sharedModel(t)
	for name, th := range map[string]inference.Thinking{
		"no end":    {Start: "<think>"},
		"empty":     {Start: "", Ends: []string{"x"}},
		"empty end": {Start: "x", Ends: []string{""}},
		"long":      {Start: strings.Repeat("x", maxMarkBytes+1), Ends: []string{"x"}},
		"many ends": {Start: "x", Ends: make([]string, maxTriggers+1)},
	} {
		spec := greedySpec()
		spec.Grammar = &inference.Grammar{Thinking: &th}
		if s, err := m.newSampler(&spec, false); !errors.Is(err, inference.ErrInvalid) {
			if err == nil {
				must(t, s.Close())
			}
			t.Errorf("%s: %v", name, err)
		}
	}
}
