package chat

import (
	"context"
	"crypto/rand"
	"fmt"

	"hearth/inference"
	"hearth/inference/engine"
)

// LanguageModel is what chat needs to know of a loaded model besides its
// computation. All methods are safe for concurrent use.
type LanguageModel interface {
	Tokenize(text string, o inference.TokenizeOptions) ([]int32, error)
	// Detokenize renders special tokens as their text.
	Detokenize(tokens []int32) (string, error)
	// SchemaToGrammar returns a GBNF grammar whose root rule is "root" and which
	// matches the JSON values that satisfy the schema.
	SchemaToGrammar(schema []byte) (string, error)
	// ControlTexts returns the texts that ParseSpecial reads as control tokens.
	ControlTexts() []string
	// Caps says what the chat template can render: supports_tools,
	// supports_tool_calls, supports_parallel_tool_calls and others.
	Caps() map[string]bool
	// Apply renders a conversation. Input and output are the JSON documents that
	// applyInput and applyOutput describe.
	Apply(input []byte) ([]byte, error)
	// NewParser returns the reader of the answer to an output of Apply.
	NewParser(applyOutput []byte, parseToolCalls bool) (Parser, error)
}

// Parser reads generated text. It is used by one goroutine at a time.
type Parser interface {
	// Parse returns {"content","reasoning_content","tool_calls":[{"id","name",
	// "arguments"}]} as JSON. With partial set the text may end anywhere.
	Parse(text string, partial bool) ([]byte, error)
	// Close frees the parser; it is called once.
	Close() error
}

// eventSource is what chat reads of an engine.Stream.
type eventSource interface {
	Next(ctx context.Context) (engine.Event, error)
	Close() error
}

// submitFunc hands a request to the scheduler.
type submitFunc func(ctx context.Context, r *engine.Request) (eventSource, error)

// Config describes the model that is served.
type Config struct {
	Info inference.ModelInfo
	// BareCalls takes an answer that is nothing but the JSON of a call as the
	// call, where a request does not say otherwise.
	BareCalls bool
	// ClientGrammars lets requests bring a grammar of their own.
	ClientGrammars bool
	// TookBareCall, if not nil, is told of each call that was taken so. It must
	// return at once and be safe for concurrent use.
	TookBareCall func()
}

// Model answers chat and completion requests. It implements [inference.Model].
type Model struct {
	info   inference.ModelInfo
	lm     LanguageModel
	submit submitFunc
	newID  func() string // ids of tool calls

	controls *controls

	bareCalls    bool
	grammars     bool // of clients
	tookBareCall func()

	caps map[string]bool
	// plain: without tools and schemas, generated text is the content as it is.
	plain bool
	// nativeTools: the template renders tools, and their use can be enforced.
	nativeTools bool
	losses      losses // of the template
}

var _ inference.Model = (*Model)(nil)

// New returns a Model for a running engine. It renders two tiny conversations to
// learn what the chat template can do; ModelInfo.TemplateTools of Info says
// afterwards whether the template has a place for tools.
func New(cfg Config, e *engine.Engine, lm LanguageModel) (*Model, error) {
	if e == nil || lm == nil {
		return nil, fmt.Errorf("chat: an engine and a language model are needed")
	}
	return newModel(cfg, lm, func(ctx context.Context, r *engine.Request) (eventSource, error) {
		s, err := e.Submit(ctx, r)
		if err != nil {
			return nil, err // never a typed nil inside the interface
		}
		return s, nil
	})
}

func newModel(cfg Config, lm LanguageModel, submit submitFunc) (*Model, error) {
	if cfg.Info.Context <= 1 || cfg.Info.Vocabulary <= 0 {
		return nil, fmt.Errorf("chat: the model's context (%d tokens) and vocabulary (%d tokens) must be known", cfg.Info.Context, cfg.Info.Vocabulary)
	}
	m := &Model{info: cfg.Info, lm: lm, submit: submit, newID: newCallID, controls: newControls(lm.ControlTexts())}
	m.bareCalls, m.tookBareCall = cfg.BareCalls, cfg.TookBareCall
	m.grammars = cfg.ClientGrammars
	if m.tookBareCall == nil {
		m.tookBareCall = func() {}
	}
	m.info.TemplateTools = false
	if m.info.ChatTemplate {
		m.caps = lm.Caps()
		m.plain = m.probePlain()
		m.nativeTools = m.probeTools()
		m.losses = m.probeLosses()
		m.info.TemplateTools = m.nativeTools
	}
	return m, nil
}

// newCallID returns an unguessable id for a tool call.
func newCallID() string { return "call_" + rand.Text() }

// Info describes the model.
func (m *Model) Info() inference.ModelInfo { return m.info }

// Tokenize turns text into tokens.
func (m *Model) Tokenize(text string, o inference.TokenizeOptions) ([]int32, error) {
	return m.lm.Tokenize(text, o)
}

// Detokenize turns tokens into text; a token outside the vocabulary is an
// *inference.InvalidError.
func (m *Model) Detokenize(tokens []int32) (string, error) {
	if err := m.checkTokens("tokens", tokens); err != nil {
		return "", err
	}
	return m.lm.Detokenize(tokens)
}

func (m *Model) checkTokens(field string, tokens []int32) error {
	for i, t := range tokens {
		if t < 0 || int(t) >= m.info.Vocabulary {
			return inference.Invalid(fmt.Sprintf("%s[%d]", field, i), "token %d is not in the vocabulary (0..%d)", t, m.info.Vocabulary-1)
		}
	}
	return nil
}

// CountChat returns the number of prompt tokens that r would have.
func (m *Model) CountChat(r *inference.ChatRequest) (int, error) {
	p, err := m.prepare(r)
	if err != nil {
		return 0, err
	}
	tokens, err := m.promptTokens(p.prompt)
	return len(tokens), err
}

// Chat starts the assistant's next message. An error means that nothing was
// started.
func (m *Model) Chat(ctx context.Context, r *inference.ChatRequest) (inference.Stream, error) {
	if err := m.validateOptions(&r.Options); err != nil {
		return nil, err
	}
	p, err := m.prepare(r)
	if err != nil {
		return nil, err
	}
	tokens, err := m.promptTokens(p.prompt)
	if err != nil {
		return nil, err
	}
	q, err := m.request(&r.Options, tokens)
	if err != nil {
		return nil, err
	}
	q.Grammar, q.Preserved = p.grammar, p.preserved
	q.Stop = append(append([]string{}, r.Stop...), p.stops...)

	s := &stream{choices: make([]choice, q.Choices)}
	if err := p.decoders(m, s); err != nil {
		return nil, err
	}
	s.src, err = m.submit(ctx, q)
	if err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

// Complete starts a continuation of text or tokens.
func (m *Model) Complete(ctx context.Context, r *inference.CompletionRequest) (inference.Stream, error) {
	if err := m.validateOptions(&r.Options); err != nil {
		return nil, err
	}
	if r.Echo && r.Logprobs {
		return nil, inference.Invalid("echo", "cannot be combined with logprobs: the prompt's own log probabilities are not computed; leave one of the two out")
	}
	tokens, echo := r.Tokens, ""
	var err error
	if tokens != nil {
		if err := m.checkTokens("prompt", tokens); err != nil {
			return nil, err
		}
		if r.Echo {
			if echo, err = m.lm.Detokenize(tokens); err != nil {
				return nil, err
			}
		}
	} else {
		if tokens, err = m.tokenizePrompt(r.Prompt, true, true); err != nil {
			return nil, err
		}
		if r.Echo {
			echo = r.Prompt
		}
	}
	q, err := m.request(&r.Options, tokens)
	if err != nil {
		return nil, err
	}
	q.Stop = r.Stop
	if schema := formatSchema(r.Format); schema != nil {
		gbnf, err := m.schemaGrammar(r.Format)
		if err != nil {
			return nil, err
		}
		q.Grammar = &inference.Grammar{GBNF: gbnf}
	}
	if r.Grammar != "" {
		q.Grammar = clientGrammar(&r.Options, nil)
	}
	s := &stream{choices: make([]choice, q.Choices)}
	for i := range s.choices {
		s.choices[i].dec = plainDecoder{}
		if echo != "" {
			s.queue = append(s.queue, inference.Event{Kind: inference.EventDelta, Choice: i, Content: echo})
		}
	}
	if s.src, err = m.submit(ctx, q); err != nil {
		return nil, err
	}
	return s, nil
}

// request builds what chat and completion requests have in common, and refuses
// what cannot fit the context.
func (m *Model) request(o *inference.Options, prompt []int32) (*engine.Request, error) {
	if len(prompt) == 0 {
		return nil, inference.Invalid("prompt", "must hold at least one token")
	}
	if len(prompt) >= m.info.Context {
		return nil, &inference.OverflowError{Prompt: len(prompt), Context: m.info.Context}
	}
	if o.MaxTokens > 0 && len(prompt)+o.MaxTokens > m.info.Context {
		return nil, &inference.OverflowError{Prompt: len(prompt), Max: o.MaxTokens, Context: m.info.Context}
	}
	adapters, err := inference.ResolveAdapters(o.Adapters, m.info.Adapters)
	if err != nil {
		return nil, err
	}
	return &engine.Request{
		Adapters: adapters,
		Caller:   o.Caller, Priority: o.Priority, ID: o.RequestID, Deadline: o.Deadline,
		Prompt: prompt, Choices: max(o.N, 1), MaxTokens: o.MaxTokens,
		Sampling: o.Sampling, Logprobs: o.Logprobs, TopLogprobs: o.TopLogprobs, Forced: o.Forced,
	}, nil
}
