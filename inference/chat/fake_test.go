package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"hearth/inference"
	"hearth/inference/engine"
)

// fakeModel has one token for each byte of text, and a template that writes
// every message as "role: content\n". With tools set, its template has a place
// for them, and a call is written as «name{"…"}».
type fakeModel struct {
	tools    bool
	thinking bool
	opened   atomic.Int32 // parsers
	closed   atomic.Int32
	applied  []applyInput // of the last requests; for tests that run one at a time
}

func (f *fakeModel) Tokenize(text string, o inference.TokenizeOptions) ([]int32, error) {
	var out []int32
	if o.AddSpecial {
		out = append(out, 1)
	}
	for _, b := range []byte(text) {
		out = append(out, int32(b))
	}
	return out, nil
}

func (f *fakeModel) Detokenize(tokens []int32) (string, error) {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteByte(byte(t))
	}
	return b.String(), nil
}

func (f *fakeModel) SchemaToGrammar(schema []byte) (string, error) {
	if strings.Contains(string(schema), "impossible") {
		return "", errors.New("JSON schema conversion failed")
	}
	return "root ::= alternative-0\nalternative-0 ::= " + fmt.Sprintf("%q", schema) + "\n", nil
}

func (f *fakeModel) ControlTexts() []string { return nil }

func (f *fakeModel) Caps() map[string]bool {
	return map[string]bool{"supports_tools": f.tools, "supports_tool_calls": f.tools, "supports_parallel_tool_calls": true}
}

func (f *fakeModel) Apply(input []byte) ([]byte, error) {
	var in applyInput
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, err
	}
	f.applied = append(f.applied, in)
	var b strings.Builder
	for _, t := range in.Tools {
		if f.tools {
			b.WriteString("tool: " + t.Function.Name + "\n")
		}
	}
	for _, m := range in.Messages {
		if m.Content == "reject me" {
			return nil, errors.New("roles must alternate")
		}
		b.WriteString(string(m.Role) + ": " + m.Content + "\n")
	}
	b.WriteString("assistant: ")
	out := map[string]any{
		"prompt": b.String(), "generation_prompt": "assistant: ", "supports_thinking": f.thinking, "parser": "p",
		"stops": []string{"\nuser:"},
	}
	var names []string
	for _, t := range in.Tools {
		names = append(names, t.Function.Name)
	}
	if f.tools && len(in.Tools) > 0 && in.ToolChoice != inference.ToolNone {
		out["grammar"] = "calls of " + strings.Join(names, ",")
		out["preserved_tokens"] = []int32{7}
		if in.ToolChoice == inference.ToolAuto {
			out["grammar_lazy"] = true
			out["triggers"] = []any{map[string]any{"type": 1, "value": "«"}}
		}
	}
	if in.JSONSchema != nil {
		out["grammar"] = "schema " + string(in.JSONSchema)
	}
	return json.Marshal(out)
}

func (f *fakeModel) NewParser(_ []byte, calls bool) (Parser, error) {
	f.opened.Add(1)
	return &fakeParser{f: f, calls: calls}, nil
}

// fakeParser reads "<think>…</think>content«name{args}»«name{args}»".
type fakeParser struct {
	f      *fakeModel
	calls  bool
	closed bool
}

func (p *fakeParser) Parse(text string, partial bool) ([]byte, error) {
	if p.closed {
		panic("parse after close")
	}
	var m message
	if p.f.thinking {
		if rest, ok := strings.CutPrefix(text, "<think>"); ok {
			var end bool
			if m.Reasoning, text, end = strings.Cut(rest, "</think>"); !end {
				if !partial {
					return nil, errors.New("unfinished thought")
				}
				m.Reasoning = m.Reasoning[:len(m.Reasoning)-tagPrefix(m.Reasoning, "</think>")]
			}
		} else if partial && strings.HasPrefix("<think>", text) {
			text = ""
		}
	}
	if !p.calls {
		m.Content = text
		return json.Marshal(m)
	}
	m.Content, text, _ = strings.Cut(text, "«")
	for text != "" {
		var call, rest string
		var end bool
		call, rest, end = strings.Cut(text, "»")
		if !end && !partial {
			return nil, errors.New("unfinished call")
		}
		name, args := call, ""
		if i := strings.IndexByte(call, '{'); i >= 0 {
			name, args = call[:i], call[i:]
		}
		m.ToolCalls = append(m.ToolCalls, struct {
			ID        string `json:"id"`
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		}{"", name, args})
		if !end {
			break
		}
		text = strings.TrimPrefix(rest, "«")
	}
	return json.Marshal(m)
}

func (p *fakeParser) Close() error {
	if p.closed {
		panic("closed twice")
	}
	p.closed = true
	p.f.closed.Add(1)
	return nil
}

// fakeEngine answers every request with the same events.
type fakeEngine struct {
	events []engine.Event
	err    error // instead of io.EOF
	refuse error // of Submit
	got    *engine.Request
	closed atomic.Int32
}

func (e *fakeEngine) submit(_ context.Context, r *engine.Request) (eventSource, error) {
	e.got = r
	if e.refuse != nil {
		return nil, e.refuse
	}
	return &fakeSource{e: e, events: e.events}, nil
}

type fakeSource struct {
	e      *fakeEngine
	events []engine.Event
}

func (s *fakeSource) Next(ctx context.Context) (engine.Event, error) {
	if err := ctx.Err(); err != nil {
		return engine.Event{}, err
	}
	if len(s.events) == 0 {
		if s.e.err != nil {
			return engine.Event{}, s.e.err
		}
		return engine.Event{}, io.EOF
	}
	ev := s.events[0]
	s.events = s.events[1:]
	return ev, nil
}

func (s *fakeSource) Close() error {
	s.e.closed.Add(1)
	return nil
}

// says makes the events of an answer of one choice, one for each string.
func says(finish inference.FinishReason, texts ...string) []engine.Event {
	var out []engine.Event
	for i, s := range texts {
		out = append(out, engine.Event{
			Kind: engine.KindText, Text: s,
			Logprobs: []inference.TokenLogprob{{Token: int32(i), Bytes: []byte(s)}},
		})
	}
	return append(out,
		engine.Event{Kind: engine.KindFinish, Finish: finish},
		engine.Event{Kind: engine.KindUsage, Usage: inference.Usage{PromptTokens: 3, CompletionTokens: len(texts)}})
}

func newFake(t *testing.T, lm *fakeModel, e *fakeEngine) *Model {
	t.Helper()
	m, err := newModel(Config{Info: inference.ModelInfo{ID: "fake", Context: 4096, Vocabulary: 256, ChatTemplate: true}}, lm, e.submit)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	m.newID = func() string { n++; return fmt.Sprintf("call_%d", n) }
	lm.applied = nil
	return m
}

func ask(mut func(r *inference.ChatRequest)) *inference.ChatRequest {
	r := &inference.ChatRequest{
		Options:  inference.Options{Sampling: inference.DefaultSampling(), N: 1},
		Messages: []inference.Message{{Role: inference.RoleUser, Content: "Hi"}},
	}
	if mut != nil {
		mut(r)
	}
	return r
}

func weather() inference.Tool {
	return inference.Tool{Name: "weather", Description: "Weather of a city", Parameters: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`)}
}

// result is an answer put together from its events.
type result struct {
	Content, Reasoning string
	Calls              []inference.ToolCall
	Finish             inference.FinishReason
	Tokens             int // log probabilities seen
	Usage              inference.Usage
}

// read collects a stream and checks the rules that hold for deltas.
func read(t *testing.T, s inference.Stream) (result, error) {
	t.Helper()
	defer s.Close()
	var r result
	for {
		ev, err := s.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return r, err
		}
		switch ev.Kind {
		case inference.EventDelta:
			r.Content += ev.Content
			r.Reasoning += ev.Reasoning
			r.Tokens += len(ev.Logprobs)
			if ev.ToolCall != nil {
				addCall(t, &r.Calls, ev.ToolCall)
			}
			if ev.Content == "" && ev.Reasoning == "" && ev.ToolCall == nil && ev.Logprobs == nil {
				t.Error("a delta without anything in it")
			}
		case inference.EventFinish:
			r.Finish = ev.Finish
		case inference.EventUsage:
			r.Usage = ev.Usage
		}
	}
}

func addCall(t testing.TB, calls *[]inference.ToolCall, d *inference.ToolCallDelta) {
	t.Helper()
	switch {
	case d.Index == len(*calls):
		if d.ID == "" || d.Name == "" {
			t.Errorf("the first piece of call %d has id %q and name %q", d.Index, d.ID, d.Name)
		}
		*calls = append(*calls, inference.ToolCall{ID: d.ID, Name: d.Name, Arguments: d.Arguments})
	case d.Index == len(*calls)-1:
		if d.ID != "" || d.Name != "" {
			t.Errorf("a later piece of call %d repeats id %q or name %q", d.Index, d.ID, d.Name)
		}
		(*calls)[d.Index].Arguments += d.Arguments
	default:
		t.Errorf("a piece of call %d while there are %d calls", d.Index, len(*calls))
	}
}
