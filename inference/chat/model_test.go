package chat

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"hearth/inference"
)

func TestPlainAnswerPassesThrough(t *testing.T) {
	lm, e := &fakeModel{}, &fakeEngine{events: says(inference.FinishStop, "Hel", "lo <tool_call>", " there")}
	m := newFake(t, lm, e)
	opened := lm.opened.Load()
	s, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) { r.Stop = []string{"END"}; r.MaxTokens = 9; r.N = 1 }))
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(t, s)
	want := result{Content: "Hello <tool_call> there", Finish: inference.FinishStop, Tokens: 3, Usage: inference.Usage{PromptTokens: 3, CompletionTokens: 3}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if lm.opened.Load() != opened {
		t.Error("plain text was given to a parser")
	}
	prompt, _ := lm.Detokenize(e.got.Prompt)
	if prompt != "\x01user: Hi\nassistant: " {
		t.Errorf("the prompt is %q: one begin-of-sequence token and the template's text are due", prompt)
	}
	if !reflect.DeepEqual(e.got.Stop, []string{"END", "\nuser:"}) || e.got.MaxTokens != 9 || e.got.Choices != 1 || e.got.Grammar != nil {
		t.Errorf("the engine was asked for %+v", e.got)
	}
	if e.closed.Load() == 0 {
		t.Error("Close did not reach the engine")
	}
}

func TestReasoningIsKeptApart(t *testing.T) {
	lm, e := &fakeModel{thinking: true}, &fakeEngine{events: says(inference.FinishStop, "<th", "ink>be", "cause</thi", "nk>So", ".")}
	m := newFake(t, lm, e)
	s, err := m.Chat(t.Context(), ask(nil))
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(t, s)
	if err != nil || got.Reasoning != "because" || got.Content != "So." || got.Tokens != 5 {
		t.Errorf("got %+v, %v", got, err)
	}
	if lm.opened.Load() != lm.closed.Load() {
		t.Errorf("%d parsers opened, %d closed", lm.opened.Load(), lm.closed.Load())
	}
}

func TestUnparsableAnswerIsText(t *testing.T) {
	for name, c := range map[string]struct {
		texts  []string
		finish inference.FinishReason
		want   result
	}{
		"thought never ends":   {[]string{"<think>be", "cause"}, inference.FinishStop, result{Reasoning: "because", Finish: inference.FinishStop}},
		"thought is cut off":   {[]string{"<think>beca", "use"}, inference.FinishLength, result{Reasoning: "because", Finish: inference.FinishLength}},
		"mark held back":       {[]string{"<thi"}, inference.FinishLength, result{Content: "<thi", Finish: inference.FinishLength}},
		"no tool of that name": {[]string{"Hm «rm{}»"}, inference.FinishStop, result{Content: "Hm «rm{}»", Finish: inference.FinishStop}},
		"call never ends":      {[]string{"Hm «wea"}, inference.FinishStop, result{Content: "Hm «wea", Finish: inference.FinishStop}},
		"name is cut off":      {[]string{"Hm «wea"}, inference.FinishLength, result{Content: "Hm «wea", Finish: inference.FinishLength}},
	} {
		t.Run(name, func(t *testing.T) {
			lm, e := &fakeModel{thinking: true, tools: true}, &fakeEngine{events: says(c.finish, c.texts...)}
			m := newFake(t, lm, e)
			s, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) { r.Tools = []inference.Tool{weather()} }))
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(t, s)
			got.Tokens, got.Usage = 0, inference.Usage{}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestNativeToolCalls(t *testing.T) {
	lm, e := &fakeModel{tools: true}, &fakeEngine{events: says(inference.FinishStop, "Wait. «wea", "ther{\"ci", "ty\":\"Bonn\"}»«", "time{}»")}
	m := newFake(t, lm, e)
	if !m.Info().TemplateTools {
		t.Fatal("the template's place for tools was not found")
	}
	s, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) {
		r.Tools = []inference.Tool{weather(), {Name: "time"}}
		r.ParallelToolCalls = true
	}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(t, s)
	want := result{
		Content: "Wait. ", Finish: inference.FinishToolCalls, Tokens: 4, Usage: inference.Usage{PromptTokens: 3, CompletionTokens: 4},
		Calls: []inference.ToolCall{{ID: "call_1", Name: "weather", Arguments: `{"city":"Bonn"}`}, {ID: "call_2", Name: "time", Arguments: "{}"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	g := e.got.Grammar
	if g == nil || !g.Lazy || g.GBNF != "calls of weather,time" || g.Prefill != "" || g.Triggers[0].Kind != inference.TriggerWord {
		t.Errorf("the grammar is %+v", g)
	}
	if !reflect.DeepEqual(e.got.Preserved, []int32{7}) {
		t.Errorf("the preserved tokens are %v", e.got.Preserved)
	}
}

func TestOneCallWhenOneIsAllowed(t *testing.T) {
	lm, e := &fakeModel{tools: true}, &fakeEngine{events: says(inference.FinishStop, "«weather{}»", "«weather{}»")}
	m := newFake(t, lm, e)
	s, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) { r.Tools = []inference.Tool{weather()} }))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, s); err != nil || len(got.Calls) != 1 || got.Finish != inference.FinishToolCalls {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTighten(t *testing.T) {
	const text = "root ::= \"a\\n\" space until-161? tool-calls\ntool-calls ::= (tool-call space)+\n"
	for _, c := range []struct {
		atOnce, once bool
		want         string
	}{
		{false, false, text},
		{true, false, "root ::= \"a\\n\" space tool-calls\ntool-calls ::= (tool-call space)+\n"},
		{false, true, "root ::= \"a\\n\" space until-161? tool-calls\ntool-calls ::= (tool-call space)\n"},
	} {
		g := &inference.Grammar{GBNF: text}
		tighten(g, c.atOnce, c.once)
		if g.GBNF != c.want {
			t.Errorf("%+v: got %s", c, g.GBNF)
		}
	}
}

func TestNamedToolShowsAllAndAllowsOne(t *testing.T) {
	lm, e := &fakeModel{tools: true}, &fakeEngine{}
	m := newFake(t, lm, e)
	_, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) {
		r.Tools = []inference.Tool{weather(), {Name: "time"}}
		r.ToolChoice = inference.ToolChoice{Mode: inference.ToolRequired, Name: "time"}
	}))
	if err != nil {
		t.Fatal(err)
	}
	prompt, _ := lm.Detokenize(e.got.Prompt)
	if !strings.Contains(prompt, "tool: weather\ntool: time\n") {
		t.Errorf("the prompt %q lacks a tool", prompt)
	}
	if g := e.got.Grammar; g == nil || g.Lazy || g.GBNF != "calls of time" || g.Prefill != "assistant: " {
		t.Errorf("the grammar is %+v", g)
	}
}

func TestTextTools(t *testing.T) {
	texts := []string{"Sure.\n<tool", "_call>{\"name\": \"weather\", ", "\"arguments\": {\"city\"", ": \"Bonn\"}}</tool_call>"}
	for _, thinking := range []bool{false, true} {
		lm, e := &fakeModel{thinking: thinking}, &fakeEngine{events: says(inference.FinishStop, texts...)}
		m := newFake(t, lm, e)
		s, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) {
			r.Tools = []inference.Tool{weather()}
			r.Messages = append([]inference.Message{{Role: inference.RoleSystem, Content: "Be brief."}}, r.Messages...)
		}))
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(t, s)
		want := result{
			Content: "Sure.", Finish: inference.FinishToolCalls, Tokens: 4, Usage: inference.Usage{PromptTokens: 3, CompletionTokens: 4},
			Calls: []inference.ToolCall{{ID: "call_1", Name: "weather", Arguments: `{"city": "Bonn"}`}},
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("thinking %v: got %+v, %v; want %+v", thinking, got, err, want)
		}
		prompt, _ := lm.Detokenize(e.got.Prompt)
		if !strings.HasPrefix(prompt, "\x01system: Be brief.\n\nYou can call these tools") || !strings.Contains(prompt, `"name":"weather"`) {
			t.Errorf("the prompt %q does not show the tool", prompt)
		}
		if g := e.got.Grammar; g == nil || !g.Lazy || !reflect.DeepEqual(g.Triggers, []inference.Trigger{{Kind: inference.TriggerWord, Value: callOpen}}) {
			t.Errorf("the grammar is %+v", g)
		}
		if lm.opened.Load() != lm.closed.Load() {
			t.Errorf("%d parsers opened, %d closed", lm.opened.Load(), lm.closed.Load())
		}
	}
}

func TestTextToolGrammar(t *testing.T) {
	tools := []inference.Tool{
		{Name: "a", Parameters: json.RawMessage(`{"type":"object","properties":{"x":{"$ref" : "#/$defs/n"}},"$defs":{"n":{"const":"\"$ref\":\"#/no\""}}}`)},
		{Name: "b"},
	}
	want := `{"oneOf":[` +
		`{"type":"object","properties":{"name":{"const":"a"},"arguments":{"type":"object","properties":{"x":{"$ref" : "#/oneOf/0/properties/arguments/$defs/n"}},"$defs":{"n":{"const":"\"$ref\":\"#/no\""}}}},"required":["name","arguments"],"additionalProperties":false},` +
		`{"type":"object","properties":{"name":{"const":"b"},"arguments":{"type":"object","properties":{}}},"required":["name","arguments"],"additionalProperties":false}]}`
	if got := string(callSchema(tools)); got != want {
		t.Errorf("the schema of calls is %s\nwant %s", got, want)
	}
	m := newFake(t, &fakeModel{}, &fakeEngine{})
	for _, c := range []struct {
		mode     inference.ToolMode
		parallel bool
		root     string
	}{
		{inference.ToolRequired, false, "root ::= hearth-call\n"},
		{inference.ToolRequired, true, "root ::= hearth-call ([ \\n]? hearth-call)*\n"},
		{inference.ToolAuto, false, "root ::= hearth-call\n"},
	} {
		g, err := m.callGrammar(tools, c.parallel, c.mode, -1)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(g.GBNF, c.root) || strings.Count(g.GBNF, "root ::=") != 1 || !strings.Contains(g.GBNF, "\nhearth-object ::= alternative-0\n") || g.Lazy != (c.mode == inference.ToolAuto) {
			t.Errorf("%+v: the grammar is %+v", c, g)
		}
	}
	g, err := m.callGrammar(tools, false, inference.ToolAuto, 99)
	if err != nil || !reflect.DeepEqual(g.Triggers, []inference.Trigger{{Kind: inference.TriggerToken, Value: callOpen, Token: 99}}) {
		t.Errorf("a vocabulary with a token for the tag has the triggers %+v, %v", g.Triggers, err)
	}
}

// TestPastCallsStayVisible: a template without tools shows them as text, also in
// a request that offers none any more.
func TestPastCallsStayVisible(t *testing.T) {
	lm, e := &fakeModel{}, &fakeEngine{}
	m := newFake(t, lm, e)
	_, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) {
		r.Messages = append(r.Messages,
			inference.Message{Role: inference.RoleAssistant, ToolCalls: []inference.ToolCall{{Name: "weather", Arguments: "{}"}}},
			inference.Message{Role: inference.RoleTool, Content: "rain"})
	}))
	if err != nil {
		t.Fatal(err)
	}
	prompt, _ := lm.Detokenize(e.got.Prompt)
	if !strings.Contains(prompt, `assistant: <tool_call>{"name": "weather", "arguments": {}}</tool_call>`) || !strings.Contains(prompt, "user: <tool_response>\nrain\n</tool_response>") {
		t.Errorf("the prompt is %q", prompt)
	}
}

func TestFormat(t *testing.T) {
	schema := json.RawMessage(`{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}`)
	for name, c := range map[string]struct {
		lm      *fakeModel
		format  inference.Format
		prefill string
		want    string
	}{
		"plain object":    {&fakeModel{}, inference.Format{Kind: inference.FormatJSONObject}, "", `"{\"type\":\"object\"}"`},
		"plain schema":    {&fakeModel{}, inference.Format{Kind: inference.FormatJSONSchema, Schema: schema}, "", `\"integer\"`},
		"thinking schema": {&fakeModel{thinking: true}, inference.Format{Kind: inference.FormatJSONSchema, Schema: schema}, "assistant: ", `schema {"type":"object"`},
	} {
		t.Run(name, func(t *testing.T) {
			e := &fakeEngine{}
			m := newFake(t, c.lm, e)
			if _, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) { r.Format = c.format })); err != nil {
				t.Fatal(err)
			}
			if g := e.got.Grammar; g == nil || g.Lazy || g.Prefill != c.prefill || !strings.Contains(g.GBNF, c.want) {
				t.Errorf("the grammar is %+v", g)
			}
		})
	}
}

func TestChatRefuses(t *testing.T) {
	many := make([]inference.Message, inference.MaxMessages+1)
	deep := json.RawMessage(strings.Repeat(`{"items":`, 70) + "{}" + strings.Repeat("}", 70))
	for name, c := range map[string]struct {
		mut   func(r *inference.ChatRequest)
		field string
		say   string
	}{
		"no messages":     {func(r *inference.ChatRequest) { r.Messages = nil }, "messages", "at least one"},
		"many messages":   {func(r *inference.ChatRequest) { r.Messages = many }, "messages", "4096"},
		"role":            {func(r *inference.ChatRequest) { r.Messages[0].Role = "king" }, "messages[0].role", "king"},
		"calls of a user": {func(r *inference.ChatRequest) { r.Messages[0].ToolCalls = make([]inference.ToolCall, 1) }, "messages[0].tool_calls", "assistant"},
		"broken arguments": {func(r *inference.ChatRequest) {
			r.Messages[0] = inference.Message{Role: inference.RoleAssistant, ToolCalls: []inference.ToolCall{{Name: "a", Arguments: "{"}}}
		}, "messages[0].tool_calls[0].function.arguments", "JSON"},
		"deep arguments": {func(r *inference.ChatRequest) {
			r.Messages[0] = inference.Message{Role: inference.RoleAssistant, ToolCalls: []inference.ToolCall{{Name: "a", Arguments: strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)}}}
		}, "messages[0].tool_calls[0].function.arguments", "max depth"},
		"half a character": {func(r *inference.ChatRequest) { r.Messages[0].Content = "\xff" }, "messages[0].content", "UTF-8"},
		"half a thought":   {func(r *inference.ChatRequest) { r.Messages[0].Reasoning = "\xc3" }, "messages[0].reasoning_content", "UTF-8"},
		"long pattern": {func(r *inference.ChatRequest) {
			p := strings.Repeat("(", 2000) + strings.Repeat(")", 2000)
			r.Format = inference.Format{Kind: inference.FormatJSONSchema, Schema: json.RawMessage(`{"type":"string","pattern":"^` + p + `$"}`)}
		}, "response_format.json_schema.schema.pattern", "nests too deeply: \"((("},
		"template":     {func(r *inference.ChatRequest) { r.Messages[0].Content = "reject me" }, "messages[0]", "roles must alternate"},
		"n":            {func(r *inference.ChatRequest) { r.N = 17 }, "n", "16"},
		"stop":         {func(r *inference.ChatRequest) { r.Stop = []string{""} }, "stop[0]", "512"},
		"top_logprobs": {func(r *inference.ChatRequest) { r.TopLogprobs = 2 }, "top_logprobs", "logprobs"},
		"temperature":  {func(r *inference.ChatRequest) { r.Sampling.Temperature = 3 }, "temperature", "between"},
		"unknown tool": {func(r *inference.ChatRequest) {
			r.Tools = []inference.Tool{weather()}
			r.ToolChoice = inference.ToolChoice{Mode: inference.ToolRequired, Name: "rm"}
		}, "tool_choice", `"rm"`},
		"no tools":  {func(r *inference.ChatRequest) { r.ToolChoice.Mode = inference.ToolRequired }, "tool_choice", "no tools"},
		"tool mode": {func(r *inference.ChatRequest) { r.ToolChoice.Mode = "maybe" }, "tool_choice", "maybe"},
		"tool name": {func(r *inference.ChatRequest) { r.Tools = []inference.Tool{{Name: "a b"}} }, "tools[0].function.name", "64"},
		"twice":     {func(r *inference.ChatRequest) { r.Tools = []inference.Tool{weather(), weather()} }, "tools[1].function.name", "differ"},
		"deep tool": {func(r *inference.ChatRequest) { r.Tools = []inference.Tool{{Name: "a", Parameters: deep}} }, "tools[0].function.parameters", "64 deep"},
		"no schema": {func(r *inference.ChatRequest) {
			r.Tools = []inference.Tool{{Name: "a", Parameters: json.RawMessage(`[]`)}}
		}, "tools[0].function.parameters", "object"},
		"bad tool": {func(r *inference.ChatRequest) {
			r.Tools = []inference.Tool{{Name: "a", Strict: true, Parameters: json.RawMessage(`{"enum":["impossible"]}`)}}
		}, "tools", `"a"`},
		"long string": {func(r *inference.ChatRequest) {
			r.Format = inference.Format{Kind: inference.FormatJSONSchema, Schema: json.RawMessage(`{"type":"string","maxLength":2001}`)}
		}, "response_format.json_schema.schema", "2000"},
		"strict tool": {func(r *inference.ChatRequest) {
			r.Tools = []inference.Tool{{Name: "a", Strict: true, Parameters: json.RawMessage(`{"type":"object","minProperties":1}`)}}
		}, "tools[0].function.parameters", "minProperties"},
		"tools, schema": {func(r *inference.ChatRequest) {
			r.Tools = []inference.Tool{weather()}
			r.Format.Kind = inference.FormatJSONObject
		}, "response_format", "tools"},
		"bad schema": {func(r *inference.ChatRequest) {
			r.Format = inference.Format{Kind: inference.FormatJSONSchema, Schema: json.RawMessage(`{"const":"impossible"}`)}
		}, "response_format.json_schema.schema", "conversion failed"},
		"format":     {func(r *inference.ChatRequest) { r.Format.Kind = "xml" }, "response_format.type", "xml"},
		"max_tokens": {func(r *inference.ChatRequest) { r.MaxTokens = -1 }, "max_tokens", "positive"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &fakeEngine{}
			m := newFake(t, &fakeModel{}, e)
			_, err := m.Chat(t.Context(), ask(c.mut))
			var inv *inference.InvalidError
			if !errors.As(err, &inv) || inv.Field != c.field || !strings.Contains(inv.Reason, c.say) {
				t.Errorf("got %v, want an error at %s about %q", err, c.field, c.say)
			}
			if e.got != nil {
				t.Error("the engine was asked all the same")
			}
		})
	}
}

func TestOverflowHasNumbers(t *testing.T) {
	m := newFake(t, &fakeModel{}, &fakeEngine{})
	m.info.Context = 40
	_, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) { r.MaxTokens = 30 }))
	var over *inference.OverflowError
	if !errors.As(err, &over) || *over != (inference.OverflowError{Prompt: 21, Max: 30, Context: 40}) {
		t.Errorf("got %v", err)
	}
	_, err = m.Complete(t.Context(), &inference.CompletionRequest{Options: ask(nil).Options, Prompt: strings.Repeat("x", 50)})
	if !errors.As(err, &over) || *over != (inference.OverflowError{Prompt: 51, Context: 40}) {
		t.Errorf("got %v", err)
	}
	if n, err := m.CountChat(ask(nil)); err != nil || n != 21 {
		t.Errorf("the chat counts %d tokens, %v", n, err)
	}
}

func TestComplete(t *testing.T) {
	lm, e := &fakeModel{}, &fakeEngine{events: says(inference.FinishLength, " is", " blue")}
	m := newFake(t, lm, e)
	s, err := m.Complete(t.Context(), &inference.CompletionRequest{Options: ask(nil).Options, Prompt: "The sky", Echo: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, s); err != nil || got.Content != "The sky is blue" || got.Finish != inference.FinishLength {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := m.Complete(t.Context(), &inference.CompletionRequest{Options: ask(nil).Options, Tokens: []int32{5, 256}}); err == nil || !strings.Contains(err.Error(), "prompt[1]") {
		t.Errorf("a token outside the vocabulary: %v", err)
	}
	if _, err := m.Complete(t.Context(), &inference.CompletionRequest{Options: ask(nil).Options, Tokens: []int32{}}); !errors.Is(err, inference.ErrInvalid) {
		t.Errorf("no token at all: %v", err)
	}
	o := ask(nil).Options
	o.Logprobs = true
	if _, err := m.Complete(t.Context(), &inference.CompletionRequest{Options: o, Prompt: "a", Echo: true}); !errors.Is(err, inference.ErrInvalid) {
		t.Errorf("echo with logprobs: %v", err)
	}
}

func TestNoChatTemplate(t *testing.T) {
	m, err := newModel(Config{Info: inference.ModelInfo{ID: "base", Context: 64, Vocabulary: 256}}, &fakeModel{}, (&fakeEngine{}).submit)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Chat(t.Context(), ask(nil)); !errors.Is(err, inference.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

// TestChatToolBeyondGrammar holds that a schema which no grammar can say costs
// its own tool the enforcement, and not the others theirs.
func TestChatToolBeyondGrammar(t *testing.T) {
	e := &fakeEngine{}
	m := newFake(t, &fakeModel{}, e)
	s, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) {
		r.Tools = []inference.Tool{weather(), {Name: "a", Parameters: json.RawMessage(`{"enum":["impossible"]}`)}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if e.got.Grammar == nil {
		t.Fatal("no grammar")
	}
	got := strings.ReplaceAll(e.got.Grammar.GBNF, `\"`, `"`) // as the fake quotes it
	for _, want := range []string{`"arguments":{"type":"object"}`, string(weather().Parameters)} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in the grammar\n%s", want, got)
		}
	}
}
