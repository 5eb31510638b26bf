package openai

import (
	"encoding/json"
	"fmt"
	"strings"

	"hearth/inference"
)

// readChat takes what a chat request has beyond the common options.
func readChat(f *fields, req *inference.ChatRequest) {
	req.ParallelToolCalls = true
	f.boolean("parallel_tool_calls", &req.ParallelToolCalls)
	if bare := true; f.boolean("bare_tool_calls", &bare) {
		req.BareCalls = &bare
	}
	f.boolean("logprobs", &req.Logprobs)
	if f.integer("top_logprobs", &req.TopLogprobs) && req.TopLogprobs > 0 && !req.Logprobs {
		f.fail("top_logprobs", "needs logprobs to be true")
	}
	req.Format = readFormat(f)
	readModalities(f)
	readThinking(f, req)
	readTools(f, req)
	req.ToolChoice = readToolChoice(f)

	parts, ok := f.list("messages")
	if !ok {
		f.fail("messages", "is missing")
		return
	}
	if len(parts) > inference.MaxMessages {
		f.fail("messages", "may hold at most %d messages, got %d: summarize the oldest ones", inference.MaxMessages, len(parts))
		return
	}
	req.Messages = make([]inference.Message, 0, len(parts))
	called := map[string]string{} // names of tools by the ids of their calls
	for i, p := range parts {
		m, before, err := readMessage(fmt.Sprintf("messages[%d]", i), p)
		if err != nil {
			f.failed(err)
			return
		}
		req.Messages = append(req.Messages, before...)
		for _, c := range m.ToolCalls {
			called[c.ID] = c.Name
		}
		if m.Role == inference.RoleTool && m.Name == "" {
			m.Name = called[m.ToolCallID]
		}
		req.Messages = append(req.Messages, m)
	}
}

// readModalities accepts text, which is all there is.
func readModalities(f *fields) {
	parts, ok := f.list("modalities")
	for i, p := range parts {
		if ok && string(p) != `"text"` {
			f.fail(fmt.Sprintf("modalities[%d]", i), "answers are text only")
		}
	}
}

// readThinking takes the template's arguments and the ways to ask for no
// reasoning.
func readThinking(f *fields, req *inference.ChatRequest) {
	if args, ok := f.object("chat_template_kwargs"); ok {
		req.TemplateArgs = args.value
		think := true
		args.boolean("enable_thinking", &think)
		if err := args.err(); err != nil {
			f.failed(err)
		}
		req.NoReasoning = !think
	}
	readBudget(f, req)
	var effort string
	if f.str("reasoning_effort", &effort) && f.err() == nil {
		if effort == "none" {
			req.NoReasoning = true
			return
		}
		if req.TemplateArgs == nil {
			req.TemplateArgs = map[string]json.RawMessage{}
		}
		req.TemplateArgs["reasoning_effort"] = f.value["reasoning_effort"]
	}
}

// readBudget takes the tokens that may be thought, under both of the names that
// llama-server has for them.
func readBudget(f *fields, req *inference.ChatRequest) {
	for _, key := range []string{"thinking_budget_tokens", "reasoning_budget_tokens"} {
		var n int
		if !f.integer(key, &n) {
			continue
		}
		if req.ReasoningBudget != nil && *req.ReasoningBudget != n {
			f.fail(key, "is %d, but thinking_budget_tokens, which means the same, is %d: send one of them", n, *req.ReasoningBudget)
		}
		req.ReasoningBudget = &n
	}
}

func readTools(f *fields, req *inference.ChatRequest) {
	parts, ok := f.list("tools")
	if !ok {
		return
	}
	for i, p := range parts {
		at := fmt.Sprintf("tools[%d]", i)
		if toolType(p) == hostedType {
			o, err := parseObject(at, p)
			if err == nil {
				o.take("type")
				req.Hosted = append(req.Hosted, readHosted(o))
				err = o.err()
			}
			if err != nil {
				f.failed(err)
				return
			}
			continue
		}
		t, err := readTool(at, p)
		if err != nil {
			f.failed(err)
			return
		}
		req.Tools = append(req.Tools, t)
	}
}

func readTool(at string, data json.RawMessage) (inference.Tool, error) {
	var t inference.Tool
	f, err := parseObject(at, data)
	if err != nil {
		return t, err
	}
	kind := "function"
	f.str("type", &kind)
	if kind != "function" {
		f.fail("type", "must be function, or mcp for tools that this server runs, got %q", kind)
	}
	fn, ok := f.object("function")
	if !ok {
		f.fail("function", "is missing")
		return t, f.err()
	}
	fn.str("name", &t.Name)
	fn.str("description", &t.Description)
	fn.boolean("strict", &t.Strict)
	if params, ok := fn.object("parameters"); ok && len(params.value) > 0 {
		t.Parameters = fn.value["parameters"]
	}
	if f.err() != nil {
		return t, f.err()
	}
	return t, fn.err()
}

// readToolChoice takes a mode, or {"type":"function","function":{"name":…}}.
func readToolChoice(f *fields) inference.ToolChoice {
	v, ok := f.take("tool_choice")
	if !ok {
		return inference.ToolChoice{}
	}
	if v[0] == '"' {
		var mode string
		f.str("tool_choice", &mode)
		switch m := inference.ToolMode(mode); m {
		case inference.ToolAuto, inference.ToolNone, inference.ToolRequired:
			return inference.ToolChoice{Mode: m}
		}
		f.fail("tool_choice", "must be auto, none, required or an object that names a function, got %q", mode)
		return inference.ToolChoice{}
	}
	o, ok := f.object("tool_choice")
	if !ok {
		return inference.ToolChoice{}
	}
	var kind, name string
	o.str("type", &kind)
	if kind != "function" {
		o.fail("type", "must be function, got %q", kind)
	}
	if fn, ok := o.object("function"); ok {
		fn.str("name", &name)
		if err := fn.err(); err != nil {
			o.failed(err)
		}
	}
	if name == "" {
		o.fail("function.name", "is missing")
	}
	if err := o.err(); err != nil {
		f.failed(err)
	}
	return inference.ToolChoice{Mode: inference.ToolRequired, Name: name}
}

// readMessage takes one message, and what the server did before it was said: calls
// of hosted tools and their results.
func readMessage(at string, data json.RawMessage) (m inference.Message, before []inference.Message, err error) {
	f, err := parseObject(at, data)
	if err != nil {
		return m, nil, err
	}
	var role string
	f.str("role", &role)
	switch role {
	case "developer":
		m.Role = inference.RoleSystem // OpenAI's newer word for it
	case "system", "user", "assistant", "tool":
		m.Role = inference.Role(role)
	case "function":
		f.fail("role", "function has been replaced: use tool")
	default:
		f.fail("role", "must be system, developer, user, assistant or tool, got %q", role)
	}
	f.refuse("function_call", "has been replaced: use tool_calls")
	f.refuse("audio", "messages are text only")
	f.str("name", &m.Name)
	f.str("tool_call_id", &m.ToolCallID)
	if !f.str("reasoning_content", &m.Reasoning) {
		f.str("reasoning", &m.Reasoning)
	}
	m.ToolCalls = readToolCalls(f)
	if m.Role == inference.RoleAssistant {
		if calls, results := readHostedCalls(f); len(calls) > 0 {
			before = append([]inference.Message{{Role: inference.RoleAssistant, ToolCalls: calls}}, results...)
		}
	}
	var hasContent bool
	m.Content, hasContent = readContent(f)
	if !hasContent && m.Role == inference.RoleAssistant {
		hasContent = f.str("refusal", &m.Content) || len(m.ToolCalls) > 0 || m.Reasoning != ""
	}
	if !hasContent {
		f.fail("content", "is missing")
	}
	return m, before, f.err()
}

// readContent takes a string, or a list of parts, whose texts are joined by line
// breaks.
func readContent(f *fields) (string, bool) {
	v, ok := f.take("content")
	if !ok {
		return "", false
	}
	var text string
	if v[0] == '"' {
		f.str("content", &text)
		return text, true
	}
	if v[0] != '[' {
		f.fail("content", "must be a string or a list of parts, got %s", kind(v))
		return "", true
	}
	parts, _ := f.list("content")
	texts := make([]string, len(parts))
	for i, p := range parts {
		text, err := readPart(fmt.Sprintf("%s[%d]", f.path("content"), i), p)
		if err != nil {
			f.failed(err)
			return "", true
		}
		texts[i] = text
	}
	return strings.Join(texts, "\n"), true
}

func readPart(at string, data json.RawMessage) (string, error) {
	f, err := parseObject(at, data)
	if err != nil {
		return "", err
	}
	var kind, text string
	f.str("type", &kind)
	switch kind {
	case "text", "input_text", "output_text":
		if !f.str("text", &text) {
			f.fail("text", "is missing")
		}
	case "refusal":
		f.str("refusal", &text)
	case "image_url", "input_image":
		return "", inference.Invalid(at, "is an image; the model reads text only, so describe the image in words or leave it out")
	case "input_audio":
		return "", inference.Invalid(at, "is audio; the model reads text only, so send a transcript or leave it out")
	case "file", "input_file":
		return "", inference.Invalid(at, "is a file; the model reads text only, so send the file's text")
	default:
		f.fail("type", "must be text, got %q", kind)
	}
	return text, f.err()
}

func readToolCalls(f *fields) []inference.ToolCall {
	parts, ok := f.list("tool_calls")
	if !ok {
		return nil
	}
	var out []inference.ToolCall
	for i, p := range parts {
		c, err := readToolCall(fmt.Sprintf("%s[%d]", f.path("tool_calls"), i), p)
		if err != nil {
			f.failed(err)
			return nil
		}
		out = append(out, c)
	}
	return out
}

func readToolCall(at string, data json.RawMessage) (inference.ToolCall, error) {
	var c inference.ToolCall
	f, err := parseObject(at, data)
	if err != nil {
		return c, err
	}
	f.str("id", &c.ID)
	fn, ok := f.object("function")
	if !ok {
		f.fail("function", "is missing")
		return c, f.err()
	}
	fn.str("name", &c.Name)
	if v, ok := fn.take("arguments"); ok && v[0] == '{' {
		c.Arguments = string(v) // some clients send the object itself
	} else {
		fn.str("arguments", &c.Arguments)
	}
	if f.err() != nil {
		return c, f.err()
	}
	return c, fn.err()
}
