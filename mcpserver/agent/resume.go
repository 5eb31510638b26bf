package agent

import (
	"context"
	"fmt"
	"slices"

	"hearth/inference"
)

// pending is a call of an earlier answer that was approved meanwhile.
type pending struct {
	hosted
	approval string
}

// unanswered finds the calls that the approvals of r belong to, which have no
// result yet. Each is made once, however often it is approved.
func (t *turn) unanswered(r *inference.ChatRequest) ([]pending, error) {
	var out []pending
	for i, approved := range r.Approved {
		call := unansweredCall(r.Messages, approved.Call)
		if call == nil {
			return nil, inference.Invalid(fmt.Sprintf("approvals[%d]", i), "is of the call %.80q, which is not in the conversation, or has its result already", approved.Call)
		}
		if slices.ContainsFunc(out, func(p pending) bool { return p.id == call.ID }) {
			return nil, inference.Invalid(fmt.Sprintf("approvals[%d]", i), "is of the call %.80q, which another one approves already", approved.Call)
		}
		p := pending{approval: approved.Approval}
		p.id, p.name = call.ID, call.Name
		p.arguments = []byte(call.Arguments)
		out = append(out, p)
	}
	return out, nil
}

func unansweredCall(messages []inference.Message, id string) *inference.ToolCall {
	for i := len(messages) - 1; i >= 0; i-- {
		m := &messages[i]
		if m.Role == inference.RoleTool && m.ToolCallID == id {
			return nil
		}
		for k := range m.ToolCalls {
			if m.ToolCalls[k].ID == id {
				return &m.ToolCalls[k]
			}
		}
	}
	return nil
}

// resume runs the calls that waited for an approval, and tells the model what
// they came to.
func (t *turn) resume(ctx context.Context) error {
	for i := range t.pending {
		p := &t.pending[i]
		o := t.call(ctx, &p.hosted, p.approval)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t.request.Messages = append(t.request.Messages, inference.Message{
			Role: inference.RoleTool, ToolCallID: p.id, Name: p.name, Content: o.Text,
		})
	}
	return nil
}
