package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"hearth/inference"
)

// applyInput is the document that LanguageModel.Apply reads.
type applyInput struct {
	Messages            []applyMessage             `json:"messages"`
	Tools               []applyTool                `json:"tools,omitempty"`
	ToolChoice          inference.ToolMode         `json:"tool_choice"` // auto, none or required
	ParallelToolCalls   bool                       `json:"parallel_tool_calls"`
	JSONSchema          json.RawMessage            `json:"json_schema,omitempty"`
	AddGenerationPrompt bool                       `json:"add_generation_prompt"`
	EnableThinking      bool                       `json:"enable_thinking"`
	TemplateKwargs      map[string]json.RawMessage `json:"template_kwargs,omitempty"`
}

type applyMessage struct {
	Role       inference.Role `json:"role"`
	Content    string         `json:"content"`
	Reasoning  string         `json:"reasoning_content,omitempty"`
	ToolCalls  []applyCall    `json:"tool_calls,omitempty"`
	ToolCallID string         `json:"tool_call_id,omitempty"`
	Name       string         `json:"name,omitempty"`
}

type applyCall struct {
	Type     string `json:"type"`
	ID       string `json:"id,omitempty"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type applyTool struct {
	Type     string        `json:"type"`
	Function applyFunction `json:"function"`
}

type applyFunction struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters"`
}

// applyOutput is the document that LanguageModel.Apply writes.
type applyOutput struct {
	Prompt      string `json:"prompt"`
	Grammar     string `json:"grammar"`
	GrammarLazy bool   `json:"grammar_lazy"`
	Triggers    []struct {
		Type  int    `json:"type"`
		Value string `json:"value"`
		Token int32  `json:"token"`
	} `json:"triggers"`
	Preserved        []int32  `json:"preserved_tokens"`
	Stops            []string `json:"stops"`
	GenerationPrompt string   `json:"generation_prompt"`
	SupportsThinking bool     `json:"supports_thinking"`
	ThinkingStart    string   `json:"thinking_start"`
	ThinkingEnds     []string `json:"thinking_ends"`

	raw    []byte // the document itself, for NewParser
	prompt promptText
}

func (o *applyOutput) grammar() *inference.Grammar {
	if o.Grammar == "" {
		return nil
	}
	g := &inference.Grammar{GBNF: o.Grammar, Lazy: o.GrammarLazy}
	for _, t := range o.Triggers {
		g.Triggers = append(g.Triggers, inference.Trigger{Kind: inference.TriggerKind(t.Type), Value: t.Value, Token: t.Token})
	}
	if !g.Lazy {
		// The template's grammar describes the whole turn of the assistant, of
		// which the prompt holds the beginning. A lazy one starts later.
		g.Prefill = o.GenerationPrompt
	}
	return g
}

var (
	freeText  = regexp.MustCompile(`(?m)^(root ::=.*?) until-[0-9]+\? `)
	manyCalls = regexp.MustCompile(`(?m)^(tool-calls ::= \([^()]*\))\+$`)
)

// tighten narrows a template's grammar, which is wider than what was asked for
// in two places: it lets a model that must call a tool write anything before,
// for ever, and one that may call once call more than once. A grammar of another
// form stays as it is; of many calls the decoder passes on the first.
func tighten(g *inference.Grammar, atOnce, once bool) {
	if g == nil {
		return
	}
	if atOnce {
		g.GBNF = freeText.ReplaceAllString(g.GBNF, "$1 ")
	}
	if once {
		g.GBNF = manyCalls.ReplaceAllString(g.GBNF, "$1")
	}
}

func (m *Model) apply(in *applyInput) (*applyOutput, error) {
	doc, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("write the template's input: %w", err)
	}
	out, err := m.render(doc)
	if err != nil {
		return nil, err
	}
	out.prompt.text = out.Prompt
	mark := newMark()
	if marked, changed := m.controls.markJSON(doc, mark); changed {
		// Only the prompt is of use: in grammar and parser the marks would be wrong.
		with, err := m.render(marked)
		if err != nil {
			return nil, err
		}
		out.prompt = promptText{text: with.Prompt, mark: mark}
	}
	return out, nil
}

// templateError is what a template says of a conversation that it refuses.
type templateError struct{ error }

func (e *templateError) Unwrap() error { return e.error }

func (m *Model) render(doc []byte) (_ *applyOutput, err error) {
	out := &applyOutput{}
	if out.raw, err = m.lm.Apply(doc); err != nil {
		return nil, &templateError{refused("messages", "the model's chat template refuses this conversation", err)}
	}
	if err := json.Unmarshal(out.raw, out); err != nil {
		return nil, fmt.Errorf("read the template's output: %w", err)
	}
	return out, nil
}

// parameters returns the schema of a tool's arguments; without one it takes none.
func parameters(t *inference.Tool) json.RawMessage {
	if len(t.Parameters) == 0 {
		return json.RawMessage(`{"type":"object","properties":{}}`)
	}
	return t.Parameters
}

func applyTools(tools []inference.Tool) []applyTool {
	out := make([]applyTool, len(tools))
	for i := range tools {
		out[i] = applyTool{Type: "function", Function: applyFunction{
			Name: tools[i].Name, Description: tools[i].Description, Parameters: parameters(&tools[i]),
		}}
	}
	return out
}

func applyMessages(messages []inference.Message) []applyMessage {
	out := make([]applyMessage, len(messages))
	for i, msg := range messages {
		out[i] = applyMessage{Role: msg.Role, Content: msg.Content, Reasoning: msg.Reasoning, ToolCallID: msg.ToolCallID, Name: msg.Name}
		for _, c := range msg.ToolCalls {
			call := applyCall{Type: "function", ID: c.ID}
			call.Function.Name, call.Function.Arguments = c.Name, c.Arguments
			if c.Arguments == "" {
				call.Function.Arguments = "{}"
			}
			out[i].ToolCalls = append(out[i].ToolCalls, call)
		}
	}
	return out
}

// probe is text with the marks that template parsers look for.
const probe = "One <b>two</b>\n\n{\"a\": [1]} >>>three\n```json\n{}\n```\n"

// probePlain reports whether the template's parser leaves text as it is when
// there are no tools, so that it need not be asked.
func (m *Model) probePlain() bool {
	out, err := m.apply(&applyInput{
		Messages: []applyMessage{{Role: inference.RoleUser, Content: "Hello"}}, ToolChoice: inference.ToolNone,
		AddGenerationPrompt: true, EnableThinking: true,
	})
	if err != nil || out.SupportsThinking {
		return false
	}
	p, err := m.lm.NewParser(out.raw, false)
	if err != nil {
		return false
	}
	g := &guardedParser{p: p}
	defer g.close()
	msg, err := parserFunc(g)(probe, false)
	return err == nil && msg.Content == probe && msg.Reasoning == "" && len(msg.ToolCalls) == 0
}

// probeTools reports whether the template has a place for tools and a form of
// calls that a grammar can require.
func (m *Model) probeTools() bool {
	if !m.caps["supports_tools"] || !m.caps["supports_tool_calls"] {
		return false
	}
	out, err := m.apply(&applyInput{
		Messages: []applyMessage{{Role: inference.RoleUser, Content: "Hello"}},
		Tools: applyTools([]inference.Tool{{
			Name: "probe", Description: "Checks.",
			Parameters: json.RawMessage(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`),
		}}),
		ToolChoice: inference.ToolRequired, AddGenerationPrompt: true,
	})
	return err == nil && out.Grammar != ""
}

// newParser opens the template's parser for the stream s.
func (m *Model) newParser(out *applyOutput, toolCalls bool, s *stream) (func(string, bool) (message, error), error) {
	p, err := m.lm.NewParser(out.raw, toolCalls)
	if err != nil {
		return nil, fmt.Errorf("open the template's parser: %w", errors.Join(inference.ErrEngine, err))
	}
	s.parser = &guardedParser{p: p}
	return parserFunc(s.parser), nil
}
