package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// ToolsConfig is what the server's own tools need.
type ToolsConfig struct {
	Models inference.Models // required
	Log    zerolog.Logger
	// CallTimeout ends a call of a model with ErrDeadline; 0: none.
	CallTimeout time.Duration
	// Asks offers the tool ask, which makes sense where there are connectors.
	Asks bool
}

// Tools are the tools of this server itself: what its models can do. They are a
// connector of the router (Router.AddOwn), which decides, checks, limits and records
// their calls like all others. A Tools is safe for concurrent use.
type Tools struct {
	config ToolsConfig
	every  time.Duration // between two notifications of progress
	named  map[string]*tool
	offers []router.Tool
}

// coalesce is the shortest time between two progress notifications of a call.
const coalesce = 33 * time.Millisecond

// NewTools returns the tools of c's models.
func NewTools(c ToolsConfig) (*Tools, error) {
	if c.Models == nil {
		return nil, errors.New("mcpserver: Models is missing")
	}
	if c.CallTimeout < 0 {
		return nil, errors.New("mcpserver: CallTimeout must not be negative; 0 means none")
	}
	s := &Tools{config: c, every: coalesce, named: map[string]*tool{}}
	list := []*tool{s.chatTool(), s.countTokensTool(), s.embedTool(), s.generateTool(), s.listModelsTool(), s.rerankTool()}
	if c.Asks {
		list = append(list, s.askTool())
	}
	for _, t := range list {
		s.named[t.name] = t
		s.offers = append(s.offers, router.Tool{
			Name: t.name, Title: t.title, Description: t.description,
			Input: json.RawMessage(t.input), Output: json.RawMessage(t.output),
			Effects:    router.Effects{Writes: t.acts, Destroys: t.acts, Outside: t.acts},
			Idempotent: t.repeatable, Delegates: t.acts,
		})
	}
	return s, nil
}

// actions are those of the tools that ask a model, by the tool's name: what audit
// records call them.
var actions = map[string]string{
	"ask": inference.ActionChat, "chat": inference.ActionChat, "embed": inference.ActionEmbed,
	"generate": inference.ActionComplete, "rerank": inference.ActionRerank,
}

// tool is one of Tools. None changes anything or reaches outside of this server, but
// for the one that uses connectors.
type tool struct {
	name        string
	title       string
	description string
	input       string // JSON Schema of the arguments
	output      string // JSON Schema of outcome.structured
	repeatable  bool   // the same arguments give the same result
	acts        bool   // it may do what the tools of connectors do
	run         func(ctx context.Context, r *run) (*outcome, error)
}

// run is one call of a tool.
type run struct {
	call      *router.Call
	door      *call           // the message that it came with; nil: it came by another door
	id        string          // for logs and traces
	arguments json.RawMessage // valid by the input schema
	event     *zerolog.Event  // the line of the log that the call ends with; nil: none
}

// reached notes that a model was asked: it knows of the request.
func (r *run) reached() {
	if r.door != nil {
		r.door.reached = true
	}
}

// selected returns the tools of a connector, or of all, that the server at which the
// call came in lets the model use; nil: all there are.
func (r *run) selected(ctx context.Context, label string) []string {
	if r.door == nil {
		return nil
	}
	return r.door.server.selectedOf(ctx, label)
}

// outcome is what a tool returns.
type outcome struct {
	text       string // for clients that read no structured content
	structured any
}

// Tools implements router.Connector.
func (s *Tools) Tools() []router.Tool { return s.offers }

// Close implements router.Connector. Nothing runs behind the calls.
func (s *Tools) Close(context.Context) error { return nil }

// Run implements router.Connector.
func (s *Tools) Run(ctx context.Context, call *router.Call) (result *router.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.config.Log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Str("tool", call.Tool).Str("request_id", call.ID).Msg("mcp tool panicked")
			result, err = nil, fmt.Errorf("tool %s panicked", call.Tool)
		}
	}()
	t := s.named[call.Tool]
	r := &run{call: call, id: call.ID, arguments: call.Arguments}
	if c := callFrom(ctx); c != nil {
		r.door, r.event = c, c.event
	}
	out, err := t.run(ctx, r)
	if err != nil {
		return nil, err
	}
	structured, err := json.Marshal(out.structured)
	if err != nil {
		return nil, fmt.Errorf("encode the result of %s: %w", t.name, err)
	}
	if out.text == "" && t.repeatable {
		out.text = string(structured)
	}
	result = router.Text(out.text)
	result.Structured = structured
	return result, nil
}

// whole is an integer that a client may write as 3 or as 3.0: both are integers
// to JSON Schema.
type whole int64

// UnmarshalJSON implements json.Unmarshaler.
func (w *whole) UnmarshalJSON(data []byte) error {
	var f float64
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	if f != float64(int64(f)) {
		return fmt.Errorf("%s is not an integer", data)
	}
	*w = whole(f)
	return nil
}
