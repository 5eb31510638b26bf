package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// Routed makes a router the agent's tools.
type Routed struct {
	Router *router.Router
	// Via names the door in records; nil: "agent".
	Via func(context.Context) string
	// ApprovalWait is how long a call waits for a person's approval; 0: not at all.
	ApprovalWait time.Duration
}

// List implements Tools.
func (r *Routed) List(ctx context.Context, caller inference.Caller) []Tool {
	all := r.Router.List(ctx, caller)
	out := make([]Tool, 0, len(all))
	for _, e := range all {
		if e.Own {
			continue // a model that asks a model would wait for itself
		}
		out = append(out, Tool{
			Label: e.Label, Name: e.Tool.Name, Full: e.Name, Description: e.Tool.Description,
			Input: e.Tool.Input, ReadOnly: e.Tool.Effects.ReadOnly(),
		})
	}
	return out
}

// Call implements Tools.
func (r *Routed) Call(ctx context.Context, c *Call) (Outcome, error) {
	via := "agent"
	if r.Via != nil {
		via = r.Via(ctx)
	}
	if c.Approval != "" {
		r.approve(c)
	}
	q := &router.Request{
		ID: c.RequestID, Caller: c.Caller, Via: via, Conversation: c.Conversation, Model: c.Model,
		Untrusted: c.Untrusted, Tool: c.Tool, Arguments: c.Arguments, Ask: c.Ask,
		Progress: func(p router.Progress) { c.Progress(progressText(p)) },
	}
	result, err := r.Router.Call(ctx, q)
	var waits *router.ApprovalError
	if errors.As(err, &waits) && r.ApprovalWait > 0 {
		result, err = r.decided(ctx, c, q, waits)
	}
	switch {
	case err == nil:
		return Outcome{Text: text(result), IsError: result.IsError, Untrusted: result.Untrusted}, nil
	case errors.As(err, &waits):
		return Outcome{Text: waits.Error(), IsError: true, Approval: waits.ID}, nil
	case ctx.Err() != nil:
		return Outcome{}, context.Cause(ctx)
	}
	return Outcome{Text: inference.Classify(err).Message, IsError: true}, nil
}

// decided waits until a person has decided, and calls again. Whoever reads the
// stream sees what is waited for.
func (r *Routed) decided(ctx context.Context, c *Call, q *router.Request, waits *router.ApprovalError) (*router.Result, error) {
	c.Progress("waits for the approval " + waits.ID)
	waiting, cancel := context.WithTimeout(ctx, r.ApprovalWait)
	defer cancel()
	approved, err := r.Router.Approvals().Wait(waiting, waits.ID)
	switch {
	case ctx.Err() != nil: // who asked is gone: nothing is asked again
		return nil, context.Cause(ctx)
	case err != nil, !approved && !time.Now().Before(waits.Until):
		return nil, waits // nobody came
	case !approved:
		return nil, router.Refused(waits.Tool) // to call again would ask again
	}
	return r.Router.Call(ctx, q)
}

// approve takes the approval that came with a request: of calls of the very caller
// who sends it. It is bound to the call that asked for it, so another call gains
// nothing by its id; and one that was decided meanwhile stays as it was decided.
func (r *Routed) approve(c *Call) {
	if a, ok := r.Router.Approvals().Get(c.Approval); ok && a.Principal == c.Caller.Principal && a.State == router.ApprovalPending {
		_, _ = r.Router.Approvals().Decide(c.Approval, true)
	}
}

func progressText(p router.Progress) string {
	switch {
	case p.Message != "":
		return p.Message
	case p.Total > 0:
		return fmt.Sprintf("%g of %g", p.Progress, p.Total)
	}
	return fmt.Sprintf("%g", p.Progress)
}

// text is what the model reads of a result: its texts, else its structured content,
// and a word on what is no text.
func text(r *router.Result) string {
	var parts []string
	for i := range r.Content {
		c := &r.Content[i]
		switch c.Type {
		case router.ContentText:
			parts = append(parts, c.Text)
		case router.ContentLink:
			parts = append(parts, fmt.Sprintf("[resource %s: %s]", c.Resource.URI, c.Resource.Name))
		case router.ContentResource:
			if len(c.Contents.Blob) == 0 {
				parts = append(parts, c.Contents.Text)
				continue
			}
			parts = append(parts, fmt.Sprintf("[resource %s: %s, %d bytes, not shown]", c.Contents.URI, c.Contents.MIME, len(c.Contents.Blob)))
		default:
			parts = append(parts, fmt.Sprintf("[%s: %s, %d bytes, not shown]", c.Type, c.MIME, len(c.Data)))
		}
	}
	if len(parts) == 0 {
		return string(r.Structured)
	}
	return strings.Join(parts, "\n")
}
