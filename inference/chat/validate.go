package chat

import (
	"encoding/json"
	"fmt"
	"regexp"
	"unicode/utf8"

	"hearth/inference"
)

var toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// validateOptions reports the first option out of its range, by the name that
// OpenAI's API gives it.
func (m *Model) validateOptions(o *inference.Options) error {
	if o.N < 0 || o.N > inference.MaxChoices {
		return inference.Invalid("n", "must be between 1 and %d, got %d", inference.MaxChoices, o.N)
	}
	if o.MaxTokens < 0 {
		return inference.Invalid("max_tokens", "must be positive, got %d", o.MaxTokens)
	}
	if len(o.Stop) > inference.MaxStops {
		return inference.Invalid("stop", "may hold at most %d strings, got %d", inference.MaxStops, len(o.Stop))
	}
	for i, s := range o.Stop {
		if s == "" || len(s) > inference.MaxStopBytes {
			return inference.Invalid(fmt.Sprintf("stop[%d]", i), "must have between 1 and %d bytes, got %d", inference.MaxStopBytes, len(s))
		}
	}
	if o.TopLogprobs < 0 || o.TopLogprobs > inference.MaxTopLogprobs {
		return inference.Invalid("top_logprobs", "must be between 0 and %d, got %d", inference.MaxTopLogprobs, o.TopLogprobs)
	}
	if o.TopLogprobs > 0 && !o.Logprobs {
		return inference.Invalid("top_logprobs", "needs logprobs to be true")
	}
	switch o.Format.Kind {
	case "", inference.FormatText, inference.FormatJSONObject:
	case inference.FormatJSONSchema:
		if err := checkSchema("response_format.json_schema.schema", o.Format.Schema, true); err != nil {
			return err
		}
	default:
		return inference.Invalid("response_format.type", "must be text, json_object or json_schema, got %q", o.Format.Kind)
	}
	if err := m.validateGrammar(o); err != nil {
		return err
	}
	return o.Sampling.Validate(m.info.Vocabulary)
}

// validateGrammar refuses a grammar of the client's where there may be none. What
// is in it is read when its sampler is made.
func (m *Model) validateGrammar(o *inference.Options) error {
	switch {
	case o.Grammar == "":
	case !m.grammars:
		return inference.Invalid("grammar", "is switched off on this server (engine.client_grammars): use response_format with a json_schema, or have it switched on")
	case o.Format.Kind != "" && o.Format.Kind != inference.FormatText:
		return inference.Invalid("grammar", "cannot be combined with response_format (of type %s), which is a grammar too: leave one of the two out", o.Format.Kind)
	}
	return nil
}

// clientGrammar returns the grammar of o for an answer whose template marks
// thinking so.
func clientGrammar(o *inference.Options, t *inference.Thinking) *inference.Grammar {
	return &inference.Grammar{GBNF: o.Grammar, Client: true, Thinking: t}
}

// validateChat checks messages and tools, and resolves the tool mode: a request
// without tools has mode none.
func validateChat(r *inference.ChatRequest) (inference.ToolChoice, error) {
	none := inference.ToolChoice{Mode: inference.ToolNone}
	if len(r.Hosted) > 0 {
		return none, inference.Invalid("tools", "asks for tools of type mcp, but this server has no connectors: configure some, or offer functions")
	}
	if len(r.Messages) == 0 {
		return none, inference.Invalid("messages", "must hold at least one message")
	}
	if len(r.Messages) > inference.MaxMessages {
		return none, inference.Invalid("messages", "may hold at most %d messages, got %d: summarize the oldest ones", inference.MaxMessages, len(r.Messages))
	}
	for i := range r.Messages {
		if err := validateMessage(i, &r.Messages[i]); err != nil {
			return none, err
		}
	}
	if len(r.Tools) > inference.MaxTools {
		return none, inference.Invalid("tools", "may hold at most %d tools, got %d", inference.MaxTools, len(r.Tools))
	}
	seen := make(map[string]bool, len(r.Tools))
	for i, t := range r.Tools {
		field := fmt.Sprintf("tools[%d].function", i)
		if !toolName.MatchString(t.Name) {
			return none, inference.Invalid(field+".name", "must be 1 to %d letters, digits, _ or -, got %q", inference.MaxToolNameBytes, t.Name)
		}
		if seen[t.Name] {
			return none, inference.Invalid(field+".name", "%q is the name of an earlier tool too; names must differ", t.Name)
		}
		seen[t.Name] = true
		if err := checkSchema(field+".parameters", t.Parameters, t.Strict && len(t.Parameters) > 0); err != nil {
			return none, err
		}
	}
	return resolveChoice(r, seen)
}

func resolveChoice(r *inference.ChatRequest, names map[string]bool) (inference.ToolChoice, error) {
	c := r.ToolChoice
	if c.Mode == "" {
		c.Mode = inference.ToolAuto
	}
	switch c.Mode {
	case inference.ToolAuto, inference.ToolNone:
		if c.Name != "" {
			return c, inference.Invalid("tool_choice", "a named tool needs mode %q, got %q", inference.ToolRequired, c.Mode)
		}
	case inference.ToolRequired:
		if len(r.Tools) == 0 {
			return c, inference.Invalid("tool_choice", "asks for a tool call, but the request offers no tools")
		}
		if c.Name != "" && !names[c.Name] {
			return c, inference.Invalid("tool_choice", "names the tool %q, which is not among the tools of the request", c.Name)
		}
	default:
		return c, inference.Invalid("tool_choice", "must be auto, none, required or a named tool, got %q", c.Mode)
	}
	if len(r.Tools) == 0 {
		c.Mode = inference.ToolNone
	}
	if c.Mode != inference.ToolNone && formatSchema(r.Format) != nil {
		return c, inference.Invalid("response_format", "cannot be combined with tools: an answer can be held to a schema or to tool calls, not to both at once; set tool_choice to none, or describe the answer as one more tool")
	}
	return c, nil
}

func validateMessage(i int, msg *inference.Message) error {
	at := func(f string) string { return fmt.Sprintf("messages[%d].%s", i, f) }
	switch msg.Role {
	case inference.RoleSystem, inference.RoleUser, inference.RoleAssistant, inference.RoleTool:
	default:
		return inference.Invalid(at("role"), "must be system, user, assistant or tool, got %q", msg.Role)
	}
	if len(msg.ToolCalls) > 0 && msg.Role != inference.RoleAssistant {
		return inference.Invalid(at("tool_calls"), "belongs to messages of the assistant only, not of the %s", msg.Role)
	}
	// A template is given JSON, where each byte that is no text would become U+FFFD.
	if !utf8.ValidString(msg.Content) {
		return inference.Invalid(at("content"), "is not valid UTF-8")
	}
	if !utf8.ValidString(msg.Reasoning) {
		return inference.Invalid(at("reasoning_content"), "is not valid UTF-8")
	}
	for j, c := range msg.ToolCalls {
		if c.Name == "" {
			return inference.Invalid(at(fmt.Sprintf("tool_calls[%d].function.name", j)), "must not be empty")
		}
		if c.Arguments == "" {
			continue
		}
		if err := json.Unmarshal([]byte(c.Arguments), new(json.RawMessage)); err != nil {
			return inference.Invalid(at(fmt.Sprintf("tool_calls[%d].function.arguments", j)), "must be a JSON object as text (%v); if the call was cut off, send it as the message's content instead", err)
		}
	}
	return nil
}
