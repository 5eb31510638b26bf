package openai

import (
	"encoding/json"
	"fmt"
	"strings"

	"hearth/inference"
)

// hostedType is the type of tools that the server runs.
const hostedType = "mcp"

// readHosted takes a tool of type mcp, of which f is the object: tools that the
// server runs, in the form of OpenAI's Responses API.
func readHosted(f *fields) inference.HostedTools {
	var h inference.HostedTools
	if !f.str("server_label", &h.Label) {
		f.fail("server_label", "is missing: it names a connector of this server, or is %q for all", inference.AllLabels)
	}
	for _, key := range []string{"server_url", "connector_id", "authorization", "headers"} {
		f.refuse(key, "cannot be given by a request: what a server may be reached, and how, stands in its configuration (connectors)")
	}
	f.take("server_description")
	f.take("defer_loading")
	readAllowed(f, &h)
	readApproval(f, &h)
	return h
}

// readAllowed takes allowed_tools: names, or {"tool_names", "read_only"}.
func readAllowed(f *fields, h *inference.HostedTools) {
	v, ok := f.take("allowed_tools")
	if !ok {
		return
	}
	if v[0] == '[' {
		h.Allowed = []string{}
		readStrings(f, "allowed_tools", &h.Allowed)
		return
	}
	o, ok := f.object("allowed_tools")
	if !ok {
		return
	}
	readNames(o, h, &h.Allowed)
	if err := o.err(); err != nil {
		f.failed(err)
	}
}

// readNames takes the two ways to choose tools.
func readNames(o *fields, h *inference.HostedTools, names *[]string) {
	readStrings(o, "tool_names", names)
	if h != nil {
		o.boolean("read_only", &h.ReadOnly)
	} else {
		o.refuse("read_only", "cannot choose here: name the tools")
	}
}

// readApproval takes require_approval: always, never, or the tools of each. Where
// nothing is said, the server's policy decides alone; it always decides, too.
func readApproval(f *fields, h *inference.HostedTools) {
	v, ok := f.take("require_approval")
	if !ok {
		return
	}
	if v[0] == '"' {
		var mode string
		f.str("require_approval", &mode)
		if h.AskAlways = mode == "always"; !h.AskAlways && mode != "never" {
			f.fail("require_approval", "must be always, never or an object that names tools, got %.40q", mode)
		}
		return
	}
	o, ok := f.object("require_approval")
	if !ok {
		return
	}
	for _, k := range []struct {
		key   string
		names *[]string
	}{{"always", &h.Ask}, {"never", &h.Free}} {
		if part, ok := o.object(k.key); ok {
			readNames(part, nil, k.names)
			if err := part.err(); err != nil {
				f.failed(err)
			}
		}
	}
	if err := o.err(); err != nil {
		f.failed(err)
	}
}

// hostedCall is a call that the server ran, as answers show it and as clients send
// it back.
type hostedCall struct {
	Type      string  `json:"type"` // "mcp_call", or "mcp_approval_request"
	ID        string  `json:"id"`
	Label     string  `json:"server_label"`
	Name      string  `json:"name"`
	Arguments string  `json:"arguments"`
	Output    *string `json:"output,omitempty"`
	Error     *string `json:"error,omitempty"`
	Status    string  `json:"status,omitempty"`
	Approval  string  `json:"approval_request_id,omitempty"`
}

// The states of a hostedCall.
const (
	callRunning   = "in_progress"
	callCompleted = "completed"
	callFailed    = "failed"
	callWaits     = "needs_approval"
)

// wireHosted returns what h says of a call from Running on; nil for what chunks of
// a chat leave out.
func wireHosted(h *inference.HostedCall) *hostedCall {
	c := &hostedCall{Type: "mcp_call", ID: h.ID, Label: h.Label, Name: h.Name, Arguments: h.Arguments, Status: callRunning}
	switch h.Stage {
	case inference.HostedRunning:
	case inference.HostedApproval:
		c.Type, c.Status, c.Approval = "mcp_approval_request", callWaits, h.Approval
	case inference.HostedDone:
		c.finish(h)
	default:
		return nil
	}
	return c
}

// finish takes over how the call ended.
func (c *hostedCall) finish(h *inference.HostedCall) {
	if h.Arguments != "" {
		c.Arguments = h.Arguments
	}
	if h.IsError {
		c.Status, c.Error = callFailed, &h.Output
		return
	}
	c.Status, c.Output = callCompleted, &h.Output
}

// fullName is the name under which the model knows a tool of a connector.
func fullName(label, name string) string { return label + "__" + name }

// readHostedCalls takes mcp_calls of an assistant's message that a client sends
// back: the calls, and the messages with their results.
func readHostedCalls(f *fields) (calls []inference.ToolCall, results []inference.Message) {
	parts, ok := f.list("mcp_calls")
	if !ok {
		return nil, nil
	}
	for i, p := range parts {
		o, err := parseObject(fmt.Sprintf("%s[%d]", f.path("mcp_calls"), i), p)
		if err != nil {
			f.failed(err)
			return nil, nil
		}
		call, result := readHostedCall(o)
		if err := o.err(); err != nil {
			f.failed(err)
			return nil, nil
		}
		calls = append(calls, call)
		if result != nil {
			results = append(results, *result)
		}
	}
	return calls, results
}

// readHostedCall takes one call, and its result where it has one.
func readHostedCall(o *fields) (call inference.ToolCall, result *inference.Message) {
	var label, name, output, failure string
	o.take("type")
	o.str("id", &call.ID)
	o.str("server_label", &label)
	o.str("name", &name)
	o.str("arguments", &call.Arguments)
	done := o.str("output", &output)
	if v, ok := o.take("error"); ok {
		if v[0] == '"' {
			o.str("error", &failure)
		} else {
			failure = readCallError(o)
		}
		output, done = failure, true
	}
	for key, v := range map[string]string{"id": call.ID, "server_label": label, "name": name} {
		if v == "" {
			o.fail(key, "is missing")
		}
	}
	call.Name = fullName(label, name)
	if done {
		result = &inference.Message{Role: inference.RoleTool, ToolCallID: call.ID, Name: call.Name, Content: output}
	}
	return call, result
}

// readCallError takes the texts of an error that is an object.
func readCallError(o *fields) string {
	e, ok := o.object("error")
	if !ok {
		return ""
	}
	var texts []string
	e.take("type")
	parts, _ := e.list("content")
	for i, p := range parts {
		text, err := readPart(fmt.Sprintf("%s[%d]", e.path("content"), i), p)
		if err != nil {
			o.failed(err)
			return ""
		}
		texts = append(texts, text)
	}
	if err := e.err(); err != nil {
		o.failed(err)
	}
	return strings.Join(texts, "\n")
}

// roundUsage is what one answer of the model's took, where a request took more
// than one.
type roundUsage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CachedTokens     int `json:"cached_tokens"`
	CompletionTokens int `json:"completion_tokens"`
}

func wireRound(u *inference.Usage) roundUsage {
	return roundUsage{PromptTokens: u.PromptTokens, CachedTokens: u.CachedTokens, CompletionTokens: u.CompletionTokens}
}

// toolType returns the type of the tool in data; "function" where it has none.
func toolType(data json.RawMessage) string {
	var t struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(data, &t) != nil || strings.TrimSpace(t.Type) == "" {
		return "function"
	}
	return t.Type
}
