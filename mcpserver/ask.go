package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"

	"hearth/inference"
)

// askTool is chat with the tools of connectors: the model calls them by itself.
func (s *Tools) askTool() *tool {
	properties := append([]property{
		member("prompt", "string", "What to find out or to do.", `"minLength":1`),
		member("system", "string", "Instructions that stand before prompt.", `"minLength":1`),
		member("connectors", "array", "Names of the connectors whose tools the model may use. Default: all.", listOf(64, 64)),
		member("read_only", "boolean", "Only tools that change nothing. Default: true.", ""),
	}, samplingProperties("Most tokens to generate in all answers together. Default: up to the end of the context.")...)
	return &tool{
		name:  "ask",
		title: "Ask the model, with tools",
		description: "Asks the local language model, which may call the tools of this server's connectors before it answers. " +
			"The result lists the calls that it made.",
		input:  object("", []string{"prompt"}, properties...),
		output: askedSchema(),
		acts:   true,
		run:    s.runAsk,
	}
}

// askResult is the structured result of ask.
type askResult struct {
	generated
	Calls []askedCall `json:"calls"`
}

// askedCall is one call that the model made.
type askedCall struct {
	Tool      string `json:"tool"`
	Arguments string `json:"arguments"`
	IsError   bool   `json:"is_error"`
	Approval  string `json:"approval,omitempty"`
}

func askedSchema() string {
	var known struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	// The members are those of chat's result, which is a schema of our own.
	if err := json.Unmarshal([]byte(generatedSchema()), &known); err != nil {
		panic("mcpserver: the schema of chat is no JSON: " + err.Error())
	}
	properties := []property{}
	for _, name := range []string{"model", "text", "reasoning", "json", "finish_reason", "usage"} {
		properties = append(properties, property{name, string(known.Properties[name])})
	}
	properties = append(properties, member("calls", "array", "The calls that the model made, in their order.", `"items":`+object("", []string{"tool", "arguments", "is_error"},
		member("tool", "string", "Name of the tool.", ""),
		member("arguments", "string", "Its arguments, as JSON.", ""),
		member("is_error", "boolean", "The tool could not do it.", ""),
		member("approval", "string", "Id under which the call waits for a person's approval. Nothing was done.", ""))))
	return object("", []string{"model", "text", "finish_reason", "usage", "calls"}, properties...)
}

func (s *Tools) runAsk(ctx context.Context, r *run) (*outcome, error) {
	var a struct {
		sampling
		Prompt     string   `json:"prompt"`
		System     string   `json:"system"`
		Connectors []string `json:"connectors"`
		ReadOnly   *bool    `json:"read_only"`
	}
	if err := json.Unmarshal(r.arguments, &a); err != nil {
		return nil, fmt.Errorf("read the arguments of ask: %w", err)
	}
	if a.Connectors == nil {
		a.Connectors = []string{inference.AllLabels}
	}
	if len(a.Connectors) == 0 {
		return nil, inference.Invalid("connectors", "names none: leave it out for all, or use chat")
	}
	var hosted []inference.HostedTools
	for _, label := range a.Connectors {
		hosted = append(hosted, inference.HostedTools{
			Label: label, Allowed: r.selected(ctx, label), ReadOnly: a.ReadOnly == nil || *a.ReadOnly,
		})
	}
	var messages []inference.Message
	if a.System != "" {
		messages = append(messages, inference.Message{Role: inference.RoleSystem, Content: a.System})
	}
	messages = append(messages, inference.Message{Role: inference.RoleUser, Content: a.Prompt})
	watch := &callWatcher{calls: []askedCall{}}
	out, err := s.ask(ctx, r, &a.sampling, func(lease inference.Lease, o inference.Options) (inference.Stream, error) {
		stream, err := lease.Chat(ctx, &inference.ChatRequest{Options: o, Messages: messages, Hosted: hosted, ParallelToolCalls: true})
		if err != nil {
			return nil, err
		}
		watch.Stream = stream
		return watch, nil
	})
	if err != nil {
		return nil, err
	}
	g, ok := out.structured.(generated)
	if !ok {
		return nil, fmt.Errorf("the answer of ask has the form %T", out.structured)
	}
	out.structured = askResult{generated: g, Calls: watch.calls}
	return out, nil
}

// selectedOf returns the tools of a connector, or of all, that a server with a
// selection lets the model use; nil: all there are.
func (s *Server) selectedOf(ctx context.Context, label string) []string {
	if s.selected == nil {
		return nil
	}
	names := []string{}
	for _, e := range s.config.Router.List(ctx, callerOf(ctx)) {
		if !e.Own && (label == inference.AllLabels || label == e.Label) && s.selected.tool(e.Name) {
			names = append(names, e.Name)
		}
	}
	return names
}

// callWatcher notes the calls that go by in a stream. It belongs to the goroutine
// that reads it.
type callWatcher struct {
	inference.Stream
	calls []askedCall
}

// Next implements inference.Stream.
func (w *callWatcher) Next(ctx context.Context) (inference.Event, error) {
	ev, err := w.Stream.Next(ctx)
	if err == nil && ev.Kind == inference.EventHosted {
		switch h := ev.Hosted; h.Stage {
		case inference.HostedDone, inference.HostedApproval:
			w.calls = append(w.calls, askedCall{Tool: h.Label + "__" + h.Name, Arguments: h.Arguments, IsError: h.IsError, Approval: h.Approval})
		}
	}
	return ev, err
}
