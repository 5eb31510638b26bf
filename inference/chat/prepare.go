package chat

import (
	"errors"
	"fmt"
	"time"

	"hearth/inference"
)

// prepared is a conversation made ready for the engine.
type prepared struct {
	prompt    promptText
	grammar   *inference.Grammar
	preserved []int32
	stops     []string
	thinking  *inference.Thinking // nil: the template marks none
	// decoders gives the choices of a stream their decoders.
	decoders func(m *Model, s *stream) error
}

// prepare validates r and renders it, with the constraints it asks for.
func (m *Model) prepare(r *inference.ChatRequest) (*prepared, error) {
	p, err := m.prepareAnswer(r)
	if err != nil {
		return nil, m.locate(r, err)
	}
	return p, m.boundThinking(r, p)
}

// locate makes an error about the messages one about the message at fault: the
// last one of a beginning that the template refuses, while it renders what is
// before. If it refuses a conversation that cannot be at fault, the tools are.
func (m *Model) locate(r *inference.ChatRequest, err error) error {
	var by *templateError
	var inv *inference.InvalidError
	if !errors.As(err, &by) || !errors.As(err, &inv) || inv.Field != "messages" || len(r.Messages) == 0 {
		return err
	}
	if len(r.Tools) > 0 {
		part := *r
		part.Messages = []inference.Message{{Role: inference.RoleUser, Content: "Hello"}}
		if _, err := m.prepareAnswer(&part); errors.As(err, &by) {
			return inference.Invalid("tools", "(even if nothing but a greeting is said) %s", inv.Reason)
		}
	}
	good, bad := 0, len(r.Messages)
	for bad-good > 1 {
		part := *r
		part.Messages = r.Messages[:(good+bad)/2]
		if _, err := m.prepareAnswer(&part); err == nil {
			good = len(part.Messages)
		} else {
			bad = len(part.Messages)
		}
	}
	return inference.Invalid(fmt.Sprintf("messages[%d]", bad-1), "(of the %s) %s", r.Messages[bad-1].Role, inv.Reason)
}

func (m *Model) prepareAnswer(r *inference.ChatRequest) (*prepared, error) {
	if !m.info.ChatTemplate {
		return nil, fmt.Errorf("%w: %s has no chat template; use text completion instead", inference.ErrUnsupported, m.info.ID)
	}
	choice, err := validateChat(r)
	if err != nil {
		return nil, err
	}
	if r.Grammar != "" && choice.Mode != inference.ToolNone {
		return nil, inference.Invalid("grammar", "cannot be combined with tools that may be called, whose calls have a grammar of their own: leave one of the two out, or set tool_choice to none")
	}
	if err := m.checkLosses(r.Messages); err != nil {
		return nil, err
	}
	joined := *r
	joined.Messages = joinSystem(r.Messages)
	r = &joined
	in := &applyInput{
		ToolChoice:          choice.Mode,
		ParallelToolCalls:   r.ParallelToolCalls && m.caps["supports_parallel_tool_calls"],
		AddGenerationPrompt: true,
		EnableThinking:      !r.NoReasoning,
		TemplateKwargs:      r.TemplateArgs,
	}
	switch {
	case len(r.Tools) > 0 && m.nativeTools:
		return m.prepareNative(r, choice, in)
	case len(r.Tools) > 0:
		return m.prepareText(r, choice, in)
	}
	in.Messages = m.history(r.Messages)
	return m.prepareFree(r, in)
}

// history renders the past for the template: calls and results become text
// where it has no place for them.
func (m *Model) history(messages []inference.Message) []applyMessage {
	if !m.nativeTools {
		messages = textHistory(messages)
	}
	if m.losses.split {
		messages = splitCalls(messages)
	}
	out := applyMessages(messages)
	for i := range out {
		if m.losses.reasoned {
			out[i].Reasoning = "" // else the template leaves the content out
		}
	}
	return out
}

// prepareFree prepares a conversation without tools that may be called.
func (m *Model) prepareFree(r *inference.ChatRequest, in *applyInput) (*prepared, error) {
	schema := formatSchema(r.Format)
	if schema != nil && !m.plain {
		in.JSONSchema = schema
	}
	out, err := m.apply(in)
	if err != nil {
		return nil, err
	}
	p := &prepared{prompt: out.prompt, preserved: out.Preserved, stops: out.Stops, thinking: out.thinking()}
	plain := m.plain && !out.SupportsThinking
	switch {
	case r.Grammar != "":
		p.grammar = clientGrammar(&r.Options, p.thinking)
	case schema == nil:
	case plain:
		gbnf, err := m.schemaGrammar(r.Format)
		if err != nil {
			return nil, err
		}
		p.grammar = &inference.Grammar{GBNF: gbnf}
	default:
		if p.grammar, err = m.formatGrammar(r.Format, out); err != nil {
			return nil, err
		}
	}
	p.decoders = func(m *Model, s *stream) error {
		if plain {
			for i := range s.choices {
				s.choices[i].dec = plainDecoder{}
			}
			return nil
		}
		parse, err := m.newParser(out, false, s)
		if err != nil {
			return err
		}
		for i := range s.choices {
			s.choices[i].dec = m.templateDecoder(parse, p.thinking)
		}
		return nil
	}
	return p, nil
}

func (m *Model) templateDecoder(parse func(string, bool) (message, error), th *inference.Thinking) *templateDecoder {
	d := &templateDecoder{parse: parse, newID: m.newID, now: time.Now}
	if th != nil {
		d.ends = th.Ends
	}
	return d
}

// maxGrammarBytes is what a grammar may have before the schemas of tools are left
// out of it.
const maxGrammarBytes = 256 << 10

// prepareNative prepares a conversation with tools for a template that has a
// place for them.
func (m *Model) prepareNative(r *inference.ChatRequest, choice inference.ToolChoice, in *applyInput) (*prepared, error) {
	if choice.Mode == inference.ToolNone {
		in.Tools, in.Messages = applyTools(r.Tools), m.history(r.Messages)
		return m.prepareFree(r, in)
	}
	in.Messages, in.Tools = m.history(r.Messages), applyTools(r.Tools)
	out, err := m.apply(in)
	if err != nil {
		return nil, err
	}
	prompt := out.prompt
	callable := callableTools(r.Tools, choice)
	tools, large := callable, !fits(callable) || len(out.Grammar) > maxGrammarBytes
	if large {
		if tools, err = reduce(callable); err != nil {
			return nil, err
		}
	}
	if large || len(callable) < len(r.Tools) {
		// The prompt shows every tool in full; what may be written is narrower.
		in.Tools = applyTools(tools)
		if out, err = m.apply(in); err != nil {
			return nil, err
		}
	}
	p := &prepared{prompt: prompt, grammar: out.grammar(), preserved: out.Preserved, stops: out.Stops, thinking: out.thinking()}
	if choice.Mode == inference.ToolRequired && (p.grammar == nil || p.grammar.Lazy) {
		return nil, fmt.Errorf("%w: the chat template of %s offers no way to require a tool call; set tool_choice to auto", inference.ErrUnsupported, m.info.ID)
	}
	tighten(p.grammar, choice.Mode == inference.ToolRequired && !out.SupportsThinking, !r.ParallelToolCalls)
	names := toolNames(callable)
	p.decoders = func(m *Model, s *stream) error {
		parse, err := m.newParser(out, true, s)
		if err != nil {
			return err
		}
		for i := range s.choices {
			d := m.templateDecoder(parse, p.thinking)
			d.names, d.one = names, !r.ParallelToolCalls
			s.choices[i].dec = d
		}
		return nil
	}
	return p, m.takeBareCalls(r, choice.Mode, callable, p)
}

// takeBareCalls lets the decoders of p take an answer that is nothing but the
// JSON of a call as the call, where the model is free to call one, and holds it to
// its schema where r asks for that.
func (m *Model) takeBareCalls(r *inference.ChatRequest, mode inference.ToolMode, callable []inference.Tool, p *prepared) error {
	take := m.bareCalls
	if r.BareCalls != nil {
		take = *r.BareCalls
	}
	if !take || mode != inference.ToolAuto {
		return nil
	}
	tools := make(map[string]*inference.Tool, len(callable))
	for i := range callable {
		tools[callable[i].Name] = &callable[i]
	}
	unknown := r.UnknownCalls && (r.Format.Kind == "" || r.Format.Kind == inference.FormatText) && r.Grammar == ""
	inner := p.decoders
	p.decoders = func(m *Model, s *stream) error {
		if err := inner(m, s); err != nil {
			return err
		}
		for i := range s.choices {
			s.choices[i].dec = &bareCalls{inner: s.choices[i].dec, newID: m.newID, taken: m.tookBareCall, loose: r.LooseCalls, scan: bareScan{tools: tools, any: unknown}}
		}
		return nil
	}
	if r.HoldCalls {
		return m.holdBareCalls(p, callable)
	}
	return nil
}

// prepareText prepares a conversation with tools for a template without a place
// for them: they stand in the system prompt, and calls are text.
func (m *Model) prepareText(r *inference.ChatRequest, choice inference.ToolChoice, in *applyInput) (*prepared, error) {
	messages := withTools(textHistory(r.Messages), r.Tools, choice.Mode)
	in.Messages, in.ToolChoice = applyMessages(messages), inference.ToolNone
	if choice.Mode == inference.ToolNone {
		return m.prepareFree(r, in)
	}
	p, err := m.prepareFree(r, in)
	if err != nil {
		return nil, err
	}
	callable := callableTools(r.Tools, choice)
	open, err := m.callOpenToken()
	if err != nil {
		return nil, err
	}
	if p.grammar, err = m.callGrammar(callable, r.ParallelToolCalls, choice.Mode, open); err != nil {
		return nil, err
	}
	if open >= 0 {
		p.preserved = append(append([]int32{}, p.preserved...), open)
	}
	free, names := p.decoders, toolNames(callable)
	p.decoders = func(m *Model, s *stream) error {
		if err := free(m, s); err != nil {
			return err
		}
		for i := range s.choices {
			split, _ := s.choices[i].dec.(*templateDecoder) // nil: plain text
			s.choices[i].dec = &textTools{split: split, tools: &toolText{names: names, newID: m.newID}}
		}
		return nil
	}
	return p, m.takeBareCalls(r, choice.Mode, callable, p)
}

// callableTools returns the tools that the choice allows to call.
func callableTools(tools []inference.Tool, choice inference.ToolChoice) []inference.Tool {
	if choice.Name == "" {
		return tools
	}
	for i := range tools {
		if tools[i].Name == choice.Name {
			return tools[i : i+1]
		}
	}
	return nil
}

func toolNames(tools []inference.Tool) map[string]bool {
	names := make(map[string]bool, len(tools))
	for i := range tools {
		names[tools[i].Name] = true
	}
	return names
}
