package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// resourcePage is how many resources of connectors one page of a list holds.
const resourcePage = 200

// catalogHooks puts the resources of connectors behind this server's own. mcp-go
// reads the request and writes the result; what it does not know comes from the
// router, which pages by cursors of its own.
func (s *Server) catalogHooks(hooks *server.Hooks) {
	hooks.AddBeforeListResources(func(ctx context.Context, _ any, request *mcp.ListResourcesRequest) {
		// All of the server's own are on the first page, so every cursor is the router's.
		callFrom(ctx).cursor, request.Params.Cursor = string(request.Params.Cursor), ""
	})
	hooks.AddAfterListResources(func(ctx context.Context, _ any, _ *mcp.ListResourcesRequest, result *mcp.ListResourcesResult) {
		c := callFrom(ctx)
		if c.cursor != "" {
			result.Resources = []mcp.Resource{}
		}
		page, next, err := s.config.Router.Resources(ctx, c.cursor, resourcePage)
		if err != nil {
			c.failure = failed(err)
			return
		}
		for i := range page {
			if !s.selected.resource(page[i].URI) {
				continue
			}
			result.Resources = append(result.Resources, routedResource(&page[i]))
		}
		result.NextCursor = mcp.Cursor(next)
	})
	hooks.AddAfterListResourceTemplates(func(ctx context.Context, _ any, _ *mcp.ListResourceTemplatesRequest, result *mcp.ListResourceTemplatesResult) {
		for _, t := range s.config.Router.ResourceTemplates(ctx) {
			if !s.selected.resource(t.URITemplate) {
				continue
			}
			one, err := routedTemplate(&t)
			if err != nil {
				s.log.Warn().Err(err).Str("template", t.URITemplate).Msg("a resource template of a connector was left out")
				continue
			}
			result.ResourceTemplates = append(result.ResourceTemplates, one)
		}
	})
	hooks.AddBeforeReadResource(func(ctx context.Context, _ any, request *mcp.ReadResourceRequest) {
		if uri := request.Params.URI; s.routes(uri) {
			callFrom(ctx).resource = map[string]server.ServerResource{uri: {Handler: s.readRouted}}
		}
	})
}

// routes reports whether the router has resources of that URI, or completes it.
func (s *Server) routes(uri string) bool {
	return !strings.HasPrefix(uri, modelsURI) && s.config.Router.Owns(uri) &&
		(strings.HasPrefix(uri, router.ResultScheme) || s.selected.resource(uri))
}

// readRouted reads a resource of a connector, or a result that was cut.
func (s *Server) readRouted(ctx context.Context, request mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
	started, uri := time.Now(), request.Params.URI
	found, err := s.config.Router.ReadResource(ctx, callerOf(ctx), callFrom(ctx).conversation(), uri)
	event := s.log.Info().Str("uri", uri).Str("principal", callerOf(ctx).Principal).Dur("duration_ms", time.Since(started))
	switch {
	case errors.Is(err, router.ErrNoResource):
		event.Str("outcome", "not_found").Msg("mcp resource read")
		return nil, &notFoundError{uri: uri, err: err}
	case err != nil:
		event.Str("outcome", inference.Classify(err).Code).Msg("mcp resource read")
		return nil, err
	}
	event.Str("outcome", "ok").Msg("mcp resource read")
	out := make([]mcp.ResourceContents, 0, len(found))
	for i := range found {
		out = append(out, routedContents(&found[i]))
	}
	return out, nil
}

// annotations reads those of a connector; nil: it gave none that can be read.
func annotations(raw json.RawMessage) (out mcp.Annotated) {
	var a mcp.Annotations
	if len(raw) > 0 && json.Unmarshal(raw, &a) == nil {
		out.Annotations = &a
	}
	return out
}

// routedResource is a resource as MCP tells of it.
func routedResource(r *router.Resource) mcp.Resource {
	out := mcp.Resource{
		Annotated: annotations(r.Annotations),
		URI:       r.URI, Name: r.Name, Title: r.Title, Description: r.Description, MIMEType: r.MIME,
	}
	if r.Size > 0 {
		out.Size = &r.Size
	}
	return out
}

// routedTemplate is a resource template as MCP tells of it.
func routedTemplate(t *router.ResourceTemplate) (mcp.ResourceTemplate, error) {
	out := mcp.ResourceTemplate{
		Annotated:   annotations(t.Annotations),
		URITemplate: &mcp.URITemplate{},
		Name:        t.Name, Title: t.Title, Description: t.Description, MIMEType: t.MIME,
	}
	raw, err := json.Marshal(t.URITemplate)
	if err != nil {
		return out, err
	}
	return out, out.URITemplate.UnmarshalJSON(raw)
}

// syncPrompts makes mcp-go know of the prompts of connectors there are now.
func (s *Server) syncPrompts() {
	s.routed.mu.Lock()
	defer s.routed.mu.Unlock()
	now := map[string]bool{}
	var add []server.ServerPrompt
	for _, p := range s.config.Router.Prompts() {
		if !s.selected.prompt(p.Name) {
			continue
		}
		now[p.Name] = true
		add = append(add, server.ServerPrompt{Prompt: routedPrompt(&p), Handler: s.getPrompt})
	}
	gone := slices.DeleteFunc(slices.Clone(s.routed.prompts), func(name string) bool { return now[name] })
	if len(gone) > 0 {
		s.mcp.DeletePrompts(gone...)
	}
	if len(add) > 0 {
		s.mcp.AddPrompts(add...)
	}
	s.routed.prompts = s.routed.prompts[:0]
	for _, p := range add {
		s.routed.prompts = append(s.routed.prompts, p.Prompt.Name)
	}
}

// routedPrompt is a prompt as MCP tells of it.
func routedPrompt(p *router.Prompt) mcp.Prompt {
	out := mcp.Prompt{Name: p.Name, Title: p.Title, Description: p.Description}
	for _, a := range p.Arguments {
		out.Arguments = append(out.Arguments, mcp.PromptArgument{Name: a.Name, Title: a.Title, Description: a.Description, Required: a.Required})
	}
	return out
}

// getPrompt fills in a prompt of a connector.
func (s *Server) getPrompt(ctx context.Context, request mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
	description, messages, required, err := s.filledIn(ctx, &request)
	event := s.log.Info().Str("prompt", request.Params.Name).Str("principal", callerOf(ctx).Principal)
	if err != nil {
		event.Str("outcome", inference.Classify(err).Code).Msg("mcp prompt")
		return nil, err
	}
	if required != nil {
		event.Str("outcome", "input_required").Msg("mcp prompt")
		return &mcp.GetPromptResult{Result: mcp.Result{ResultType: mcp.ResultTypeInputRequired}, MultiRoundTripResult: *required}, nil
	}
	event.Str("outcome", "ok").Msg("mcp prompt")
	out := &mcp.GetPromptResult{Description: description, Messages: make([]mcp.PromptMessage, 0, len(messages))}
	for i := range messages {
		out.Messages = append(out.Messages, mcp.PromptMessage{Role: mcp.Role(messages[i].Role), Content: routedContent(&messages[i].Content)})
	}
	return out, nil
}

// filledIn fills a prompt in, or goes on where that has asked the client.
func (s *Server) filledIn(ctx context.Context, request *mcp.GetPromptRequest) (description string, messages []router.PromptMessage, required *mcp.MultiRoundTripResult, err error) {
	c, p := callFrom(ctx), &request.Params
	arguments, err := json.Marshal(p.Arguments) // in the order of the names
	if err != nil {
		return "", nil, nil, err
	}
	key := "prompt " + callerOf(ctx).Principal + " " + p.Name + " " + string(arguments)
	var w *work
	if p.RequestState != "" {
		w, err = s.again(p.RequestState, key, p.InputResponses)
	} else if peer := askerOf(ctx, c, p.InputResponses); peer != nil {
		w = s.start(ctx, key, peer, server.IsModernRequest(ctx), func(ctx context.Context, _ *work) (any, error) {
			description, messages, err := s.config.Router.Prompt(router.WithPeer(ctx, peer), callerOf(ctx), c.conversation(), p.Name, p.Arguments)
			return filled{description, messages}, err
		})
	} else {
		description, messages, err = s.config.Router.Prompt(ctx, callerOf(ctx), c.conversation(), p.Name, p.Arguments)
		return description, messages, nil, err
	}
	if err != nil {
		return "", nil, nil, err
	}
	if required, err = s.attend(ctx, c, w); required != nil || err != nil {
		return "", nil, required, err
	}
	f, _ := w.result.(filled)
	return f.description, f.messages, nil, w.err
}

// filled is a prompt that is filled in.
type filled struct {
	description string
	messages    []router.PromptMessage
}

// CompletePromptArgument asks the connector of the prompt.
func (c completer) CompletePromptArgument(ctx context.Context, name string, argument mcp.CompleteArgument, given mcp.CompleteContext) (*mcp.Completion, error) {
	r := c.s.config.Router
	if !slices.ContainsFunc(r.Prompts(), func(p router.Prompt) bool { return p.Name == name && c.s.selected.prompt(name) }) {
		return nil, inference.Invalid("params.ref.name", "there is no prompt %.80q here; prompts/list names those there are", name)
	}
	return c.routed(ctx, name, argument, given)
}

// routed asks the connector of a prompt or of a resource template.
func (c completer) routed(ctx context.Context, of string, argument mcp.CompleteArgument, given mcp.CompleteContext) (*mcp.Completion, error) {
	values, total, err := c.s.config.Router.Complete(ctx, of, argument.Name, argument.Value, given.Arguments)
	if err != nil {
		return nil, err
	}
	found := &mcp.Completion{Values: values, Total: max(total, len(values))}
	if len(values) > maxCompletions {
		found.Values = values[:maxCompletions]
	}
	found.HasMore = found.Total > len(found.Values)
	return found, nil
}
