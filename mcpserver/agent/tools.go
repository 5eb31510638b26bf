package agent

import (
	"context"
	"encoding/json"

	"hearth/inference"
)

// Tool is a tool as the model is told of it.
type Tool struct {
	Label       string // of its connector
	Name        string // the connector's own
	Full        string // as the model and the router name it
	Description string
	Input       json.RawMessage // JSON Schema of the arguments
	ReadOnly    bool
}

// Call is one call that the model made.
type Call struct {
	RequestID string
	Caller    inference.Caller
	// Conversation is one for all calls of a request.
	Conversation string
	Model        string // whose prompt the result enters
	// Untrusted says that the conversation came with what strangers may have written.
	Untrusted bool
	Tool      string // its full name
	Arguments json.RawMessage
	// Ask wants an approval, whatever the policy says; Approval is the id of one
	// that was given, or empty.
	Ask      bool
	Approval string
	// Progress may be called from any goroutine until Call returns.
	Progress func(message string)
}

// Outcome is what a call came to.
type Outcome struct {
	Text    string // what the model reads
	IsError bool
	// Untrusted says that strangers may have written the text.
	Untrusted bool
	// Approval, if not empty, is the id under which the call waits for an approval:
	// nothing was done.
	Approval string
}

// Tools is what the agent asks to run tools: the router, in the product. Both
// methods are safe for concurrent use.
type Tools interface {
	// List returns the tools that the caller may see, in a fixed order.
	List(ctx context.Context, caller inference.Caller) []Tool
	// Call runs one. What goes wrong is an Outcome with IsError; an error is of ctx.
	Call(ctx context.Context, c *Call) (Outcome, error)
}
