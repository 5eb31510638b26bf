package router

import (
	"encoding/json"
	"regexp"
	"time"
)

// Bounds of what connectors register.
const (
	// MaxNameBytes bounds the name of a tool as clients see it, label and all:
	// what the common clients accept.
	MaxNameBytes = 64
	// MaxSchemaBytes bounds one JSON Schema of a tool.
	MaxSchemaBytes = 256 << 10
	// Separator stands between the label of a connector and the name of its tool.
	Separator = "__"
)

// Label is what the label of a connector must look like. It is the first part of
// the names of its tools and, with a "+" behind it, of the URIs of its resources.
var Label = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// full returns the name by which clients know what a connector names own. A
// connector without a label is Hearth's own part: its names stand as they are.
func full(label, separator, own string) string {
	if label == "" {
		return own
	}
	return label + separator + own
}

// ToolName is what the name of a tool must look like, as clients see it.
var ToolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Tool is a tool as its connector offers it.
type Tool struct {
	// Name is the connector's own, without its label.
	Name        string
	Title       string // for people; may be empty
	Description string // for models
	// Input is the JSON Schema of the arguments, always of an object.
	Input json.RawMessage
	// Output is the JSON Schema of Result.Structured; nil: none is promised.
	Output  json.RawMessage
	Effects Effects
	// Idempotent says that the same call again changes nothing more.
	Idempotent bool
	// Cacheable is how long the result of the same arguments may be given again
	// without a call; 0: never. Only of tools that only read.
	Cacheable time.Duration
	// Timeout ends a call; 0: the connector's.
	Timeout time.Duration
	// Delegates says that all a call does it does by calls of other tools, which are
	// decided, limited and recorded themselves: neither the policy nor what was read
	// before wants an approval of this one.
	Delegates bool `json:",omitempty"` // left out, so that definitions of other tools keep their hash
	// Meta is the member _meta of a tool of another MCP server; nil: none.
	Meta json.RawMessage
}

// Effects is what a call may do. The router acts on it: what only reads is
// allowed, all else needs an allowance or an approval.
type Effects struct {
	// Writes says that a call changes something: a row, a file, a light.
	Writes bool
	// Destroys says that what a call changes cannot be had back. It implies Writes.
	Destroys bool
	// Outside says that a call reaches something outside of this machine and the
	// operator's own services: the web, a mailbox.
	Outside bool
	// Untrusted says that results hold text that strangers may have written: pages,
	// what another MCP server says. After one, tools that write or reach outside
	// need an approval in the same conversation.
	Untrusted bool
}

// ReadOnly says that a call changes nothing.
func (e Effects) ReadOnly() bool { return !e.Writes && !e.Destroys }

// sends says that a call may carry something out: it writes, or it reaches outside
// other than to read there.
func (e Effects) sends() bool { return !e.ReadOnly() || e.Outside && !e.Untrusted }
