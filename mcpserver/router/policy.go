package router

import (
	"context"
	"encoding/json"

	"hearth/inference"
)

// Verdict is what a policy says of a call.
type Verdict int

// The verdicts.
const (
	// Deny: the caller does not even see the tool.
	Deny Verdict = iota
	// Ask: a person has to approve the call.
	Ask
	// Allow: the call goes through.
	Allow
)

// Decision is a verdict and the rule that it comes from, for people and records.
type Decision struct {
	Verdict Verdict
	Rule    string
}

// Policy decides who may call what. List asks it without arguments, and leaves out
// what it denies; Call asks it again with them. It is safe for concurrent use.
type Policy interface {
	Decide(ctx context.Context, caller inference.Caller, label string, tool *Tool, arguments json.RawMessage) Decision
}

// byEffect is the policy where nothing else is configured: what only reads is
// allowed, all else needs an allowance of the configuration or an approval.
type byEffect struct{ options map[string]*Options }

// Decide implements Policy.
func (p *byEffect) Decide(_ context.Context, _ inference.Caller, label string, tool *Tool, _ json.RawMessage) Decision {
	o := p.options[label]
	switch {
	case o == nil:
		return Decision{Deny, "no such connector"}
	case matches(o.Deny, tool.Name):
		return Decision{Deny, "denied by the configuration"}
	case matches(o.Allow, tool.Name):
		return Decision{Allow, "allowed by the configuration"}
	case tool.Delegates:
		return Decision{Allow, "the calls that it makes are decided one by one"}
	case tool.Effects.ReadOnly():
		return Decision{Allow, "it only reads"}
	}
	return Decision{Ask, "it changes something, and the configuration does not allow it"}
}
