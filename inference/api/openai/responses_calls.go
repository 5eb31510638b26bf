package openai

import "hearth/inference"

// hosted adds what happened to a call that the server runs.
func (b *responseBuilder) hosted(h *inference.HostedCall) error {
	o, err := b.call(h)
	if err != nil || o == nil {
		return err
	}
	c := &o.hosted
	switch h.Stage {
	case inference.HostedArguments:
		c.Arguments += h.Arguments
		return b.tell("response.mcp_call_arguments.delta", o.at("delta", h.Arguments))
	case inference.HostedRunning:
		return b.running(o, h)
	case inference.HostedDone:
		return b.called(o, h)
	case inference.HostedApproval:
		return b.wants(o, h)
	}
	return nil
}

// call returns the item of a call, which the first event of it opens.
func (b *responseBuilder) call(h *inference.HostedCall) (*openItem, error) {
	if o := b.calls[h.ID]; o != nil {
		return o, nil
	}
	if h.Stage != inference.HostedBegun {
		return nil, nil
	}
	if err := b.closeTexts(); err != nil {
		return nil, err
	}
	item := callItem{Type: "mcp_call", ID: hostedID(b.round, h.ID), Label: h.Label, Name: h.Name, Status: callRunning}
	o, err := b.open("mcp_call", item.ID, item)
	if err != nil {
		return nil, err
	}
	o.hosted = item
	b.calls[h.ID] = o
	return o, b.tell("response.mcp_call.in_progress", o.at())
}

// running tells that the arguments are whole.
func (b *responseBuilder) running(o *openItem, h *inference.HostedCall) error {
	if h.Arguments != "" {
		o.hosted.Arguments = h.Arguments
	}
	return b.tell("response.mcp_call_arguments.done", o.at("arguments", o.hosted.Arguments))
}

// called tells how the call ended.
func (b *responseBuilder) called(o *openItem, h *inference.HostedCall) error {
	c := &o.hosted
	if h.Arguments != "" {
		c.Arguments = h.Arguments
	}
	name := "response.mcp_call.completed"
	c.Status = callCompleted
	if h.IsError {
		name, c.Status, c.Error = "response.mcp_call.failed", callFailed, toolError(h.Output)
	} else {
		c.Output = &h.Output
	}
	delete(b.calls, h.ID)
	if err := b.tell(name, o.at()); err != nil {
		return err
	}
	return b.close(o, *c)
}

// wants turns the item of a call into the request to approve it.
func (b *responseBuilder) wants(o *openItem, h *inference.HostedCall) error {
	round, _ := splitHostedID(o.id)
	delete(b.calls, h.ID)
	return b.close(o, approvalItem{
		Type: "mcp_approval_request", ID: approvalID(round, h.ID, h.Approval), Label: h.Label, Name: h.Name, Arguments: h.Arguments,
	})
}

// responseChunker makes the events of the Responses API.
type responseChunker struct {
	builder *responseBuilder
	next    int // sequence number
}

// showsProgress is true for the first one, which shows that there is a response
// before its first token.
func (c *responseChunker) showsProgress() bool { return !c.builder.begun }

func (c *responseChunker) chunks(e *eventWriter, ev *inference.Event) error {
	c.builder.emit = func(name string, event map[string]any) error { return c.send(e, name, event) }
	return c.builder.take(ev)
}

func (c *responseChunker) send(e *eventWriter, name string, event map[string]any) error {
	event["type"], event["sequence_number"] = name, c.next
	c.next++
	return e.named(name, event)
}

// end adds nothing: the last event says that it is the last.
func (*responseChunker) end(*eventWriter) {}

func (c *responseChunker) fail(e *eventWriter, body errorBody) error {
	c.builder.emit = func(name string, event map[string]any) error { return c.send(e, name, event) }
	return c.builder.fail(body.Code, body.Message)
}
