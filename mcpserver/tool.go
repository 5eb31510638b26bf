package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/schema"
)

// toolName is what clients accept as the name of a tool.
var toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// tool is a tool before and after registration. No tool of this server changes
// anything or reaches outside of it, but for the one that uses connectors.
type tool struct {
	name        string
	title       string
	description string
	input       string // JSON Schema of the arguments
	output      string // JSON Schema of outcome.structured
	repeatable  bool   // the same arguments give the same result
	acts        bool   // it may do what the tools of connectors do
	action      string // what a model is asked to do, as audit records name it; "" where it generates nothing
	run         func(ctx context.Context, r *run) (*outcome, error)

	in, out *schema.Schema
}

// run is one call of a tool.
type run struct {
	call      *call
	id        string          // for logs and traces
	arguments json.RawMessage // valid by the input schema
	event     *zerolog.Event  // the line of the log that the call ends with
}

// outcome is what a tool returns.
type outcome struct {
	text       string // for clients that read no structured content
	structured any
}

// register compiles both schemas, so that no tool is ever called unvalidated,
// and offers the tool.
func (s *Server) register(t *tool) error {
	if !toolName.MatchString(t.name) {
		return fmt.Errorf("the name must match %s", toolName)
	}
	if s.mcp.GetTool(t.name) != nil {
		return errors.New("the name is taken")
	}
	var err error
	if t.in, err = schema.Compile(t.name+"/input", t.input); err != nil {
		return err
	}
	if t.out, err = schema.Compile(t.name+"/output", t.output); err != nil {
		return err
	}
	reads := !t.acts
	if t.action != "" {
		s.actions[t.name] = t.action
	}
	s.mcp.AddTool(mcp.Tool{
		Name:            t.name,
		Title:           t.title,
		Description:     t.description,
		RawInputSchema:  json.RawMessage(t.input),
		RawOutputSchema: json.RawMessage(t.output),
		Annotations: mcp.ToolAnnotation{
			Title: t.title, ReadOnlyHint: &reads, DestructiveHint: &t.acts, IdempotentHint: &t.repeatable, OpenWorldHint: &t.acts,
		},
	}, s.handler(t))
	return nil
}

// handler runs the tool for mcp-go. What goes wrong in it is a result that says
// so, which the model on the other side can read and mend.
func (s *Server) handler(t *tool) server.ToolHandlerFunc {
	return func(ctx context.Context, request mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		started := time.Now()
		r := &run{call: callFrom(ctx), id: s.requestID(ctx), arguments: request.Params.RawArguments, event: s.log.Info()}
		r.call.requestID = r.id
		if len(r.arguments) == 0 || string(r.arguments) == "null" {
			r.arguments = json.RawMessage("{}")
		}
		result, err := s.result(ctx, t, r)
		r.event.Str("tool", t.name).Str("request_id", r.id).Str("principal", callerOf(ctx).Principal).Dur("duration_ms", time.Since(started))
		if err == nil {
			r.event.Str("outcome", "ok").Msg("mcp tool call")
			return result, nil
		}
		status := inference.Classify(err)
		r.call.refused = status.Code
		r.event.Str("outcome", status.Code).Msg("mcp tool call")
		if status.HTTP == 500 {
			s.log.Error().Err(err).Str("tool", t.name).Str("request_id", r.id).Msg("mcp tool call failed")
		}
		return mcp.NewToolResultError(status.Message), nil
	}
}

// result validates, runs and validates again.
func (s *Server) result(ctx context.Context, t *tool, r *run) (result *mcp.CallToolResult, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Str("tool", t.name).Str("request_id", r.id).Msg("mcp tool panicked")
			result, err = nil, fmt.Errorf("tool %s panicked", t.name)
		}
	}()
	if err := schema.Check(t.in, r.arguments); err != nil {
		return nil, err
	}
	out, err := t.run(ctx, r)
	if err != nil {
		return nil, err
	}
	structured, err := json.Marshal(out.structured)
	if err != nil {
		return nil, fmt.Errorf("encode the result of %s: %w", t.name, err)
	}
	if err := schema.Check(t.out, structured); err != nil {
		return nil, fmt.Errorf("the result of %s breaks its own schema: %s", t.name, err)
	}
	if out.text == "" && t.repeatable {
		out.text = string(structured)
	}
	return mcp.NewToolResultStructured(json.RawMessage(structured), out.text), nil
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
