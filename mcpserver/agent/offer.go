package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"hearth/inference"
)

// offer is what the model is told of, and what it may call.
type offer struct {
	tools []Tool // in the router's order
	named map[string]*Tool
	asks  map[string]bool // full names of those whose calls want an approval
	// client are the names of the tools that the client runs.
	client map[string]bool
	// hidden says that the model finds tools by find_tool.
	hidden bool
	lists  []inference.HostedList
}

// offer chooses the tools of r.
func (l *lease) offer(ctx context.Context, r *inference.ChatRequest) (*offer, error) {
	all := l.agent.tools.List(ctx, r.Caller)
	o := &offer{named: map[string]*Tool{}, asks: map[string]bool{}, client: map[string]bool{}}
	for i := range r.Hosted {
		if err := o.take(i, &r.Hosted[i], all); err != nil {
			return nil, err
		}
	}
	// The order is that of the router, however the request lists connectors, so
	// that the prompt begins the same way.
	for i := range all {
		if o.named[all[i].Full] != nil {
			o.tools = append(o.tools, all[i])
			o.list(&all[i])
		}
	}
	for i, t := range r.Tools {
		if o.named[t.Name] != nil || t.Name == findName || t.Name == callName {
			return nil, inference.Invalid(fmt.Sprintf("tools[%d].function.name", i), "%q is the name of a tool that the server runs, too: give the function another name", t.Name)
		}
		o.client[t.Name] = true
	}
	if err := l.hide(o, r); err != nil {
		return nil, err
	}
	return o, nil
}

// take adds the tools that h names.
func (o *offer) take(at int, h *inference.HostedTools, all []Tool) error {
	found := map[string]bool{}
	var labels []string
	for i := range all {
		t := &all[i]
		if !slices.Contains(labels, t.Label) {
			labels = append(labels, t.Label)
		}
		if h.Label != inference.AllLabels && h.Label != t.Label {
			continue
		}
		found[t.Name] = true
		if h.Allowed != nil && !slices.Contains(h.Allowed, t.Name) && !slices.Contains(h.Allowed, t.Full) {
			continue
		}
		found[t.Full] = true
		if h.ReadOnly && !t.ReadOnly {
			continue
		}
		o.named[t.Full] = t
		asked := h.AskAlways || slices.Contains(h.Ask, t.Name) || slices.Contains(h.Ask, t.Full)
		free := slices.Contains(h.Free, t.Name) || slices.Contains(h.Free, t.Full)
		o.asks[t.Full] = asked && !free
	}
	if len(found) == 0 && h.Label != inference.AllLabels {
		return inference.Invalid(fmt.Sprintf("tools[%d].server_label", at), "there is no connector %.80q here, or none of its tools may be used; there is: %s", h.Label, orNone(labels))
	}
	for _, name := range h.Allowed {
		if !found[name] {
			return inference.Invalid(fmt.Sprintf("tools[%d].allowed_tools", at), "%s has no tool %.80q that may be used", h.Label, name)
		}
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (o *offer) list(t *Tool) {
	shown := inference.HostedTool{Name: t.Name, Description: t.Description, Input: t.Input, ReadOnly: t.ReadOnly}
	if n := len(o.lists); n == 0 || o.lists[n-1].Label != t.Label {
		o.lists = append(o.lists, inference.HostedList{Label: t.Label})
	}
	last := &o.lists[len(o.lists)-1]
	last.Tools = append(last.Tools, shown)
}

// hide puts find_tool and call_tool in the place of tools that would take too
// much of the prompt.
func (l *lease) hide(o *offer, r *inference.ChatRequest) error {
	most := l.agent.config.ToolTokens
	if most == 0 {
		most = l.Info().Context / 4
	}
	// Almost every token has a byte of text at least: no need to count few.
	bytes := 0
	for i := range o.tools {
		bytes += len(o.tools[i].Full) + len(o.tools[i].Description) + len(o.tools[i].Input)
	}
	if bytes <= most {
		return nil
	}
	with, err := l.Lease.CountChat(o.request(r))
	if err != nil {
		return err
	}
	bare := *r
	bare.Hosted, bare.Approved, bare.ToolChoice = nil, nil, inference.ToolChoice{}
	without, err := l.Lease.CountChat(&bare)
	if err != nil {
		return err
	}
	o.hidden = with-without > most
	return nil
}

// request returns r with the tools of o as the model is told of them.
func (o *offer) request(r *inference.ChatRequest) *inference.ChatRequest {
	q := *r
	q.Hosted, q.Approved = nil, nil
	q.HoldCalls = true  // a call that the model begins is one that its tool takes
	q.LooseCalls = true // what is wrong with a call all the same comes back as its result
	q.UnknownCalls = true
	q.Messages = slices.Clone(r.Messages)
	q.Tools = nil
	if o.hidden {
		q.Tools = append(q.Tools, findTool, callTool)
	} else {
		for i := range o.tools {
			t := &o.tools[i]
			q.Tools = append(q.Tools, inference.Tool{Name: t.Full, Description: t.Description, Parameters: t.Input})
		}
	}
	q.Tools = append(q.Tools, r.Tools...)
	return &q
}

// knows says whether the server runs a tool of that name, or finds tools by it.
func (o *offer) knows(name string) bool {
	return o.named[name] != nil || o.hidden && (name == findName || name == callName)
}

// reads says whether all that the model may call only reads.
func (o *offer) reads() bool {
	return len(o.client) == 0 && !slices.ContainsFunc(o.tools, func(t Tool) bool { return !t.ReadOnly })
}

// hosts says whether the server runs the tool of that name: what no client has
// is the server's to answer.
func (o *offer) hosts(name string) bool { return !o.client[name] }
