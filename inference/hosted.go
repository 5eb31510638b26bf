package inference

import "encoding/json"

// HostedTools names tools that the server runs by itself while it answers: those
// of one connector. Whoever runs them decides whether the caller may: nothing
// here allows what the policy does not.
type HostedTools struct {
	// Label is the connector's; AllLabels stands for all there are.
	Label string
	// Allowed are the tools, by the connector's own names, that the model may
	// call; nil: all that the caller may.
	Allowed []string
	// ReadOnly leaves out what changes anything.
	ReadOnly bool
	// AskAlways wants every call approved, Ask those of these tools; the tools of
	// Free are excepted from both.
	AskAlways bool
	Ask, Free []string
}

// AllLabels as HostedTools.Label stands for all connectors.
const AllLabels = "*"

// HostedStage is how far a call is that the server runs.
type HostedStage string

// The stages of a call, in their order. Begun comes once, with the name;
// Arguments any number of times; then Approval, where the call needs one that it
// does not have, which ends it, or Running, Progress any number of times, and Done.
const (
	HostedBegun     HostedStage = "begun"
	HostedArguments HostedStage = "arguments"
	HostedRunning   HostedStage = "running"
	HostedProgress  HostedStage = "progress"
	HostedDone      HostedStage = "done"
	HostedApproval  HostedStage = "approval"
)

// HostedCall is what happened to a call that the server runs.
type HostedCall struct {
	Stage HostedStage
	ID    string // of the call, the same at all stages
	Label string // of the connector
	Name  string // the connector's own name of the tool
	// Arguments is a piece of the JSON text of the arguments at HostedArguments, and
	// the whole from HostedRunning on.
	Arguments string
	// Output is what the model gets to read, at HostedDone.
	Output  string
	IsError bool // at HostedDone: Output says what went wrong
	// Approval is the id under which the call waits for an approval, at
	// HostedApproval.
	Approval string
	// Message says how far the call is, at HostedProgress.
	Message string
}

// HostedList is a connector's tools, as the model was offered them.
type HostedList struct {
	Label string
	Tools []HostedTool
}

// HostedTool is one tool of a HostedList.
type HostedTool struct {
	Name        string
	Description string
	Input       json.RawMessage
	ReadOnly    bool
}

// Approved is an approval that was given to a call of an earlier answer.
type Approved struct {
	// Call is the id of the call, as a message of the assistant names it.
	Call string
	// Approval is the id under which it waited.
	Approval string
}

// RefusedCall is what the model reads of a call that was not approved.
const RefusedCall = "The person who was asked refused this call. Nothing was done."
