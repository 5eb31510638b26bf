package openai

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth/inference"
)

func ran(stage inference.HostedStage, c inference.HostedCall) inference.Event {
	c.Stage, c.Label = stage, "db"
	return inference.Event{Kind: inference.EventHosted, Hosted: &c}
}

func round(prompt, cached, completion int) inference.Event {
	ev := used(prompt, completion, cached)
	ev.Kind = inference.EventRound
	return ev
}

// withTools is an answer of three rounds: a call that works and one that fails, a
// call that waits for an approval beside one of the client's.
func withTools() []inference.Event {
	return []inference.Event{
		{Kind: inference.EventTools, Tools: &inference.HostedList{Label: "db", Tools: []inference.HostedTool{{Name: "query", Description: "Ask.", Input: json.RawMessage(`{"type":"object"}`), ReadOnly: true}}}},
		{Kind: inference.EventProgress, Progress: inference.Progress{Prefilled: 9, Prompt: 9}},
		{Kind: inference.EventDelta, Reasoning: "I must look."},
		text(0, "Let me see."),
		ran(inference.HostedBegun, inference.HostedCall{ID: "c1", Name: "query"}),
		ran(inference.HostedArguments, inference.HostedCall{ID: "c1", Name: "query", Arguments: `{"a":`}),
		ran(inference.HostedArguments, inference.HostedCall{ID: "c1", Name: "query", Arguments: `1}`}),
		ran(inference.HostedBegun, inference.HostedCall{ID: "c2", Name: "query"}),
		round(9, 0, 5),
		ran(inference.HostedRunning, inference.HostedCall{ID: "c1", Name: "query", Arguments: `{"a":1}`}),
		ran(inference.HostedRunning, inference.HostedCall{ID: "c2", Name: "query", Arguments: `{}`}),
		ran(inference.HostedDone, inference.HostedCall{ID: "c2", Name: "query", Arguments: `{}`, Output: "no such table", IsError: true}),
		ran(inference.HostedDone, inference.HostedCall{ID: "c1", Name: "query", Arguments: `{"a":1}`, Output: "42 rows"}),
		text(0, "\n\nThere are 42."),
		ran(inference.HostedBegun, inference.HostedCall{ID: "c3", Name: "drop"}),
		call(0, 0, "f1", "mine", `{"x":`), call(0, 0, "", "", `1}`),
		round(30, 14, 6),
		ran(inference.HostedApproval, inference.HostedCall{ID: "c3", Name: "drop", Arguments: `{"t":1}`, Approval: "ap9", Output: "needs an approval"}),
		finish(0, inference.FinishToolCalls), used(39, 11, 14),
	}
}

func TestResponseGoldens(t *testing.T) {
	cut := []inference.Event{text(0, "There "), finish(0, inference.FinishLength), used(9, 2, 4)}
	for _, c := range []struct {
		name, path, body string
		events           []inference.Event
		err              error
	}{
		{"response_tools.sse", "/v1/responses", `{"input":"Hi","stream":true,"tools":[{"type":"mcp","server_label":"db"}]}`, withTools(), io.EOF},
		{"response_tools.json", "/v1/responses", `{"input":"Hi","tools":[{"type":"mcp","server_label":"db"}],"instructions":"Be brief.","metadata":{"a":"b"}}`, withTools(), io.EOF},
		{"response_cut.sse", "/v1/responses", `{"input":"Hi","stream":true,"max_output_tokens":2,"include":["message.output_text.logprobs"]}`, cut, io.EOF},
		{"response_broken.sse", "/v1/responses", `{"input":"Hi","stream":true}`, cut[:1], &inference.RetryError{Err: inference.ErrShutdown}},
		{"chat_hosted.sse", "/v1/chat/completions", `{"messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true},"tools":[{"type":"mcp","server_label":"db"}]}`, withTools(), io.EOF},
		{"chat_hosted.json", "/v1/chat/completions", `{"messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"mcp","server_label":"db"}]}`, withTools(), io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeModels{script: func() *script { return says(c.err, c.events...) }}
			resp, body := post(t, newServer(t, f, nil), c.path, c.body)
			if resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			golden(t, c.name, body)
		})
	}
}

// TestResponseEventsAreInOrder holds what client libraries rely on: numbers without
// a gap, an item is added before anything is said of it and done once, and the last
// event holds all items as they were told.
func TestResponseEventsAreInOrder(t *testing.T) {
	f := &fakeModels{script: func() *script { return says(io.EOF, withTools()...) }}
	_, body := post(t, newServer(t, f, nil), "/v1/responses", `{"input":"Hi","stream":true,"tools":[{"type":"mcp","server_label":"db"}]}`)
	next, added, done := 0, map[float64]bool{}, map[float64]any{}
	var last map[string]any
	for block := range strings.SplitSeq(strings.TrimSpace(body), "\n\n") {
		name, data, ok := strings.Cut(block, "\n")
		var ev map[string]any
		if !ok || json.Unmarshal([]byte(strings.TrimPrefix(data, "data: ")), &ev) != nil {
			t.Fatalf("no event: %q", block)
		}
		if ev["type"] != strings.TrimPrefix(name, "event: ") || ev["sequence_number"] != float64(next) {
			t.Fatalf("event %d is %s with type %v and number %v", next, name, ev["type"], ev["sequence_number"])
		}
		next++
		last = ev
		at, has := ev["output_index"].(float64)
		switch {
		case !has:
		case ev["type"] == "response.output_item.added":
			if added[at] || int(at) != len(added) {
				t.Errorf("item %v is added as number %d", at, len(added))
			}
			added[at] = true
		case !added[at] || done[at] != nil:
			t.Errorf("%v is told of item %v, which is not open", ev["type"], at)
		case ev["type"] == "response.output_item.done":
			done[at] = ev["item"]
		}
	}
	if last["type"] != "response.completed" || len(done) != len(added) {
		t.Fatalf("ended with %v; %d items added, %d done", last["type"], len(added), len(done))
	}
	for i, item := range last["response"].(map[string]any)["output"].([]any) {
		if diff := cmp.Diff(done[float64(i)], item); diff != "" {
			t.Errorf("item %d changed after it was done:\n%s", i, diff)
		}
	}
}

// responseOf sends a request and returns what the model was asked.
func responseOf(t *testing.T, body string) *inference.ChatRequest {
	t.Helper()
	f := &fakeModels{refuse: inference.ErrBusy}
	resp, answer := post(t, newServer(t, f, nil), "/v1/responses", body)
	if resp.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("%d %s", resp.StatusCode, answer)
	}
	return f.chat
}

func TestResponseInput(t *testing.T) {
	user := inference.Message{Role: inference.RoleUser, Content: "Hi"}
	asks := func(id, name, arguments string) inference.ToolCall {
		return inference.ToolCall{ID: id, Name: name, Arguments: arguments}
	}
	says := func(content string, calls ...inference.ToolCall) inference.Message {
		return inference.Message{Role: inference.RoleAssistant, Content: content, ToolCalls: calls}
	}
	gives := func(id, name, content string) inference.Message {
		return inference.Message{Role: inference.RoleTool, ToolCallID: id, Name: name, Content: content}
	}
	const hi = `{"role":"user","content":"Hi"}`
	const wants = `{"type":"mcp_approval_request","id":"mcpr_r1_c1.ap9","server_label":"db","name":"drop","arguments":"{}"}`
	for _, c := range []struct {
		name, input string
		want        []inference.Message
		approved    []inference.Approved
	}{
		{"a text", `"Hi"`, []inference.Message{user}, nil},
		{"parts", `[{"type":"message","role":"user","content":[{"type":"input_text","text":"Hi"}]}]`, []inference.Message{user}, nil},
		{
			"thought, text and call are one message", `[` + hi + `,
			{"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"Hm."}]},
			{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Wait.","annotations":[]}]},
			{"type":"function_call","call_id":"f1","name":"time","arguments":"{}"},
			{"type":"function_call","call_id":"f2","name":"date","arguments":"{}"},
			{"type":"function_call_output","call_id":"f2","output":[{"type":"input_text","text":"today"}]},
			{"type":"function_call_output","call_id":"f1","output":"noon"}]`,
			[]inference.Message{user, {Role: inference.RoleAssistant, Content: "Wait.", Reasoning: "Hm.", ToolCalls: []inference.ToolCall{asks("f1", "time", "{}"), asks("f2", "date", "{}")}}, gives("f2", "date", "today"), gives("f1", "time", "noon")},
			nil,
		},
		{
			"hosted calls in two rounds", `[` + hi + `,
			{"type":"mcp_list_tools","id":"mcpl_1","server_label":"db","tools":[]},
			{"type":"mcp_call","id":"mcp_r1_c1","server_label":"db","name":"query","arguments":"{\"a\":1}","output":"one","error":null},
			{"type":"mcp_call","id":"mcp_r1_c2","server_label":"db","name":"query","arguments":"{}","output":null,"error":{"type":"mcp_tool_execution_error","content":[{"type":"text","text":"none"}]}},
			{"type":"mcp_call","id":"mcp_r2_c3","server_label":"db","name":"query","arguments":"{}","output":"three"},
			{"role":"assistant","content":"Done."},{"role":"user","content":"Hi"}]`,
			[]inference.Message{
				user, says("", asks("c1", "db__query", `{"a":1}`), asks("c2", "db__query", "{}")), gives("c1", "db__query", "one"), gives("c2", "db__query", "none"),
				says("", asks("c3", "db__query", "{}")), gives("c3", "db__query", "three"), says("Done."), user,
			},
			nil,
		},
		{
			"an approval", `[` + hi + `,` + wants + `,{"type":"mcp_approval_response","approval_request_id":"mcpr_r1_c1.ap9","approve":true}]`,
			[]inference.Message{user, says("", asks("c1", "db__drop", "{}"))},
			[]inference.Approved{{Call: "c1", Approval: "ap9"}},
		},
		{
			"a refusal", `[` + hi + `,` + wants + `,{"type":"mcp_approval_response","approval_request_id":"mcpr_r1_c1.ap9","approve":false},` + hi + `]`,
			[]inference.Message{user, says("", asks("c1", "db__drop", "{}")), gives("c1", "", inference.RefusedCall), user},
			nil,
		},
		{
			"an approval that was used", `[` + hi + `,` + wants + `,{"type":"mcp_approval_response","approval_request_id":"mcpr_r1_c1.ap9","approve":true},
			{"type":"mcp_call","id":"mcp_r1_c1","server_label":"db","name":"drop","arguments":"{}","output":"gone"},{"role":"assistant","content":"Done."}]`,
			[]inference.Message{user, says("", asks("c1", "db__drop", "{}")), gives("c1", "db__drop", "gone"), says("Done.")},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := responseOf(t, `{"input":`+c.input+`}`)
			if diff := cmp.Diff(c.want, got.Messages); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			if len(got.Approved) != len(c.approved) || len(c.approved) > 0 && got.Approved[0] != c.approved[0] {
				t.Errorf("approved %+v, want %+v", got.Approved, c.approved)
			}
		})
	}
}

func TestResponseOptions(t *testing.T) {
	got := responseOf(t, `{"input":"Hi","instructions":"Be brief.","max_output_tokens":7,"temperature":0.5,"store":false,"truncation":"disabled","include":["reasoning.encrypted_content"],
		"text":{"format":{"type":"json_schema","name":"x","schema":{"type":"object"}}},"reasoning":{"effort":"low"},"parallel_tool_calls":false,
		"tools":[{"type":"function","name":"time","description":"d","strict":true,"parameters":{"type":"object"}},
			{"type":"mcp","server_label":"db","server_description":"x","allowed_tools":["query"],"require_approval":{"always":{"tool_names":["query"]},"never":{"tool_names":["list"]}}},
			{"type":"mcp","server_label":"*","allowed_tools":{"tool_names":["a"],"read_only":true},"require_approval":"always"}],
		"tool_choice":{"type":"mcp","server_label":"db","name":"query"}}`)
	want := []inference.HostedTools{
		{Label: "db", Allowed: []string{"query"}, Ask: []string{"query"}, Free: []string{"list"}},
		{Label: "*", Allowed: []string{"a"}, ReadOnly: true, AskAlways: true},
	}
	if diff := cmp.Diff(want, got.Hosted); diff != "" {
		t.Errorf("hosted tools (-want +got):\n%s", diff)
	}
	if got.MaxTokens != 7 || got.Format.Kind != inference.FormatJSONSchema || got.ParallelToolCalls || got.ToolChoice.Name != "db__query" || got.ToolChoice.Mode != inference.ToolRequired {
		t.Errorf("read as %+v", got)
	}
	if got.Messages[0].Role != inference.RoleSystem || string(got.TemplateArgs["reasoning_effort"]) != `"low"` || len(got.Tools) != 1 || got.Tools[0].Name != "time" || !got.Tools[0].Strict {
		t.Errorf("read as %+v", got)
	}
}

func TestResponseRefusals(t *testing.T) {
	for _, c := range []struct{ body, field, says string }{
		{`{}`, "input", "is missing"},
		{`{"input":3}`, "input", "must be a text or a list of items, got a number"},
		{`{"input":"a","previous_response_id":"resp_1"}`, "previous_response_id", "send the whole conversation as input"},
		{`{"input":"a","conversation":"c"}`, "conversation", "send the whole conversation"},
		{`{"input":"a","background":true}`, "background", "stored"},
		{`{"input":"a","truncation":"auto"}`, "truncation", "never cut silently"},
		{`{"input":"a","max_output_tokens":0}`, "max_output_tokens", "at least 1"},
		{`{"input":"a","max_tokens":3}`, "max_tokens", "is max_output_tokens here"},
		{`{"input":[{"type":"item_reference","id":"x"}]}`, "input[0].type", "send the item itself"},
		{`{"input":[{"type":"image_generation_call"}]}`, "input[0].type", "is not known"},
		{`{"input":[{"role":"user","content":[{"type":"input_image","image_url":"x"}]}]}`, "input[0].content[0]", "reads text only"},
		{`{"input":[{"type":"mcp_approval_response","approval_request_id":"x","approve":true}]}`, "input[0].approval_request_id", "send that item, too"},
		{`{"input":[{"type":"mcp_call","id":"x","name":"a"}]}`, "input[0].server_label", "is missing"},
		{`{"input":"a","tools":[{"type":"web_search"}]}`, "tools[0].type", "must be function, or mcp"},
		{`{"input":"a","tools":[{"type":"mcp","server_label":"x","server_url":"http://h"}]}`, "tools[0].server_url", "stands in its configuration"},
		{`{"input":"a","tools":[{"type":"mcp"}]}`, "tools[0].server_label", "is missing"},
		{`{"input":"a","tools":[{"type":"mcp","server_label":"x","require_approval":"maybe"}]}`, "tools[0].require_approval", "must be always, never"},
		{`{"input":"a","tool_choice":{"type":"mcp","server_label":"db"}}`, "tool_choice.name", "is missing"},
		{`{"input":"a","text":{"format":{"type":"json_schema"}}}`, "text.format.schema", "is missing"},
	} {
		resp, body := post(t, newServer(t, &fakeModels{}, nil), "/v1/responses", c.body)
		e := errorOf(t, body)
		if resp.StatusCode != 400 || e.Param == nil || *e.Param != c.field || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: %d %s, want %s: %s", c.body, resp.StatusCode, body, c.field, c.says)
		}
	}
}

// TestHostedCallsComeBack: a chat message as it was answered is what the model said
// and did.
func TestHostedCallsComeBack(t *testing.T) {
	got := chatOf(t, `{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"One.","mcp_calls":[
		{"type":"mcp_call","id":"c1","server_label":"db","name":"query","arguments":"{}","output":"one","status":"completed"},
		{"type":"mcp_call","id":"c2","server_label":"db","name":"query","arguments":"{}","error":"none","status":"failed"}]}]}`)
	want := []inference.Message{
		{Role: inference.RoleUser, Content: "Hi"},
		{Role: inference.RoleAssistant, ToolCalls: []inference.ToolCall{{ID: "c1", Name: "db__query", Arguments: "{}"}, {ID: "c2", Name: "db__query", Arguments: "{}"}}},
		{Role: inference.RoleTool, ToolCallID: "c1", Name: "db__query", Content: "one"},
		{Role: inference.RoleTool, ToolCallID: "c2", Name: "db__query", Content: "none"},
		{Role: inference.RoleAssistant, Content: "One."},
	}
	if diff := cmp.Diff(want, got.Messages); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}
