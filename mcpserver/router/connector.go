package router

import (
	"context"
	"encoding/json"
)

// Connector offers tools. All methods are safe for concurrent use.
type Connector interface {
	// Tools returns the tools there are, in a fixed order. It does not block: what
	// has to be asked for elsewhere is asked in the background, and Changed tells
	// when it is there. The caller does not change what it gets.
	Tools() []Tool
	// Run calls a tool. The arguments are valid by the tool's schema; ctx ends at
	// the deadline and when who asked is gone. What the tool cannot do (no such
	// table, the page is not there) is a Result with IsError, or a *ToolError:
	// the model reads it and may mend it. Any other error says that the connector
	// itself failed: it counts for the circuit breaker, and clients read no more
	// of it than that.
	Run(ctx context.Context, c *Call) (*Result, error)
	// Close ends calls in flight and frees everything, once.
	Close(ctx context.Context) error
}

// Changer is a Connector whose lists change while it runs.
type Changer interface {
	// OnChange sets whom to tell after a change, before the first Tools. The
	// function returns quickly and may be called from any goroutine.
	OnChange(func(Change))
}

// Refresher is a Connector that asks elsewhere what it offers, and can ask again.
type Refresher interface {
	// Refresh asks again, and tells of what changed. On an error everything stays as
	// it was.
	Refresh(ctx context.Context) error
}

// Learner is a Connector that may not know yet what it offers, and learns it in the
// background.
type Learner interface {
	// AwaitLists returns when it knows and has told of it, or with the error of an
	// attempt to learn it.
	AwaitLists(ctx context.Context) error
}

// Withholder is a Connector that knows of tools that it does not offer.
type Withholder interface {
	// Missing says why a tool of that name is withheld, in words for a person; empty
	// where it knows none.
	Missing(tool string) string
}

// Foreign is a Connector whose tools others define. What they define must not keep
// this server from starting: a tool that cannot be registered is left out, where it
// otherwise is an error of [Router.Add].
type Foreign interface{ Foreign() }

// Change says which of a connector's lists are not what they were.
type Change struct {
	Tools, Resources, Prompts bool
	// Resource is the URI, as the connector spells it, of one resource whose
	// contents changed; empty: none.
	Resource string
}

// Call is one call of one tool, as a connector sees it.
type Call struct {
	// ID is the request's id, for logs.
	ID string
	// Tool is the connector's own name of the tool.
	Tool string
	// Arguments is a JSON object, valid by the tool's schema.
	Arguments json.RawMessage
	// Principal and Tenant say on whose behalf the call is made.
	Principal, Tenant string
	// Known are the validators of a result of the same call whose time in the cache is
	// over; nil: there is none. Where they still hold, the answer may be a Result that
	// is Unchanged.
	Known *Validators
	// Progress tells who asked how far the call is. It is never nil, is safe for
	// concurrent use and does not block; nothing is told after Run has returned. Of
	// Hearth's own tools (Router.AddOwn) it belongs to the goroutine of the call, and
	// returns when the client has it.
	Progress func(Progress)
	// Heard says that somebody hears what Progress tells.
	Heard bool
	// Peer is who asked, where a connector has to ask back; nil: nobody can be asked.
	Peer Peer
	// Log tells who asked what happens; nil: nobody listens. Like Progress it may be
	// called from any goroutine, until Run has returned.
	Log func(LogMessage)
}

// Progress is how far a call is.
type Progress struct {
	Progress float64 // grows with each one
	Total    float64 // 0: unknown
	Message  string
}

// Peer is who made a call, while it runs.
type Peer interface {
	// Elicit asks the person behind the client for values, by a JSON Schema of flat
	// properties. The answer is "accept" with values, "decline" or "cancel". The
	// error is inference.ErrUnsupported where the client cannot ask.
	Elicit(ctx context.Context, message string, schema json.RawMessage) (action string, values json.RawMessage, err error)
}

// Result is what a tool answered.
type Result struct {
	Content []Content
	// Structured is a JSON object, valid by the tool's output schema where it has
	// one; nil: none.
	Structured json.RawMessage
	// IsError says that the tool could not do it. Content says why.
	IsError bool
	// Untrusted says that this result holds text that strangers may have written,
	// also where the tool's Effects do not say so.
	Untrusted bool
	// Meta is the member _meta of another MCP server's result; nil: none.
	Meta json.RawMessage

	// Validators are by what may be asked later whether the result still holds; nil:
	// it cannot be asked.
	Validators *Validators
	// Unchanged says that the result that Call.Known are of still holds. Nothing else
	// is set.
	Unchanged bool
	// NotKept says that the service does not want the result to be kept in a cache.
	NotKept bool

	// withheld says that the structured content was left out: redacted, it breaks the
	// tool's own schema.
	withheld bool
}

// Text returns a result that is one text.
func Text(text string) *Result {
	return &Result{Content: []Content{{Type: ContentText, Text: text}}}
}

// ContentType says what a Content is.
type ContentType string

// What a result may hold, by the names of the Model Context Protocol.
const (
	ContentText     ContentType = "text"
	ContentImage    ContentType = "image"
	ContentAudio    ContentType = "audio"
	ContentLink     ContentType = "resource_link"
	ContentResource ContentType = "resource"
)

// Content is one piece of a result or of a prompt's message.
type Content struct {
	Type ContentType
	Text string // of ContentText
	Data []byte // of ContentImage and ContentAudio
	MIME string // of ContentImage and ContentAudio
	// Resource is what ContentLink points at.
	Resource Resource
	// Contents is what ContentResource holds.
	Contents ResourceContents
	// Annotations is the member annotations of the protocol; nil: none.
	Annotations json.RawMessage
}

// ToolError says what a tool could not do, in words for the model: what was
// wrong, the bound, the remedy. It must hold no secret.
type ToolError struct{ Message string }

func (e *ToolError) Error() string { return e.Message }
