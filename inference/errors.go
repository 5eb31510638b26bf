package inference

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The sentinels: what can go wrong with a request, whoever asks. Test with
// errors.Is; [Classify] maps them to HTTP and JSON-RPC.
var (
	ErrInvalid       = errors.New("invalid request")
	ErrOverflow      = errors.New("context overflow")
	ErrModelNotFound = errors.New("model not found")
	ErrLoading       = errors.New("model is loading")
	ErrBusy          = errors.New("queue is full")
	ErrDeadline      = errors.New("deadline exceeded")
	ErrCancelled     = errors.New("request cancelled")
	ErrShutdown      = errors.New("server is shutting down")
	ErrEngine        = errors.New("inference engine failed")
	ErrUnsupported   = errors.New("not supported by this model")
	ErrToolNotFound  = errors.New("tool not found")
	ErrApproval      = errors.New("approval required")
	ErrUnavailable   = errors.New("unavailable")
)

// InvalidError names the field of a request that cannot be used, and why.
type InvalidError struct {
	Field  string // as the client spelled it: "messages[2].role"
	Reason string // with the bound and what to do
}

func (e *InvalidError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}

// Unwrap makes errors.Is(err, ErrInvalid) true.
func (e *InvalidError) Unwrap() error { return ErrInvalid }

// Invalid returns an *InvalidError.
func Invalid(field, format string, args ...any) error {
	return &InvalidError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// TextTooLong returns the error of a text of so many bytes, more than MaxTextBytes.
func TextTooLong(bytes int) error {
	return Invalid("", "the text has %d bytes, and at most %d can be tokenized at once: shorten it, or send it in parts", bytes, MaxTextBytes)
}

// OverflowError says that prompt and answer do not fit the context.
type OverflowError struct {
	Prompt  int // tokens of the prompt
	Max     int // tokens asked for as answer; 0 if the prompt alone is too long
	Context int // tokens there are for one request
}

func (e *OverflowError) Error() string {
	if e.Max == 0 {
		return fmt.Sprintf("the prompt has %d tokens and the context holds %d, at least one of which must be left for the answer: shorten the prompt or serve the model with a larger context", e.Prompt, e.Context)
	}
	return fmt.Sprintf("the prompt has %d tokens and max_tokens asks for %d more, %d in all, but the context holds %d: lower max_tokens to %d, or shorten the prompt", e.Prompt, e.Max, e.Prompt+e.Max, e.Context, max(e.Context-e.Prompt, 0))
}

// Unwrap makes errors.Is(err, ErrOverflow) true.
func (e *OverflowError) Unwrap() error { return ErrOverflow }

// ModelError says that no model of that id is served.
type ModelError struct {
	ID     string
	Served []string
}

func (e *ModelError) Error() string {
	return fmt.Sprintf("no model %q is served here; there is: %s", e.ID, strings.Join(e.Served, ", "))
}

// Unwrap makes errors.Is(err, ErrModelNotFound) true.
func (e *ModelError) Unwrap() error { return ErrModelNotFound }

// RetryError is a refusal that time cures (ErrBusy, ErrLoading, ErrShutdown).
type RetryError struct {
	Err   error
	After time.Duration
}

func (e *RetryError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RetryError) Unwrap() error { return e.Err }

// Status is how an error looks to a client, whatever the protocol.
type Status struct {
	HTTP       int           // HTTP status code
	Type       string        // "type" in OpenAI's error object
	Code       string        // "code" in OpenAI's error object
	RPC        int           // JSON-RPC error code
	Field      string        // "param" in OpenAI's error object
	Message    string        // safe to show: never the text of an unknown error
	RetryAfter time.Duration // zero: retrying does not help
}

// statusTable maps sentinels to statuses. It is the only such table.
var statusTable = []struct {
	err    error
	status Status
}{
	{ErrOverflow, Status{HTTP: 400, Type: "invalid_request_error", Code: "context_length_exceeded", RPC: -32602}},
	{ErrUnsupported, Status{HTTP: 400, Type: "invalid_request_error", Code: "unsupported", RPC: -32602}},
	{ErrInvalid, Status{HTTP: 400, Type: "invalid_request_error", Code: "invalid_value", RPC: -32602}},
	{ErrModelNotFound, Status{HTTP: 404, Type: "invalid_request_error", Code: "model_not_found", RPC: -32602}},
	{ErrToolNotFound, Status{HTTP: 404, Type: "invalid_request_error", Code: "tool_not_found", RPC: -32602}},
	{ErrApproval, Status{HTTP: 403, Type: "invalid_request_error", Code: "approval_required", RPC: -32004}},
	{ErrUnavailable, Status{HTTP: 503, Type: "server_error", Code: "unavailable", RPC: -32005, RetryAfter: time.Second}},
	{ErrBusy, Status{HTTP: 429, Type: "rate_limit_error", Code: "queue_full", RPC: -32001, RetryAfter: time.Second}},
	{ErrLoading, Status{HTTP: 503, Type: "server_error", Code: "model_loading", RPC: -32002, RetryAfter: 2 * time.Second}},
	{ErrShutdown, Status{HTTP: 503, Type: "server_error", Code: "shutting_down", RPC: -32002, RetryAfter: 5 * time.Second}},
	{ErrDeadline, Status{HTTP: 504, Type: "server_error", Code: "deadline_exceeded", RPC: -32003}},
	{context.DeadlineExceeded, Status{HTTP: 504, Type: "server_error", Code: "deadline_exceeded", RPC: -32003}},
	{ErrCancelled, Status{HTTP: 499, Type: "server_error", Code: "cancelled", RPC: -32800}},
	{context.Canceled, Status{HTTP: 499, Type: "server_error", Code: "cancelled", RPC: -32800}},
	{ErrEngine, Status{HTTP: 500, Type: "server_error", Code: "engine_error", RPC: -32603}},
}

// Classify maps err to what a client sees. An error that is not in the table is
// a 500 whose message tells nothing: its text may hold what is not the client's.
func Classify(err error) Status {
	for _, row := range statusTable {
		if !errors.Is(err, row.err) {
			continue
		}
		s := row.status
		s.Message = err.Error()
		var inv *InvalidError
		if errors.As(err, &inv) {
			s.Field = inv.Field
		}
		var retry *RetryError
		if errors.As(err, &retry) && retry.After > 0 {
			s.RetryAfter = retry.After
		}
		return s
	}
	return Status{HTTP: 500, Type: "server_error", Code: "internal_error", RPC: -32603, Message: "internal error; the server's log has the details under this request's id"}
}
