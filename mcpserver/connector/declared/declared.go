package declared

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"hearth/mcpserver/router"
)

// Database runs statements: another connector's.
type Database interface {
	// Dialect is sqlite, postgres or mysql.
	Dialect() string
	// Writes says whether statements may write.
	Writes() bool
	// SQL runs one statement with its parameters: nil, bool, json.Number or string.
	SQL(ctx context.Context, statement string, params []any, write bool) (*router.Result, error)
}

// runner does what a tool does.
type runner interface {
	// run runs it; known are of a result that may be asked for again.
	run(ctx context.Context, args arguments, known *router.Validators) (*router.Result, error)
	close()
}

// arguments are those of a call: nil, bool, json.Number, string, or what holds them.
type arguments map[string]any

// Tools are the declared tools. It is a router.Connector.
type Tools struct {
	list    []router.Tool
	runners map[string]runner
}

// New makes the tools. Databases are by the name of their connector.
func New(cfg Config, databases map[string]Database) (*Tools, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	t := &Tools{runners: map[string]runner{}}
	for i := range cfg {
		d := &cfg[i]
		schema, err := d.schema()
		if err != nil {
			return nil, err
		}
		r, err := d.runner(databases)
		if err != nil {
			return nil, fmt.Errorf("tool %s: %w", d.Name, err)
		}
		t.runners[d.Name] = r
		t.list = append(t.list, router.Tool{
			Name: d.Name, Description: d.Description, Input: schema, Effects: d.effects(),
			Idempotent: d.Idempotent || d.Effect == Read, Timeout: d.timeout(),
		})
	}
	return t, nil
}

func (t *Tool) runner(databases map[string]Database) (runner, error) {
	switch {
	case t.SQL != nil:
		return t.SQL.runner(databases, t.names(), t.Effect != Read)
	case t.HTTP != nil:
		return t.HTTP.runner()
	}
	return t.Program.runner()
}

// Tools returns the tools, in the order of the configuration.
func (t *Tools) Tools() []router.Tool { return t.list }

// Run calls a tool.
func (t *Tools) Run(ctx context.Context, c *router.Call) (*router.Result, error) {
	r, ok := t.runners[c.Tool]
	if !ok {
		return nil, toolError("there is no tool %q", c.Tool)
	}
	dec := json.NewDecoder(bytes.NewReader(c.Arguments))
	dec.UseNumber()
	var args arguments
	if err := dec.Decode(&args); err != nil {
		return nil, toolError("the arguments cannot be read: %v", err)
	}
	return r.run(ctx, args, c.Known)
}

// Close frees what is kept between calls.
func (t *Tools) Close(context.Context) error {
	for _, r := range t.runners {
		r.close()
	}
	return nil
}

func toolError(format string, args ...any) *router.ToolError {
	return &router.ToolError{Message: fmt.Sprintf(format, args...)}
}

// text is an argument as text: a text itself, a number in its digits, true or
// false, and JSON for what is more than one value. Given is false for null and for
// an argument that was left out.
func (a arguments) text(name string) (text string, given bool, err error) {
	switch v := a[name].(type) {
	case nil:
		return "", false, nil
	case string:
		return v, true, nil
	case json.Number:
		return v.String(), true, nil
	case bool:
		return fmt.Sprint(v), true, nil
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return "", false, fmt.Errorf("encode the argument %s: %w", name, err)
		}
		return string(data), true, nil
	}
}
