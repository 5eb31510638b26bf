package inference

import (
	"context"
	"time"
)

// FinishReason says why a choice ended.
type FinishReason string

// The reasons, as OpenAI's API spells them.
const (
	FinishStop      FinishReason = "stop"       // end-of-generation token or stop string
	FinishLength    FinishReason = "length"     // MaxTokens, or the context is full
	FinishToolCalls FinishReason = "tool_calls" // the answer is one or more tool calls
)

// EventKind tells what an [Event] carries.
type EventKind int

// The kinds of event. A stream is any number of EventProgress, then EventDelta
// and EventFinish of the choices interleaved, then one EventUsage, then io.EOF.
// Where the server runs tools, EventHosted come between, EventTools before all
// of them, and one EventRound after each answer of the model's, the last included.
const (
	EventProgress EventKind = iota // Progress is set
	EventDelta                     // Choice and at least one of Content, Reasoning, ToolCall, Logprobs
	EventFinish                    // Choice and Finish
	EventUsage                     // Usage: the last event of a stream that ended well
	EventTools                     // Tools: what the server offers the model
	EventHosted                    // Hosted: a call that the server runs
	EventRound                     // Usage of one answer of the model's
)

// Event is one step of an answer.
type Event struct {
	Kind      EventKind
	Choice    int // 0..N-1
	Content   string
	Reasoning string
	ToolCall  *ToolCallDelta
	Logprobs  []TokenLogprob // of the tokens decoded since the last event of this choice
	Finish    FinishReason
	Progress  Progress
	Usage     Usage
	Tools     *HostedList
	Hosted    *HostedCall
}

// ToolCallDelta is a piece of a tool call. ID and Name are set on the first
// piece of a call and only there; Arguments of all pieces joined are the JSON
// text of the arguments.
type ToolCallDelta struct {
	Index     int
	ID        string
	Name      string
	Arguments string
}

// Progress is how much of the prompt was computed.
type Progress struct {
	Prefilled int // tokens of the prompt now in the cache, shared ones included
	Prompt    int // tokens of the prompt
}

// TokenLogprob is a token with its natural log probability under the model's
// distribution before any sampling stage but logit bias.
type TokenLogprob struct {
	Token   int32
	Bytes   []byte // the token's text; may be a part of a UTF-8 character
	Logprob float32
	Top     []TokenLogprob // likeliest first; nil inside Top itself
}

// Usage counts the tokens of a request.
type Usage struct {
	PromptTokens     int
	CompletionTokens int // of all choices
	// CachedTokens of the prompt were shared with an earlier computation and
	// not computed again.
	CachedTokens int
	// TTFT is from submission to the first token; zero if there was none.
	TTFT time.Duration
	// Duration is from submission to the end.
	Duration time.Duration
}

// Stream delivers the events of one request, in order.
type Stream interface {
	// Next returns the next event, io.EOF after the last, or the error that
	// ended the request. If ctx ends first, Next returns ctx.Err() and the
	// stream goes on: a caller may use a short ctx to send keep-alives.
	Next(ctx context.Context) (Event, error)
	// Close cancels what still runs: its cells are free after the steps in
	// flight, two at most. It is safe to call more than once and from any goroutine.
	Close() error
}
