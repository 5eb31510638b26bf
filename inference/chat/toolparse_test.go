package chat

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"hearth/inference"
)

// runToolText feeds the parts and joins what comes out.
func runToolText(t testing.TB, parts []string) (string, []inference.ToolCall) {
	t.Helper()
	n := 0
	p := &toolText{names: map[string]bool{"weather": true, "time": true}, newID: func() string { n++; return fmt.Sprint("id", n) }}
	var text strings.Builder
	var calls []inference.ToolCall
	take := func(pieces []piece) {
		for _, q := range pieces {
			text.WriteString(q.content)
			if q.call != nil {
				addCall(t, &calls, q.call)
			}
		}
	}
	for _, s := range parts {
		take(p.feed(s))
	}
	take(p.finish())
	return text.String(), calls
}

func runes(s string) []string {
	var out []string
	for len(s) > 0 {
		_, n := utf8.DecodeRuneInString(s)
		out, s = append(out, s[:n]), s[n:]
	}
	return out
}

func TestToolText(t *testing.T) {
	call := func(id, name, args string) inference.ToolCall {
		return inference.ToolCall{ID: id, Name: name, Arguments: args}
	}
	for _, c := range []struct {
		name, in, text string
		calls          []inference.ToolCall
	}{
		{name: "no call", in: "Just text, 1 < 2.\n", text: "Just text, 1 < 2.\n"},
		{
			name: "one call", in: `<tool_call>{"name": "weather", "arguments": {"city": "Köln"}}</tool_call>`,
			calls: []inference.ToolCall{call("id1", "weather", `{"city": "Köln"}`)},
		},
		{
			name: "text before, space dropped", in: "Let me see.\n\n<tool_call>\n{\"name\":\"weather\",\"arguments\":{}}\n</tool_call>\n",
			text: "Let me see.", calls: []inference.ToolCall{call("id1", "weather", `{}`)},
		},
		{
			name: "two calls", in: `<tool_call>{"name":"weather","arguments":{"a":[1,{"b":"}]"}]}}</tool_call> <tool_call>{"name":"time","arguments":{}}</tool_call>`,
			calls: []inference.ToolCall{call("id1", "weather", `{"a":[1,{"b":"}]"}]}`), call("id2", "time", `{}`)},
		},
		{
			name: "tags inside a string", in: `<tool_call>{"name":"weather","arguments":{"a":"</tool_call>\"<tool_call>"}}</tool_call>`,
			calls: []inference.ToolCall{call("id1", "weather", `{"a":"</tool_call>\"<tool_call>"}`)},
		},
		{
			name: "arguments first", in: `<tool_call>{"arguments":{"a":1},"name":"time"}</tool_call>`,
			calls: []inference.ToolCall{call("id1", "time", `{"a":1}`)},
		},
		{
			name: "arguments as a string", in: `<tool_call>{"name":"time","arguments":"{\"a\":1}"}</tool_call>`,
			calls: []inference.ToolCall{call("id1", "time", `{"a":1}`)},
		},
		{
			name: "no arguments", in: `<tool_call>{"name":"time"}</tool_call>`,
			calls: []inference.ToolCall{call("id1", "time", `{}`)},
		},
		{
			name: "no closing tag", in: `<tool_call>{"name":"time","arguments":{"a":1}}`,
			calls: []inference.ToolCall{call("id1", "time", `{"a":1}`)},
		},
		{
			name: "unknown tool", in: `Hm. <tool_call>{"name":"rm","arguments":{}}</tool_call> done`,
			text: `Hm. <tool_call>{"name":"rm","arguments":{}}</tool_call> done`,
		},
		{name: "not JSON", in: `<tool_call>weather("Köln")</tool_call>`, text: `<tool_call>weather("Köln")</tool_call>`},
		{name: "cut off in the name", in: `<tool_call>{"name": "wea`, text: `<tool_call>{"name": "wea`},
		{
			name: "cut off in the arguments", in: `<tool_call>{"name":"time","arguments":{"a":"b`,
			calls: []inference.ToolCall{call("id1", "time", `{"a":"b`)},
		},
		{name: "cut off in the tag", in: `so <tool_c`, text: `so <tool_c`},
		{
			name: "broken off inside the arguments", in: `<tool_call>{"name":"time","arguments":{"a":</tool_call> sorry`,
			text: " sorry", calls: []inference.ToolCall{call("id1", "time", `{"a":`)},
		},
		{
			name: "more after the call", in: `<tool_call>{"name":"time","arguments":{}}</tool_call> That was it.`,
			text: " That was it.", calls: []inference.ToolCall{call("id1", "time", `{}`)},
		},
		{
			name: "junk instead of the closing tag", in: `<tool_call>{"name":"time","arguments":{}} oops`,
			text: "} oops", calls: []inference.ToolCall{call("id1", "time", `{}`)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for how, parts := range map[string][]string{"whole": {c.in}, "by rune": runes(c.in)} {
				text, calls := runToolText(t, parts)
				if text != c.text || !reflect.DeepEqual(calls, c.calls) {
					t.Errorf("%s: got text %q and calls %v,\nwant %q and %v", how, text, calls, c.text, c.calls)
				}
			}
		})
	}
}

// FuzzToolText: however a text is cut, it means the same; without a call it is
// passed on to the last byte; and what is marked as a call has an offered name.
func FuzzToolText(f *testing.F) {
	for _, s := range []string{
		"", "plain", "a <tool_call> b", `<tool_call>{"name":"weather","arguments":{"a":"}"}}</tool_call>`,
		`<tool_call>{"arguments":{},"name":"time"}</tool_call>  <tool_call>{"name":"time","arguments":[]}</tool_call>`,
		`<tool_call>{"name":"time","arguments":{<<tool_call>{"name"`, "  \n<tool_call><tool_call>\n</tool_call>\n ",
	} {
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, in string, size uint8) {
		wantText, wantCalls := runToolText(t, []string{in})
		n := int(size%16) + 1
		var parts []string
		for s := in; s != ""; {
			k := min(n, len(s))
			parts, s = append(parts, s[:k]), s[k:]
		}
		text, calls := runToolText(t, parts)
		if text != wantText || !reflect.DeepEqual(calls, wantCalls) {
			t.Errorf("%q in parts of %d: got %q %v, want %q %v", in, n, text, calls, wantText, wantCalls)
		}
		if len(wantCalls) == 0 && wantText != in {
			t.Errorf("without a call %q became %q", in, wantText)
		}
		for _, c := range wantCalls {
			if c.Name != "weather" && c.Name != "time" {
				t.Errorf("a call of %q, which was not offered", c.Name)
			}
		}
	})
}

func TestTextHistoryRoundTrip(t *testing.T) {
	in := []inference.Message{
		{Role: inference.RoleUser, Content: "Weather?"},
		{Role: inference.RoleAssistant, Content: "Wait.", ToolCalls: []inference.ToolCall{{ID: "1", Name: "weather", Arguments: `{"city":"Köln"}`}, {ID: "2", Name: "time"}}},
		{Role: inference.RoleTool, ToolCallID: "1", Name: "weather", Content: "rain"},
		{Role: inference.RoleTool, ToolCallID: "2", Content: "noon"},
		{Role: inference.RoleUser, Content: "Thanks"},
	}
	out := textHistory(in)
	want := []inference.Message{
		in[0],
		{Role: inference.RoleAssistant, Content: "Wait.\n" + `<tool_call>{"name": "weather", "arguments": {"city":"Köln"}}</tool_call>` + "\n" + `<tool_call>{"name": "time", "arguments": {}}</tool_call>`},
		{Role: inference.RoleUser, Content: "<tool_response name=\"weather\">\nrain\n</tool_response>\n<tool_response>\nnoon\n</tool_response>"},
		in[4],
	}
	if !reflect.DeepEqual(out, want) {
		t.Errorf("got %+v\nwant %+v", out, want)
	}
	text, calls := runToolText(t, []string{out[1].Content})
	if text != "Wait." || len(calls) != 2 || calls[0].Arguments != `{"city":"Köln"}` || calls[1].Arguments != "{}" {
		t.Errorf("the model's own words read back as %q and %v", text, calls)
	}
}

func TestToolsPromptHoldsEveryTool(t *testing.T) {
	tools := []inference.Tool{weather(), {Name: "time", Description: "<now>"}}
	for _, mode := range []inference.ToolMode{inference.ToolAuto, inference.ToolRequired, inference.ToolNone} {
		text := toolsPrompt(tools, mode)
		_, rest, _ := strings.Cut(text, "<tools>\n")
		lines, _, ok := strings.Cut(rest, "</tools>")
		if !ok {
			t.Fatalf("no tools in %q", text)
		}
		for i, line := range strings.Split(strings.TrimSpace(lines), "\n") {
			var got applyFunction
			if err := json.Unmarshal([]byte(line), &got); err != nil || got.Name != tools[i].Name || got.Description != tools[i].Description {
				t.Errorf("line %d is %s: %v", i, line, err)
			}
		}
		if strings.Contains(text, callOpen) == (mode == inference.ToolNone) {
			t.Errorf("mode %s: the syntax of calls is shown when it must not be, or is not when it must: %q", mode, text)
		}
	}
}
