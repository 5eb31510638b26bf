package chat

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"hearth/inference"
)

func TestClientGrammar(t *testing.T) {
	const gbnf = `root ::= "yes"`
	for name, c := range map[string]struct {
		off bool
		mut func(r *inference.ChatRequest)
		why string // "" where it has to reach the engine
	}{
		"alone":        {false, nil, ""},
		"switched off": {true, nil, "engine.client_grammars"},
		"with text":    {false, func(r *inference.ChatRequest) { r.Format.Kind = inference.FormatText }, ""},
		"with JSON":    {false, func(r *inference.ChatRequest) { r.Format.Kind = inference.FormatJSONObject }, "response_format (of type json_object)"},
		"with tools":   {false, func(r *inference.ChatRequest) { r.Tools = []inference.Tool{weather()} }, "tool_choice to none"},
		"with tools at rest": {false, func(r *inference.ChatRequest) {
			r.Tools = []inference.Tool{weather()}
			r.ToolChoice.Mode = inference.ToolNone
		}, ""},
	} {
		for _, tools := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				e := &fakeEngine{events: says(inference.FinishStop, "yes")}
				m := newFake(t, &fakeModel{tools: tools}, e)
				m.grammars = !c.off
				s, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) {
					r.Grammar = gbnf
					if c.mut != nil {
						c.mut(r)
					}
				}))
				if c.why != "" {
					var inv *inference.InvalidError
					if !errors.As(err, &inv) || inv.Field != "grammar" || !strings.Contains(inv.Reason, c.why) {
						t.Errorf("got %v, want one with %q", err, c.why)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got, err := read(t, s); err != nil || got.Content != "yes" {
					t.Errorf("got %+v, %v", got, err)
				}
				if want := (&inference.Grammar{GBNF: gbnf, Client: true}); !reflect.DeepEqual(e.got.Grammar, want) {
					t.Errorf("the engine got %+v", e.got.Grammar)
				}
			})
		}
	}
}

func TestClientGrammarOfACompletion(t *testing.T) {
	e := &fakeEngine{events: says(inference.FinishStop, "yes")}
	m := newFake(t, &fakeModel{}, e)
	r := &inference.CompletionRequest{Prompt: "Is it? ", Options: inference.Options{Sampling: inference.DefaultSampling(), Grammar: `root ::= "yes"`}}
	if _, err := m.Complete(t.Context(), r); err == nil || !strings.Contains(err.Error(), "engine.client_grammars") {
		t.Errorf("switched off: %v", err)
	}
	m.grammars = true
	s, err := m.Complete(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, s); err != nil || got.Content != "yes" {
		t.Errorf("got %+v, %v", got, err)
	}
	if want := (&inference.Grammar{GBNF: r.Grammar, Client: true}); !reflect.DeepEqual(e.got.Grammar, want) {
		t.Errorf("the engine got %+v", e.got.Grammar)
	}
}
