package inference

import (
	"context"
	"encoding/json"
	"time"
)

// Caller says on whose behalf a request runs.
type Caller struct {
	// Principal is who asks. Fairness between callers is by principal.
	Principal string
	// Tenant groups principals that may share a cache: a cached prefix is never
	// visible outside its tenant.
	Tenant string
	// Weight is the principal's share of what callers have to share, beside others
	// of weight 1 (MinWeight..MaxWeight; 0 is 1). It is no part of who the caller is.
	Weight float64
}

// The bounds of Caller.Weight.
const (
	MinWeight = 0.01
	MaxWeight = 100
)

// Is reports whether two are the same caller.
func (c Caller) Is(other Caller) bool {
	return c.Principal == other.Principal && c.Tenant == other.Tenant
}

// DefaultCaller is the one caller there is until access control exists.
var DefaultCaller = Caller{Principal: "local", Tenant: "default"}

type callerKey struct{}

// WithCaller returns a context that carries c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the caller that ctx carries, or [DefaultCaller].
func CallerFrom(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(Caller); ok {
		return c
	}
	return DefaultCaller
}

// Priority orders requests that wait. Two levels are enough: work a person
// waits for, and work that may wait.
type Priority int

// The priorities. Within one, the oldest request goes first.
const (
	PriorityNormal Priority = iota
	PriorityLow
)

// Role is the author of a message.
type Role string

// The roles that templates know.
const (
	RoleSystem    Role = "system"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// Message is one turn of a conversation. Content is text: parts are joined by
// the dialect that read them.
type Message struct {
	Role      Role
	Content   string
	Reasoning string     // an assistant's earlier thinking, if it is to be kept
	ToolCalls []ToolCall // an assistant's calls
	// ToolCallID names the call that a message of RoleTool answers.
	ToolCallID string
	// Name is the tool's name in a message of RoleTool, a participant's otherwise.
	Name string
}

// ToolCall is one call that the model asks for.
type ToolCall struct {
	ID        string
	Name      string
	Arguments string // a JSON object as text, exactly as the model wrote it
}

// Tool is a function offered to the model.
type Tool struct {
	Name        string // ^[a-zA-Z0-9_-]{1,64}$
	Description string
	Parameters  json.RawMessage // JSON Schema of the arguments; empty: no arguments
	// Strict promises arguments that satisfy Parameters: a schema that the model
	// cannot be held to is then refused.
	Strict bool
}

// ToolMode says whether the model may, must or must not call tools.
type ToolMode string

// The tool modes of OpenAI's tool_choice.
const (
	ToolAuto     ToolMode = "auto"
	ToolNone     ToolMode = "none"
	ToolRequired ToolMode = "required"
)

// ToolChoice is a mode, or one named tool (Mode ToolRequired and Name set).
type ToolChoice struct {
	Mode ToolMode
	Name string
}

// FormatKind is the shape that an answer must have.
type FormatKind string

// The kinds of answer.
const (
	FormatText       FormatKind = "text"
	FormatJSONObject FormatKind = "json_object"
	FormatJSONSchema FormatKind = "json_schema"
)

// Format constrains the answer. Schema is set for FormatJSONSchema.
type Format struct {
	Kind   FormatKind
	Schema json.RawMessage
}

// Options is what chat and completion requests have in common.
type Options struct {
	Caller   Caller
	Priority Priority
	// RequestID ties logs, traces and audit records together.
	RequestID string
	// Deadline ends the request with ErrDeadline when it passes; zero: none.
	Deadline time.Time

	Sampling Sampling
	// MaxTokens bounds the tokens generated for each choice; 0: up to the end
	// of the context. A prompt that leaves less than MaxTokens is refused with
	// an *OverflowError.
	MaxTokens int
	// N is the number of choices (1..MaxChoices); they share one prefill.
	N int
	// Stop ends a choice when its text would contain one of these strings; the
	// string itself is not part of the text. At most MaxStops.
	Stop []string
	// Logprobs asks for the log probability of each token, and of the
	// TopLogprobs (0..MaxTopLogprobs) likeliest alternatives.
	Logprobs    bool
	TopLogprobs int
	Format      Format
	// Grammar, if not empty, is a GBNF grammar that the answer is held to; it
	// stands neither beside a Format nor beside tools that may be called.
	Grammar string
	// Forced says what is done about text that a grammar leaves no choice about;
	// empty: what is configured.
	Forced ForcedText
	// Adapters are the LoRA adapters to compute with, at most MaxAdapters.
	Adapters []AdapterUse
}

// ForcedText says what is done about text that a grammar leaves no choice about.
type ForcedText string

// What can be done about forced text.
const (
	// ForcedOff draws it token by token.
	ForcedOff ForcedText = "off"
	// ForcedGuess computes it beside the token before it and draws it all the
	// same: the tokens are those that come one by one.
	ForcedGuess ForcedText = "guess"
	// ForcedAppend computes it without drawing: the text is cut into tokens as the
	// model's tokenizer does it, which may not be as the model would have.
	ForcedAppend ForcedText = "append"
)

// Validate refuses what is none of these, nor empty, with an *InvalidError about
// field.
func (f ForcedText) Validate(field string) error {
	switch f {
	case "", ForcedOff, ForcedGuess, ForcedAppend:
		return nil
	}
	return Invalid(field, "must be %q, %q or %q, got %q", ForcedOff, ForcedGuess, ForcedAppend, string(f))
}

// ChatRequest asks for the assistant's next message.
type ChatRequest struct {
	Options
	Messages          []Message
	Tools             []Tool
	ToolChoice        ToolChoice
	ParallelToolCalls bool
	// TemplateArgs are handed to the chat template (chat_template_kwargs), JSON
	// values by name.
	TemplateArgs map[string]json.RawMessage
	// NoReasoning asks the template not to open a thinking block.
	NoReasoning bool
	// ReasoningBudget bounds the tokens of a thinking block, which is then closed
	// for the model; nil: no bound.
	ReasoningBudget *int
	// Hosted are tools that the server runs itself while it answers, beside Tools,
	// which the client runs. Models that have no such tools refuse them.
	Hosted []HostedTools
	// Approved are approvals of calls to hosted tools in Messages that have no result
	// yet: they run before the model is asked.
	Approved []Approved
	// BareCalls says whether an answer that is nothing but the JSON of a call is
	// taken as the call; nil: as the model is configured.
	BareCalls *bool
	// LooseCalls takes such an answer as the call also where the tool's schema does
	// not accept the arguments: for who tells the model what is wrong with them.
	LooseCalls bool
	// UnknownCalls takes such an answer as a call also where no tool of that name was
	// offered and the arguments are an object: for who tells the model which there are.
	// An answer that is held to a Format or a Grammar is never one.
	UnknownCalls bool
	// HoldCalls holds such a call to its tool's schema from where it is certain to be
	// one, and ends the answer with it.
	HoldCalls bool
}

// CompletionRequest asks for a continuation of text or tokens.
type CompletionRequest struct {
	Options
	Prompt string
	// Tokens, if not nil, is the prompt instead of Prompt.
	Tokens []int32
	// Echo puts the prompt in front of the answer.
	Echo bool
}

// TokenizeOptions says how text becomes tokens.
type TokenizeOptions struct {
	AddSpecial   bool // add the model's begin-of-sequence token, where it has one
	ParseSpecial bool // read <|special|> text as special tokens
}
