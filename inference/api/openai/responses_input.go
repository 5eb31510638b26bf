package openai

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hearth/inference"
)

// readInput takes instructions and input, a text or a list of items.
func readInput(f *fields, req *inference.ChatRequest) {
	c := &conversation{approvals: map[string]string{}}
	var text string
	if f.str("instructions", &text) && text != "" {
		c.add(inference.Message{Role: inference.RoleSystem, Content: text})
	}
	v, ok := f.take("input")
	switch {
	case !ok:
		f.fail("input", "is missing: it is a text, or a list of items")
		return
	case v[0] == '"':
		f.str("input", &text)
		c.add(inference.Message{Role: inference.RoleUser, Content: text})
	case v[0] == '[':
		items, _ := f.list("input")
		if len(items) > inference.MaxMessages {
			f.fail("input", "may hold at most %d items, got %d: summarize the oldest ones", inference.MaxMessages, len(items))
			return
		}
		for i, item := range items {
			if err := c.item(fmt.Sprintf("input[%d]", i), item); err != nil {
				f.failed(err)
				return
			}
		}
	default:
		f.fail("input", "must be a text or a list of items, got %s", kind(v))
		return
	}
	c.flush()
	req.Messages, req.Approved = c.messages, c.approved()
}

// conversation makes messages of items. What the assistant said and called in one
// go is one message, and the results of its calls follow it.
type conversation struct {
	messages []inference.Message
	approves []inference.Approved

	open      *inference.Message  // the assistant's, that still grows
	round     int                 // of the hosted calls in open
	results   []inference.Message // of them
	approvals map[string]string   // calls by the ids of the requests to approve them
}

func (c *conversation) add(m inference.Message) {
	c.flush()
	c.messages = append(c.messages, m)
}

func (c *conversation) flush() {
	if c.open != nil {
		c.messages = append(c.messages, *c.open)
		c.messages = append(c.messages, c.results...)
	}
	c.open, c.results, c.round = nil, nil, 0
}

// assistant returns the message that grows. Text behind calls, and thoughts behind
// text or calls, begin another one.
func (c *conversation) assistant(closed func(m *inference.Message) bool) *inference.Message {
	if c.open != nil && closed(c.open) {
		c.flush()
	}
	if c.open == nil {
		c.open = &inference.Message{Role: inference.RoleAssistant}
	}
	return c.open
}

func (c *conversation) item(at string, data json.RawMessage) error {
	f, err := parseObject(at, data)
	if err != nil {
		return err
	}
	kind := "message"
	f.str("type", &kind)
	switch kind {
	case "message":
		return c.message(at, f, data)
	case "reasoning":
		c.reasoning(f)
	case "function_call":
		c.functionCall(f)
	case "function_call_output":
		c.functionOutput(f)
	case "mcp_list_tools": // the server lists them itself
	case "mcp_call", "mcp_approval_request":
		c.hosted(f, kind)
	case "mcp_approval_response":
		c.approval(f)
	case "item_reference":
		f.fail("type", "item_reference needs stored items, which there are none of here: send the item itself")
	default:
		f.fail("type", "%.60q is not known: message, reasoning, function_call, function_call_output, mcp_list_tools, mcp_call, mcp_approval_request and mcp_approval_response are", kind)
	}
	return f.err()
}

// message takes a message; the assistant's grows.
func (c *conversation) message(at string, f *fields, data json.RawMessage) error {
	if err := f.err(); err != nil {
		return err
	}
	m, _, err := readMessage(at, data)
	if err != nil {
		return err
	}
	if m.Role != inference.RoleAssistant {
		c.add(m)
		return nil
	}
	open := c.assistant(func(m *inference.Message) bool { return len(m.ToolCalls) > 0 || m.Content != "" })
	open.Content = m.Content
	if m.Reasoning != "" {
		open.Reasoning = m.Reasoning
	}
	return nil
}

// reasoning takes what was thought: its text, else its summary.
func (c *conversation) reasoning(f *fields) {
	var texts []string
	for _, key := range []string{"content", "summary"} {
		parts, _ := f.list(key)
		if len(texts) > 0 {
			break
		}
		for i, p := range parts {
			o, err := parseObject(fmt.Sprintf("%s[%d]", f.path(key), i), p)
			if err != nil {
				f.failed(err)
				return
			}
			var text string
			o.str("text", &text)
			if err := o.err(); err != nil {
				f.failed(err)
				return
			}
			texts = append(texts, text)
		}
	}
	m := c.assistant(func(m *inference.Message) bool { return len(m.ToolCalls) > 0 || m.Content != "" })
	m.Reasoning += strings.Join(texts, "\n")
}

func (c *conversation) functionCall(f *fields) {
	var call inference.ToolCall
	if !f.str("call_id", &call.ID) {
		f.fail("call_id", "is missing")
	}
	if !f.str("name", &call.Name) {
		f.fail("name", "is missing")
	}
	f.str("arguments", &call.Arguments)
	m := c.assistant(func(*inference.Message) bool { return false })
	m.ToolCalls = append(m.ToolCalls, call)
}

// functionOutput takes the result of a function, a text or a list of parts.
func (c *conversation) functionOutput(f *fields) {
	m := inference.Message{Role: inference.RoleTool}
	if !f.str("call_id", &m.ToolCallID) {
		f.fail("call_id", "is missing")
	}
	if v, ok := f.take("output"); ok && v[0] == '[' {
		parts, _ := f.list("output")
		texts := make([]string, len(parts))
		for i, p := range parts {
			text, err := readPart(fmt.Sprintf("%s[%d]", f.path("output"), i), p)
			if err != nil {
				f.failed(err)
				return
			}
			texts[i] = text
		}
		m.Content = strings.Join(texts, "\n")
	} else if !f.str("output", &m.Content) {
		f.fail("output", "is missing")
	}
	c.flush()
	for i := len(c.messages) - 1; i >= 0 && m.Name == ""; i-- {
		for _, call := range c.messages[i].ToolCalls {
			if call.ID == m.ToolCallID {
				m.Name = call.Name
			}
		}
	}
	c.messages = append(c.messages, m)
}

// hosted takes a call that the server ran, or wants approved. Calls of one answer
// of the model's stand in one message.
func (c *conversation) hosted(f *fields, kind string) {
	call, result := readHostedCall(f)
	if f.err() != nil {
		return
	}
	item := call.ID
	round, id := splitHostedID(item)
	call.ID = id
	if result != nil {
		result.ToolCallID = id
	}
	if kind == "mcp_approval_request" {
		c.approvals[item] = id
	}
	if result != nil && c.waits(id) {
		c.add(*result) // it was approved after it had been asked for
		return
	}
	m := c.assistant(func(m *inference.Message) bool {
		return len(m.ToolCalls) > 0 && c.round != 0 && c.round != round
	})
	c.round = round
	m.ToolCalls = append(m.ToolCalls, call)
	if result != nil {
		c.results = append(c.results, *result)
	}
}

// waits says whether the call of that id stands in the conversation without its
// result.
func (c *conversation) waits(id string) bool {
	is := func(t inference.ToolCall) bool { return t.ID == id }
	called := c.open != nil && slices.ContainsFunc(c.open.ToolCalls, is)
	for _, part := range [][]inference.Message{c.messages, c.results} {
		for i := range part {
			if part[i].Role == inference.RoleTool && part[i].ToolCallID == id {
				return false
			}
			called = called || slices.ContainsFunc(part[i].ToolCalls, is)
		}
	}
	return called
}

// approval takes the answer to an approval request.
func (c *conversation) approval(f *fields) {
	var id string
	approve := false
	f.str("approval_request_id", &id)
	if !f.boolean("approve", &approve) {
		f.fail("approve", "is missing")
	}
	f.take("reason")
	call, known := c.approvals[id]
	if !known {
		f.fail("approval_request_id", "%.80q is not an mcp_approval_request of this input: send that item, too", id)
		return
	}
	if !approve {
		c.add(inference.Message{Role: inference.RoleTool, ToolCallID: call, Content: inference.RefusedCall})
		return
	}
	c.flush()
	c.approves = append(c.approves, inference.Approved{Call: call, Approval: approvalOf(id)})
}

// approved returns the approvals of calls that have not run yet.
func (c *conversation) approved() []inference.Approved {
	return slices.DeleteFunc(c.approves, func(a inference.Approved) bool { return !c.waits(a.Call) })
}

// Ids of hosted calls say in which round of the request they were made, and those
// of approval requests also under which id the approval is kept, so that a
// conversation that is sent back gives the very prompt that it had:
// mcp_r2_CALL, mcpr_r2_CALL.APPROVAL.
func hostedID(round int, call string) string { return fmt.Sprintf("mcp_r%d_%s", round, call) }

func approvalID(round int, call, approval string) string {
	return fmt.Sprintf("mcpr_r%d_%s.%s", round, call, approval)
}

// splitHostedID takes an id apart. One that is not of this form is the call's own.
func splitHostedID(id string) (round int, call string) {
	rest, ok := strings.CutPrefix(id, "mcp_r")
	if !ok {
		if rest, ok = strings.CutPrefix(id, "mcpr_r"); !ok {
			return 0, id
		}
		if i := strings.LastIndexByte(rest, '.'); i >= 0 {
			rest = rest[:i]
		}
	}
	number, call, found := strings.Cut(rest, "_")
	n, err := strconv.Atoi(number)
	if !found || err != nil || n < 1 {
		return 0, id
	}
	return n, call
}

// approvalOf returns the approval in the id of an approval request.
func approvalOf(id string) string {
	if i := strings.LastIndexByte(id, '.'); i >= 0 {
		return id[i+1:]
	}
	return ""
}

// readResponseTools takes functions, whose fields lie flat here, and hosted tools.
func readResponseTools(f *fields, req *inference.ChatRequest) {
	parts, _ := f.list("tools")
	for i, p := range parts {
		o, err := parseObject(fmt.Sprintf("tools[%d]", i), p)
		if err == nil {
			readResponseTool(o, req)
			err = o.err()
		}
		if err != nil {
			f.failed(err)
			return
		}
	}
}

func readResponseTool(o *fields, req *inference.ChatRequest) {
	var kind string
	o.str("type", &kind)
	switch kind {
	case hostedType:
		req.Hosted = append(req.Hosted, readHosted(o))
	case "function":
		var t inference.Tool
		o.str("name", &t.Name)
		o.str("description", &t.Description)
		o.boolean("strict", &t.Strict)
		if params, ok := o.object("parameters"); ok && len(params.value) > 0 {
			t.Parameters = o.value["parameters"]
		}
		req.Tools = append(req.Tools, t)
	default:
		o.fail("type", "must be function, or mcp for tools that this server runs, got %.40q", kind)
	}
}

// readResponseChoice takes a mode or one tool.
func readResponseChoice(f *fields) inference.ToolChoice {
	v, ok := f.take("tool_choice")
	if !ok || v[0] == '"' {
		return readToolChoice(f)
	}
	o, ok := f.object("tool_choice")
	if !ok {
		return inference.ToolChoice{}
	}
	choice := inference.ToolChoice{Mode: inference.ToolRequired}
	var kind, label string
	o.str("type", &kind)
	o.str("name", &choice.Name)
	switch kind {
	case "function":
		if choice.Name == "" {
			o.fail("name", "is missing")
		}
	case hostedType:
		o.str("server_label", &label)
		if label == "" || choice.Name == "" {
			o.fail("name", "is missing, or server_label is: one tool can be required, or any by the mode required")
		}
		choice.Name = fullName(label, choice.Name)
	default:
		o.fail("type", "must be function or mcp, got %.40q", kind)
	}
	if err := o.err(); err != nil {
		f.failed(err)
	}
	return choice
}
