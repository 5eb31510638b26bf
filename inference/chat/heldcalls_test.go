package chat

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/llama"
	"hearth/internal/testkit"
)

// cityTool has what small models get wrong: a bound, choices, and arguments that
// need not be there.
func cityTool() inference.Tool {
	return inference.Tool{Name: "shop__city", Description: "Finds a city", Parameters: json.RawMessage(`{"type":"object","properties":{
		"city":{"type":"string","minLength":1},"unit":{"type":"string","enum":["C","F"]},"days":{"type":"integer","minimum":1,"maximum":14}},
		"required":["city"],"additionalProperties":false}`)}
}

// Scripts of what a model writes, with HoldCalls. What is free is accepted to its
// end, and anything may follow; what is held is accepted up to the bar, and the next
// character is refused; what is whole is accepted, and nothing may follow.
var (
	freeTexts = []string{
		"It rains.", "{", `{"name": "Anna", "age": 3}`, `{"name": "shop__cit`, `{"name": "shop__city"`, `{"name": "shop__city2", "arguments": {"x": `,
		`{"name": "shop__city", "description": "finds", "arguments": {"city": 7}}`,
		`{"name": "shop__city", "arguments_of": {"city": 7}} and more`, `{"name": "shop__city", "parameters": {"city": 7}}`,
		`[{"name": "shop__city", "arguments": {"city": 7}}]`, `Here: {"name": "shop__city", "arguments": {"city": 7}}`,
		"```python\n" + `{"name": "shop__city", "arguments": {"city": 7}}`, "{\t" + `"name": "shop__city", "arguments": {"city": 7}}`,
		`{"arguments": {"city": 7}, "name": "shop__city"}`, strings.Repeat("words ", 100) + `{"name": "shop__city", "arguments": {"city": 7`,
	}
	heldTexts = []string{
		`{"name": "shop__city", "arguments": |[`, `{"name": "shop__city", "arguments": |"`, `{"name": "shop__city", "arguments": {|}`,
		`{"name": "shop__city", "arguments": {"city": |7`, `{"name": "shop__city", "arguments": {"city": "|"`, `{"name": "shop__city", "arguments": {"|x`,
		`{"name":"shop__city","arguments":{"city":"Bonn","unit":"|K`, `{"name":"shop__city","arguments":{"city":"Bonn","days":|0`,
		`{"name":"shop__city","arguments":{"city":"Bonn","days":1|5`, `{"name":"shop__city","arguments":{"city":"Bonn"|]`,
		`{"name": "shop__city", "arguments": {"city": "Bonn"}|,`, `{"name": "shop__city", "arguments": {"city": "Bonn"}}| That`,
		"```json\n" + `{"name": "shop__city", "arguments": {"city": |7`, "\n ```\n" + `{"name": "shop__city", "arguments": {"city": |n`,
		"{\n    \"name\": \"shop__city\",\n    \"arguments\": {\n        \"city\": |null", `{"name": "now", "arguments": {|"`,
	}
	wholeTexts = []string{
		`{"name": "shop__city", "arguments": {"city": "Bonn", "unit": "C", "days": 14}}`, `{"name":"shop__city","arguments":{"city":"Köln"}}`,
		"```json\n{\n  \"name\": \"shop__city\",\n  \"arguments\": {\n    \"city\": \"}`\\\"{\",\n    \"days\": 1\n  }\n}\n```", `{"name": "now", "arguments": {}}`,
	}
)

// scripter feeds texts to samplers of a model.
type scripter struct {
	lm *llama.Model
	c  *llama.Context
	g  *inference.Grammar
}

// feed gives a new sampler the tokens of text, whole or character by character, and
// returns how many bytes it took, and what it allows then.
func (s *scripter) feed(t *testing.T, text string, apart bool) (n int, allowed []uint8) {
	t.Helper()
	spec := inference.SamplerSpec{Sampling: inference.DefaultSampling(), Grammar: s.g}
	made, err := s.c.NewSampler(&spec)
	if err != nil {
		t.Fatalf("the grammar does not compile: %v\n%s", err, s.g.GBNF)
	}
	sampler := made.(*llama.Sampler)
	defer sampler.Close()
	parts := []string{text}
	if apart {
		parts = runes(text)
	}
	for _, part := range parts {
		tokens, err := s.lm.Tokenize(part, inference.TokenizeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range tokens {
			piece, err := s.lm.Detokenize([]int32{token})
			if err != nil {
				t.Fatal(err)
			}
			if sampler.Accept(token) != nil {
				return n, nil
			}
			n += len(piece)
		}
	}
	if allowed, err = sampler.Allowed(); err != nil {
		t.Fatal(err)
	}
	return n, allowed
}

// TestHeldCalls: an answer that is no call stays free, whatever it is, and a bare
// call is held to its tool's schema from where it is one: for templates with tools
// and without, and for one whose model thinks.
func TestHeldCalls(t *testing.T) {
	if err := llama.Init(testkit.LibDir(t), nil); err != nil {
		t.Fatal(err)
	}
	lm, err := llama.Load(testkit.Model(t), llama.ModelOptions{Mmap: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lm.Close()
	c, err := lm.NewContext(llama.ContextOptions{Cells: 64, Sequences: 1, Threads: 1, Unified: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for template, before := range map[string]string{
		"Qwen-Qwen2.5-7B-Instruct": "", "meta-llama-Llama-3.1-8B-Instruct": "", "google-gemma-2-2b-it": "",
		"Qwen-Qwen3-0.6B": "<think>\nWhat is {\"name\": \"shop__city\", \"arguments\": {}}?\n</think>\n\n",
	} {
		t.Run(template, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join(testkit.Templates(t), template+".jinja"))
			if err != nil {
				t.Fatal(err)
			}
			templates, err := lm.Templates(string(source))
			if err != nil {
				t.Fatal(err)
			}
			defer templates.Close()
			e := &fakeEngine{events: says(inference.FinishStop, "x")}
			info := inference.ModelInfo{ID: "scripted", Context: 1 << 20, Vocabulary: lm.Info().Vocabulary, ChatTemplate: true}
			m, err := newModel(Config{Info: info, BareCalls: true}, vocabulary{lm, templates}, e.submit)
			if err != nil {
				t.Fatal(err)
			}
			s, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) {
				r.Tools, r.HoldCalls, r.LooseCalls = []inference.Tool{{Name: "now", Parameters: json.RawMessage(`{"type":"object","properties":{},"additionalProperties":false}`)}, cityTool()}, true, true
			}))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			f := &scripter{lm: lm, c: c, g: e.got.Grammar}
			for _, apart := range []bool{false, true} {
				for _, text := range freeTexts {
					if n, allowed := f.feed(t, before+text, apart); n != len(before+text) || slices.Contains(allowed, 0) && !strings.Contains(text, "arguments_of") {
						t.Errorf("free %q (apart %v): held after %d of %d bytes", text, apart, n, len(before+text))
					}
				}
				for _, text := range wholeTexts {
					n, allowed := f.feed(t, before+text, apart)
					if n != len(before+text) || !slices.Contains(allowed, 0) || allowed[word(t, lm, "That")] != 0 {
						t.Errorf("whole %q (apart %v): took %d of %d bytes", text, apart, n, len(before+text))
					}
				}
				for _, text := range heldTexts {
					valid, next, _ := strings.Cut(text, "|")
					if n, _ := f.feed(t, before+valid, apart); n != len(before+valid) {
						t.Errorf("held %q (apart %v): refused after %d of %d bytes", text, apart, n, len(before+valid))
					}
					if n, allowed := f.feed(t, before+valid+next, apart); allowed != nil {
						t.Errorf("held %q (apart %v): took all %d bytes", text, apart, n)
					}
				}
			}
		})
	}
}

func word(t *testing.T, lm *llama.Model, text string) int32 {
	t.Helper()
	tokens, err := lm.Tokenize(text, inference.TokenizeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return tokens[0]
}

// TestOnlyWhoAsksHoldsCalls: other requests have the grammar that they had.
func TestOnlyWhoAsksHoldsCalls(t *testing.T) {
	for name, mut := range map[string]func(r *inference.ChatRequest){
		"not asked for": func(*inference.ChatRequest) {},
		"required":      func(r *inference.ChatRequest) { r.HoldCalls, r.ToolChoice.Mode = true, inference.ToolRequired },
		"none":          func(r *inference.ChatRequest) { r.HoldCalls, r.ToolChoice.Mode = true, inference.ToolNone },
		"no bare calls": func(r *inference.ChatRequest) { r.HoldCalls, r.BareCalls = true, new(bool) },
	} {
		e := &fakeEngine{events: says(inference.FinishStop, "x")}
		m := newFake(t, &fakeModel{tools: true}, e)
		m.bareCalls = true
		s, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) { r.Tools = twoTools(); mut(r) }))
		if err != nil {
			t.Fatal(err)
		}
		if g := e.got.Grammar; g != nil && (strings.Contains(g.GBNF, "held-") || len(g.Triggers) > 1) {
			t.Errorf("%s: the grammar is %+v", name, g)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRenameRules(t *testing.T) {
	const in = "root ::= a-1 | \"a\\\"b\" c? # a comment\na-1 ::= [a-z\\]x]{2,30} | (c){1,} .\nc ::= \"{\" [^{}] a-1*\n"
	const want = "p-root ::= p-a-1 | \"a\\\"b\" p-c? # a comment\np-a-1 ::= [a-z\\]x]{2,30} | (p-c){1,} .\np-c ::= \"{\" [^{}] p-a-1*\n"
	if got := renameRules(in, "p-"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A pattern has a bound, so many tools have several.
func TestManyToolsHaveSeveralTriggers(t *testing.T) {
	var names []string
	for i := range inference.MaxTools {
		names = append(names, fmt.Sprintf("%s_%03d", strings.Repeat("x", 60), i))
	}
	all := ""
	triggers := bareTriggers(names, &inference.Thinking{Start: "<think>", Ends: []string{"</think>"}})
	for _, trigger := range triggers {
		if len(trigger.Value) > 4096 {
			t.Errorf("a trigger has %d bytes", len(trigger.Value))
		}
		all += trigger.Value
	}
	for _, name := range names {
		if strings.Count(all, name) != 1 {
			t.Errorf("%s is in %d triggers", name, strings.Count(all, name))
		}
	}
	if len(triggers) < 2 || len(triggers) > 60 {
		t.Errorf("%d triggers", len(triggers))
	}
}
