package router

import (
	"context"
	"encoding/json"
)

// Resource is something that can be read by its URI. Clients see the URI as
// label+uri.
type Resource struct {
	URI         string
	Name        string
	Title       string
	Description string
	MIME        string
	Size        int64 // bytes; 0: unknown
	Annotations json.RawMessage
}

// ResourceTemplate describes resources by a URI template (RFC 6570).
type ResourceTemplate struct {
	URITemplate string
	Name        string
	Title       string
	Description string
	MIME        string
	Annotations json.RawMessage
}

// ResourceContents is what a resource holds: text, or bytes.
type ResourceContents struct {
	URI  string
	MIME string
	Text string
	Blob []byte // nil: Text holds it
}

// ResourceProvider is a Connector that has resources, too.
type ResourceProvider interface {
	// Resources returns at most limit resources behind cursor, which is empty for
	// the first page, and the cursor of the next page, empty at the end.
	Resources(ctx context.Context, cursor string, limit int) (page []Resource, next string, err error)
	ResourceTemplates(ctx context.Context) ([]ResourceTemplate, error)
	// ReadResource reads one, by the connector's own URI. The error is
	// ErrNoResource where there is none.
	ReadResource(ctx context.Context, uri string) ([]ResourceContents, error)
}

// ResourceWatcher is a ResourceProvider that notices changes of contents. They
// come as Change.Resource.
type ResourceWatcher interface {
	// Watch begins to look at a resource; the function returned ends that.
	Watch(ctx context.Context, uri string) (stop func(), err error)
}

// Prompt is a template of messages that a person may choose. Clients see its
// name as label__name.
type Prompt struct {
	Name        string
	Title       string
	Description string
	Arguments   []PromptArgument
}

// PromptArgument is one value that a Prompt takes.
type PromptArgument struct {
	Name        string
	Title       string
	Description string
	Required    bool
}

// PromptMessage is one message of a filled-in prompt.
type PromptMessage struct {
	Role    string // "user" or "assistant"
	Content Content
}

// PromptProvider is a Connector that has prompts, too.
type PromptProvider interface {
	// Prompts returns them in a fixed order. It does not block.
	Prompts() []Prompt
	// Prompt fills one in. The error is a *ToolError where the arguments do not do.
	Prompt(ctx context.Context, name string, arguments map[string]string) (description string, messages []PromptMessage, err error)
}

// Completer completes what a person types for an argument of a prompt or of a
// resource template.
type Completer interface {
	// Complete returns values that begin with, or match, what was typed, and how
	// many there are in all. of is a prompt's name or a template; others are the
	// arguments already given.
	Complete(ctx context.Context, of, argument, typed string, others map[string]string) (values []string, total int, err error)
}
