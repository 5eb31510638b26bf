package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"

	"hearth/inference"
)

// answer is one answer of the model's.
type answer struct {
	content, reasoning strings.Builder
	calls              []*hosted // in the model's order
	client             []inference.ToolCall
	finish             inference.FinishReason
}

// hosted is a call that the server runs.
type hosted struct {
	id, name  string
	label     string // of the connector; of no tool there is, ""
	own       string // the connector's own name of the tool
	arguments []byte
	shown     bool // who reads the stream was told of it
	refused   bool // it ran often enough before
}

// read passes the answer on as it comes, but for its end.
func (t *turn) read(ctx context.Context, s inference.Stream) (*answer, error) {
	defer s.Close()
	a := &answer{}
	places := map[int]place{}
	for {
		ev, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, err
		}
		switch ev.Kind {
		case inference.EventProgress:
			if t.round == 1 {
				t.out.send(ev)
			}
		case inference.EventDelta:
			t.delta(a, places, ev)
		case inference.EventFinish:
			a.finish = ev.Finish
		case inference.EventUsage:
			t.account(ev.Usage)
		}
	}
}

// place is where a call of the model's is kept: the index in answer.calls, or, of
// a client's, that in answer.client.
type place struct {
	ours bool
	at   int
}

// delta passes a piece on: text as it is, calls to whom they belong.
func (t *turn) delta(a *answer, places map[int]place, ev inference.Event) {
	call := ev.ToolCall
	ev.ToolCall = nil
	if ev.Content != "" {
		if a.content.Len() == 0 && t.said {
			// What the model said before its calls and what it says after are two
			// paragraphs of one answer.
			ev.Content = "\n\n" + ev.Content
			a.content.WriteString(ev.Content[2:])
		} else {
			a.content.WriteString(ev.Content)
		}
	}
	a.reasoning.WriteString(ev.Reasoning)
	if ev.Content != "" || ev.Reasoning != "" || len(ev.Logprobs) > 0 {
		t.out.send(ev)
	}
	if call == nil {
		return
	}
	p, known := places[call.Index]
	if !known {
		p = t.begin(a, call)
		places[call.Index] = p
	}
	if !p.ours {
		c := &a.client[p.at]
		c.Arguments += call.Arguments
		t.out.send(inference.Event{Kind: inference.EventDelta, ToolCall: &inference.ToolCallDelta{
			Index: p.at, ID: call.ID, Name: call.Name, Arguments: call.Arguments,
		}})
		return
	}
	h := a.calls[p.at]
	h.arguments = append(h.arguments, call.Arguments...)
	if h.shown && call.Arguments != "" {
		t.tell(h, inference.HostedCall{Stage: inference.HostedArguments, Arguments: call.Arguments})
	}
}

// begin takes the first piece of a call.
func (t *turn) begin(a *answer, call *inference.ToolCallDelta) place {
	if !t.offer.hosts(call.Name) {
		a.client = append(a.client, inference.ToolCall{ID: call.ID, Name: call.Name})
		return place{at: len(a.client) - 1}
	}
	id := call.ID
	if id == "" {
		id = "call_" + rand.Text()
	}
	h := &hosted{id: id, name: call.Name}
	a.calls = append(a.calls, h)
	if tool := t.offer.named[call.Name]; tool != nil && !t.offer.hidden {
		h.label, h.own, h.shown = tool.Label, tool.Name, true
		t.tell(h, inference.HostedCall{Stage: inference.HostedBegun})
	}
	return place{ours: true, at: len(a.calls) - 1}
}

// tell sends an event about h.
func (t *turn) tell(h *hosted, c inference.HostedCall) {
	c.ID, c.Label, c.Name = h.id, h.label, h.own
	t.out.send(inference.Event{Kind: inference.EventHosted, Hosted: &c})
}

// message is the answer as the next prompt holds it.
func (a *answer) message() inference.Message {
	m := inference.Message{Role: inference.RoleAssistant, Content: a.content.String(), Reasoning: a.reasoning.String()}
	for _, c := range a.calls {
		m.ToolCalls = append(m.ToolCalls, inference.ToolCall{ID: c.id, Name: c.name, Arguments: string(c.arguments)})
	}
	return m
}
