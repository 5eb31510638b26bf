package router

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"hearth/inference"
	"hearth/mcpserver/schema"
)

// Bounds of what a connector may register, which may be another machine.
const (
	maxTools            = 4096
	maxDescriptionBytes = 16 << 10
)

// Entry is a registered tool. It does not change.
type Entry struct {
	Label string // of its connector
	Name  string // as clients see it
	Tool  Tool
	// Definition is the hash of all that the tool says of itself.
	Definition string
	// Own says that it is a tool of Hearth itself (Router.AddOwn).
	Own bool

	connector *connector
	in, out   *schema.Schema
	cacheable time.Duration
}

// entries registers what a connector offers now. With all set the first bad tool
// is an error; else it is left out, and the log says so. The lock is held.
func (r *Router) entries(c *connector, all bool) ([]*Entry, error) {
	tools := c.run.Tools()
	if len(tools) > maxTools {
		err := fmt.Errorf("it offers %d tools, at most %d are taken", len(tools), maxTools)
		if all {
			return nil, err
		}
		r.log.Error().Err(err).Str("connector", c.label).Msg("tools of a connector were left out")
		tools = tools[:maxTools]
	}
	var out []*Entry
	mine := map[string]string{}
	for i := range tools {
		e, err := r.entry(c, &tools[i], mine)
		if err != nil {
			err = fmt.Errorf("tool %.80q: %w", tools[i].Name, err)
			if all {
				return nil, err
			}
			r.log.Error().Err(err).Str("connector", c.label).Msg("a tool of a connector was left out")
			continue
		}
		mine[e.Name] = tools[i].Name
		out = append(out, e)
	}
	return out, nil
}

// entry registers one tool. mine are those of the same connector so far: the
// connector's own names, by what clients see.
func (r *Router) entry(c *connector, t *Tool, mine map[string]string) (*Entry, error) {
	e := &Entry{Label: c.label, Name: full(c.label, Separator, t.Name), Tool: *t, Own: c.own, connector: c}
	if !ToolName.MatchString(e.Name) || t.Name == "" {
		return nil, fmt.Errorf("the name %.120q must match %s: give the connector or the tool a shorter or plainer one", e.Name, ToolName)
	}
	if other, taken := mine[e.Name]; taken {
		return nil, fmt.Errorf("the name %s is that of %s, too: rename one of them", e.Name, full(c.label, Separator, other))
	}
	if other := r.named[e.Name]; other != nil && other.connector != c {
		// A label holds no "_", so no other connector can make this name; a label that
		// could would be refused here.
		return nil, fmt.Errorf("the name %s is taken by a tool of connector %s", e.Name, other.Label)
	}
	if len(t.Description) > maxDescriptionBytes {
		return nil, fmt.Errorf("the description has %d bytes, at most %d are taken", len(t.Description), maxDescriptionBytes)
	}
	var err error
	if e.in, err = compiled(e.Name+"/input", t.Input); err != nil {
		return nil, err
	}
	if len(t.Output) > 0 {
		if e.out, err = compiled(e.Name+"/output", t.Output); err != nil {
			return nil, err
		}
	}
	e.Definition = definition(e.Name, t)
	if t.Effects.ReadOnly() {
		e.cacheable = t.Cacheable
		for pattern, d := range c.options.Cache {
			if matches([]string{pattern}, t.Name) {
				e.cacheable = d
			}
		}
	}
	return e, nil
}

func compiled(name string, text []byte) (*schema.Schema, error) {
	if len(text) == 0 {
		return nil, errors.New("the schema of the arguments is missing")
	}
	if len(text) > MaxSchemaBytes {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are taken", name, len(text), MaxSchemaBytes)
	}
	return schema.Compile(name, string(text))
}

// List returns the tools that the caller may call, with or without an approval, in
// the fixed order.
func (r *Router) List(ctx context.Context, caller inference.Caller) []*Entry {
	r.mu.RLock()
	all := r.tools
	r.mu.RUnlock()
	out := make([]*Entry, 0, len(all))
	for _, e := range all {
		if r.policy.Decide(ctx, caller, e.Label, &e.Tool, nil).Verdict != Deny {
			out = append(out, e)
		}
	}
	return out
}

// Visible says whether the caller may call the tool of that name, with or without an
// approval.
func (r *Router) Visible(ctx context.Context, caller inference.Caller, name string) bool {
	r.mu.RLock()
	e := r.named[name]
	r.mu.RUnlock()
	return e != nil && r.policy.Decide(ctx, caller, e.Label, &e.Tool, nil).Verdict != Deny
}

// All returns all tools, whoever may call them, in the fixed order.
func (r *Router) All() []*Entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.tools
}

// lookup returns the tool of that name, if the caller may see it.
func (r *Router) lookup(ctx context.Context, caller inference.Caller, name string) (*Entry, error) {
	r.mu.RLock()
	e, closed := r.named[name], r.closed
	r.mu.RUnlock()
	if closed {
		return nil, &inference.RetryError{Err: inference.ErrShutdown}
	}
	if e == nil {
		if label, tool, ok := strings.Cut(name, Separator); ok {
			if c, ok := provider[Withholder](r, label); ok {
				if why := c.Missing(tool); why != "" {
					return nil, fmt.Errorf("%w: %.80q is withheld: %s", ErrNoTool, name, why)
				}
			}
		}
	}
	if e == nil || r.policy.Decide(ctx, caller, e.Label, &e.Tool, nil).Verdict == Deny {
		return nil, fmt.Errorf("%w: %.80q", ErrNoTool, name)
	}
	return e, nil
}
