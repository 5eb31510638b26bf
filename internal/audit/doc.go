// Package audit records who did what: one [Record] for each request to a model,
// whichever door it came through, refused or not, with its outcome and its cost
// in tokens, and none of its content; and two [ToolRecord] for each call of a tool,
// the first of which is on the disk before the tool runs (journal.go).
//
// It owns the form of a record and the sinks that keep it. It does not decide
// what is recorded: the composition root wraps the models so that no request
// passes unrecorded, the doors tell it of what they turn away, and the HTTP chain
// notes the route.
//
// Concurrency: a [Sink] is safe for concurrent use.
package audit
