package mcpserver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// offerRouted offers the tools of the router, and follows their changes.
func (s *Server) offerRouted() {
	s.routed = &routedTools{names: map[string]string{}}
	s.syncRouted()
	s.syncPrompts()
	s.unsubscribe = s.config.Router.Subscribe(func(c router.Change) {
		if c.Tools {
			s.syncRouted()
		}
		if c.Prompts {
			s.syncPrompts()
		}
		s.hub.changed(c)
	})
}

// routedTools are the tools and prompts of the router that mcp-go knows of: the
// hash of each tool's definition by its name, and the names of the prompts.
type routedTools struct {
	mu      sync.Mutex
	names   map[string]string
	prompts []string
}

// syncRouted makes mcp-go know of the tools there are now.
func (s *Server) syncRouted() {
	s.routed.mu.Lock()
	defer s.routed.mu.Unlock()
	now := map[string]bool{}
	var add []server.ServerTool
	for _, e := range s.config.Router.All() {
		if !s.selected.tool(e.Name) {
			continue
		}
		now[e.Name] = true
		if s.routed.names[e.Name] == e.Definition {
			continue
		}
		s.routed.names[e.Name] = e.Definition
		add = append(add, server.ServerTool{Tool: routedTool(e), Handler: s.callRouted(e.Name, e.Own, len(e.Tool.Output) > 0)})
	}
	var gone []string
	for name := range s.routed.names {
		if !now[name] {
			gone = append(gone, name)
			delete(s.routed.names, name)
		}
	}
	if len(gone) > 0 {
		s.mcp.DeleteTools(gone...)
	}
	if len(add) > 0 {
		s.mcp.AddTools(add...)
	}
}

// routedTool is a tool of a connector as MCP tells of it.
func routedTool(e *router.Entry) mcp.Tool {
	reads, destroys, outside, idempotent := e.Tool.Effects.ReadOnly(), e.Tool.Effects.Destroys, e.Tool.Effects.Outside, e.Tool.Idempotent
	t := mcp.Tool{
		Name: e.Name, Title: e.Tool.Title, Description: e.Tool.Description,
		RawInputSchema: e.Tool.Input, RawOutputSchema: e.Tool.Output,
		Annotations: mcp.ToolAnnotation{Title: e.Tool.Title, ReadOnlyHint: &reads, DestructiveHint: &destroys, IdempotentHint: &idempotent, OpenWorldHint: &outside},
	}
	return t
}

// visible leaves out of a list what the caller may not call. The very same policy
// decides at the call. mcp-go asks for the one tool of a call, too.
func (s *Server) visible(ctx context.Context, tools []mcp.Tool) []mcp.Tool {
	caller := callerOf(ctx)
	return slices.DeleteFunc(slices.Clone(tools), func(t mcp.Tool) bool { return !s.config.Router.Visible(ctx, caller, t.Name) })
}

// callRouted calls a tool for mcp-go. What goes wrong in it is a result that says so,
// which the model on the other side can read and mend. What promises a structured
// result and has none to show (it is too large, or was redacted) is an error: clients
// take an answer without it for a broken server, and drop its text.
func (s *Server) callRouted(name string, own, promises bool) server.ToolHandlerFunc {
	return func(ctx context.Context, request mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		started := time.Now()
		c := callFrom(ctx)
		id := s.requestID(ctx)
		c.requestID, c.server, c.event = id, s, s.log.Info()
		q := &router.Request{
			ID: id, Caller: callerOf(ctx), Via: s.via(ctx), Conversation: c.conversation(),
			Tool: name, Arguments: request.Params.RawArguments,
		}
		var result *router.Result
		var required *mcp.MultiRoundTripResult
		var err error
		if own {
			result, err = s.ownCall(ctx, c, q)
		} else {
			result, required, err = s.routedCall(ctx, c, q, &request.Params.MultiRoundTripParams)
		}
		event := c.event.Str("tool", name).Str("request_id", id).Str("principal", q.Caller.Principal).Dur("duration_ms", time.Since(started))
		var lacks *router.CapabilityError
		switch {
		case required != nil:
			event.Str("outcome", "input_required").Msg("mcp tool call")
			return &mcp.CallToolResult{Result: mcp.Result{ResultType: mcp.ResultTypeInputRequired}, MultiRoundTripResult: *required}, nil
		case err == nil:
			event.Str("outcome", "ok").Bool("is_error", result.IsError).Msg("mcp tool call")
			out := routedResult(result)
			out.IsError = out.IsError || promises && result.Structured == nil
			return out, nil
		case errors.Is(err, router.ErrNoTool):
			event.Str("outcome", inference.Classify(err).Code).Msg("mcp tool call")
			return nil, inference.Invalid("params.name", "there is no tool %.80q here; tools/list names those there are", name)
		case errors.Is(err, errNotAgain), errors.As(err, &lacks) && server.IsModernRequest(ctx):
			event.Str("outcome", inference.Classify(err).Code).Msg("mcp tool call")
			return nil, err
		}
		status := inference.Classify(err)
		c.refused = status.Code
		event.Str("outcome", status.Code).Msg("mcp tool call")
		if status.HTTP == 500 {
			s.log.Error().Err(err).Str("tool", name).Str("request_id", id).Msg("mcp tool call failed")
		}
		return mcp.NewToolResultError(status.Message), nil
	}
}

// via names the door, for records.
func (s *Server) via(ctx context.Context) string {
	if s.config.Via == nil {
		return "mcp"
	}
	return s.config.Via(ctx)
}

// ownCall calls a tool of this server itself. It runs on this goroutine, and what it
// tells goes straight to the client: nothing is dropped, and a client that reads slowly
// slows it down.
func (s *Server) ownCall(ctx context.Context, c *call, q *router.Request) (*router.Result, error) {
	if c.msg.token == nil || c.emit == nil {
		return s.config.Router.Call(ctx, q)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q.Progress = func(p router.Progress) {
		if err := c.progress(p); err != nil {
			cancel(errors.Join(inference.ErrCancelled, err)) // the client is gone
		}
	}
	return s.config.Router.Call(ctx, q)
}

// routedCall makes the call, or goes on with one that has asked the client. What the
// tool tells, on whatever goroutine, is written on this one, which is the call's own.
func (s *Server) routedCall(ctx context.Context, c *call, q *router.Request, more *mcp.MultiRoundTripParams) (*router.Result, *mcp.MultiRoundTripResult, error) {
	key := "tool " + q.Caller.Principal + " " + q.Tool + " " + string(q.Arguments)
	hears := c.hears(ctx, mcp.LoggingLevelEmergency)
	var w *work
	if more.RequestState != "" {
		var err error
		if w, err = s.again(more.RequestState, key, more.InputResponses); err != nil {
			return nil, nil, errors.Join(errNotAgain, err)
		}
	} else {
		p := askerOf(ctx, c, more.InputResponses)
		if p == nil && (c.emit == nil || c.msg.token == nil && !hears) {
			result, err := s.config.Router.Call(ctx, q) // nothing is told meanwhile
			return result, nil, err
		}
		if p != nil {
			q.Peer = p
		}
		w = s.start(ctx, key, p, server.IsModernRequest(ctx), func(ctx context.Context, w *work) (any, error) {
			q.Progress, q.Log = w.queue.add, w.queue.say
			return s.config.Router.Call(ctx, q)
		})
	}
	required, err := s.attend(ctx, c, w)
	if required != nil || err != nil {
		return nil, required, err
	}
	result, _ := w.result.(*router.Result)
	return result, nil, w.err
}

// errNotAgain is what a client that comes back with a wrong state gets: an error of
// the protocol, since no tool was asked.
var errNotAgain = errors.New("the state is not known")

// mostQueued bounds the notifications that wait to be written. Beyond it the newest
// takes the place of the one before: the last is never lost.
const mostQueued = 256

// progressQueue takes what a call tells from any goroutine.
type progressQueue struct {
	mu    sync.Mutex
	wait  []router.Progress
	logs  []router.LogMessage
	last  float64
	begun bool
	ready chan struct{}
}

func (q *progressQueue) add(p router.Progress) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.begun && p.Progress <= q.last {
		return // the protocol wants it to grow
	}
	q.begun, q.last = true, p.Progress
	if len(q.wait) == mostQueued {
		q.wait = q.wait[:mostQueued-1]
	}
	q.wait = append(q.wait, p)
	q.wake()
}

// say takes a message for the client's log. Of more than are written in time the
// newest are left out.
func (q *progressQueue) say(m router.LogMessage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.logs) < mostQueued {
		q.logs = append(q.logs, m)
	}
	q.wake()
}

// wake makes ready readable. The lock is held.
func (q *progressQueue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// write writes to the client of c what it wants to hear of what was told.
func (q *progressQueue) write(c *call) error {
	q.mu.Lock()
	wait, logs := q.wait, q.logs
	q.wait, q.logs = nil, nil
	q.mu.Unlock()
	if c.emit == nil {
		return nil
	}
	for _, m := range logs {
		if !c.wants(m.Level) {
			continue
		}
		if err := c.notify("notifications/message", logParams{m.Level, m.Logger, m.Data}); err != nil {
			return err
		}
	}
	if c.msg.token == nil {
		return nil
	}
	for _, p := range wait {
		if err := c.progress(p); err != nil {
			return err
		}
	}
	return nil
}

// progress writes how far the call is.
func (c *call) progress(p router.Progress) error {
	return c.notify(string(mcp.MethodNotificationProgress), progressParams{c.msg.token, p.Progress, p.Total, p.Message})
}

// progressParams are the parameters of notifications/progress.
type progressParams struct {
	ProgressToken json.RawMessage `json:"progressToken"`
	Progress      float64         `json:"progress"`
	Total         float64         `json:"total,omitempty"`
	Message       string          `json:"message,omitempty"`
}

// routedResult is a result as MCP tells of it.
func routedResult(r *router.Result) *mcp.CallToolResult {
	out := &mcp.CallToolResult{IsError: r.IsError, Content: make([]mcp.Content, 0, len(r.Content))}
	for i := range r.Content {
		out.Content = append(out.Content, routedContent(&r.Content[i]))
	}
	if r.Structured != nil {
		out.StructuredContent = r.Structured
		if len(out.Content) == 0 { // for clients that read no structured content
			out.Content = append(out.Content, mcp.NewTextContent(string(r.Structured)))
		}
	}
	if len(r.Meta) > 0 {
		meta := &mcp.Meta{}
		if json.Unmarshal(r.Meta, &meta.AdditionalFields) == nil {
			out.Meta = meta
		}
	}
	return out
}

// routedContent is one piece of a result, or of a prompt, as MCP tells of it.
func routedContent(c *router.Content) mcp.Content {
	annotated := annotations(c.Annotations)
	switch c.Type {
	case router.ContentImage:
		return mcp.ImageContent{Type: string(c.Type), Annotated: annotated, Data: base64.StdEncoding.EncodeToString(c.Data), MIMEType: c.MIME}
	case router.ContentAudio:
		return mcp.AudioContent{Type: string(c.Type), Annotated: annotated, Data: base64.StdEncoding.EncodeToString(c.Data), MIMEType: c.MIME}
	case router.ContentLink:
		link := mcp.NewResourceLink(c.Resource.URI, c.Resource.Name, c.Resource.Description, c.Resource.MIME)
		link.Annotated = annotated
		return link
	case router.ContentResource:
		return mcp.EmbeddedResource{Type: string(c.Type), Annotated: annotated, Resource: routedContents(&c.Contents)}
	}
	return mcp.TextContent{Type: string(router.ContentText), Annotated: annotated, Text: c.Text}
}

// routedContents is what a resource holds, as MCP tells of it.
func routedContents(c *router.ResourceContents) mcp.ResourceContents {
	if c.Blob != nil {
		return mcp.BlobResourceContents{URI: c.URI, MIMEType: c.MIME, Blob: base64.StdEncoding.EncodeToString(c.Blob)}
	}
	return mcp.TextResourceContents{URI: c.URI, MIMEType: c.MIME, Text: c.Text}
}
