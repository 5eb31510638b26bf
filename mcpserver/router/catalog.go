package router

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"hearth/inference"
)

// uriSeparator stands between the label of a connector and its own URI of a
// resource: docs+file:///a.md.
const uriSeparator = "+"

// providers returns the connectors that are a T, in their order.
func providers[T any](r *Router) (labels []string, all []T) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, c := range r.connectors {
		if p, ok := c.run.(T); ok {
			labels, all = append(labels, c.label), append(all, p)
		}
	}
	return labels, all
}

// provider returns the connector of that label, if it is a T.
func provider[T any](r *Router, label string) (T, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, c := range r.connectors {
		if c.label == label {
			p, ok := c.run.(T)
			return p, ok
		}
	}
	var none T
	return none, false
}

// owner returns the label of the connector that is a T and has that name or URI, and
// what the connector itself calls it.
func owner[T any](r *Router, name, separator string) (label, own string, ok bool) {
	if label, own, ok = strings.Cut(name, separator); ok && label != "" {
		if _, ok = provider[T](r, label); ok {
			return label, own, true
		}
	}
	_, ok = provider[T](r, "")
	return "", name, ok
}

// catalogTimeout bounds what is asked of one connector for a list.
const catalogTimeout = 20 * time.Second

// position is where a page of resources begins: in which connector, and at which
// cursor of its own.
type position struct {
	Label  string `json:"l"`
	Cursor string `json:"c"`
}

// Resources returns at most limit resources of all connectors behind cursor, and
// the cursor of the next page, empty at the end. One connector that fails is left
// out, and the log says so.
func (r *Router) Resources(ctx context.Context, cursor string, limit int) (page []Resource, next string, err error) {
	labels, all := providers[ResourceProvider](r)
	at := position{}
	if cursor != "" {
		raw, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil || json.Unmarshal(raw, &at) != nil {
			return nil, "", inference.Invalid("cursor", "is none of this server's")
		}
	}
	for i, p := range all {
		if at.Label != "" && labels[i] != at.Label {
			continue // an earlier page had it
		}
		own := at.Cursor
		at = position{}
		for {
			one, after, err := r.page(ctx, p, own, limit-len(page))
			if err != nil {
				r.log.Warn().Err(err).Str("connector", labels[i]).Msg("the resources of a connector could not be listed")
				break
			}
			for _, res := range one {
				res.URI = full(labels[i], uriSeparator, res.URI)
				page = append(page, res)
			}
			if own = after; own == "" {
				break
			}
			if len(page) >= limit {
				return page, mark(position{labels[i], own}), nil
			}
		}
		if len(page) >= limit && i+1 < len(all) {
			return page, mark(position{Label: labels[i+1]}), nil
		}
	}
	return page, "", nil
}

func (r *Router) page(ctx context.Context, p ResourceProvider, cursor string, limit int) ([]Resource, string, error) {
	ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
	defer cancel()
	return p.Resources(ctx, cursor, max(limit, 1))
}

func mark(p position) string {
	raw, _ := json.Marshal(p) // two strings
	return base64.RawURLEncoding.EncodeToString(raw)
}

// ResourceTemplates returns those of all connectors.
func (r *Router) ResourceTemplates(ctx context.Context) []ResourceTemplate {
	labels, all := providers[ResourceProvider](r)
	var out []ResourceTemplate
	for i, p := range all {
		some, err := func() ([]ResourceTemplate, error) {
			ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
			defer cancel()
			return p.ResourceTemplates(ctx)
		}()
		if err != nil {
			r.log.Warn().Err(err).Str("connector", labels[i]).Msg("the resource templates of a connector could not be listed")
			continue
		}
		for _, t := range some {
			t.URITemplate = full(labels[i], uriSeparator, t.URITemplate)
			out = append(out, t)
		}
	}
	return out
}

// Owns says whether resources of that URI are read here.
func (r *Router) Owns(uri string) bool {
	if strings.HasPrefix(uri, ResultScheme) {
		return true
	}
	_, _, ok := owner[ResourceProvider](r, uri, uriSeparator)
	return ok
}

// ReadResource reads a resource of a connector, or the whole of a result that was
// cut. What a connector of strangers' text gives counts as such a result of the
// conversation, as Request has it. The error is ErrNoResource where the caller has no
// such.
func (r *Router) ReadResource(ctx context.Context, caller inference.Caller, conversation, uri string) ([]ResourceContents, error) {
	if strings.HasPrefix(uri, ResultScheme) {
		c, ok := r.results.get(caller.Principal, uri, now())
		if !ok {
			return nil, fmt.Errorf("%w: the result is not kept any more, or is not yours", ErrNoResource)
		}
		return []ResourceContents{c}, nil
	}
	label, own, ok := owner[ResourceProvider](r, uri, uriSeparator)
	if !ok {
		return nil, ErrNoResource
	}
	p, _ := provider[ResourceProvider](r, label)
	var contents []ResourceContents
	err := r.within(ctx, caller, label, func(ctx context.Context) (err error) {
		contents, err = p.ReadResource(ctx, own)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range contents {
		contents[i].URI = full(label, uriSeparator, contents[i].URI)
		contents[i].Text = r.redactText(contents[i].Text)
	}
	r.taintBy(label, caller, conversation)
	return contents, nil
}

// within asks a connector for what is no call of a tool, in the same limits as those:
// the principal's, the connector's, its bulkhead, its timeout and its circuit breaker.
func (r *Router) within(ctx context.Context, caller inference.Caller, label string, ask func(context.Context) error) error {
	r.mu.RLock()
	at := slices.IndexFunc(r.connectors, func(c *connector) bool { return c.label == label })
	c := r.connectors[at] // owner has found it
	r.mu.RUnlock()
	ctx, end, free, err := r.begin(ctx, caller.Principal, c, 0)
	if err != nil {
		return err
	}
	defer end()
	defer free()
	probe, err := c.breaker.allow(now())
	if err != nil {
		return err
	}
	err = r.guarded(ctx, label, ask)
	late := errors.Is(context.Cause(ctx), errTimeout)
	switch {
	case err == nil, errors.Is(err, ErrNoResource), errors.Is(err, inference.ErrInvalid), errors.As(err, new(*ToolError)):
		c.breaker.report(now(), probe, false)
	case errors.As(err, new(*CapabilityError)), ctx.Err() != nil && !late:
		c.breaker.forgo(probe)
	default:
		c.breaker.report(now(), probe, true)
	}
	r.observe.BreakerOpen(c.label, c.breaker.isOpen())
	switch {
	case err == nil:
		return nil
	case late:
		return fmt.Errorf("%s did not answer in time: %w", label, errTimeout)
	}
	return r.readable(err, label)
}

// guarded asks, and makes a panic of the connector an error.
func (r *Router) guarded(ctx context.Context, label string, ask func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Str("connector", label).Msg("a connector panicked")
			err = fmt.Errorf("%s panicked", label)
		}
	}()
	return ask(ctx)
}

// taintBy notes that the conversation has read something of the connector's, if
// results of its tools are what strangers may have written.
func (r *Router) taintBy(label string, caller inference.Caller, conversation string) {
	r.mu.RLock()
	untrusted := slices.ContainsFunc(r.tools, func(e *Entry) bool { return e.Label == label && e.Tool.Effects.Untrusted })
	r.mu.RUnlock()
	r.taint.note(&Request{Caller: caller, Conversation: conversation}, &Result{Untrusted: untrusted}, now())
}

// address makes what a result says of its connector's resources the URIs that
// clients read them by.
func (c *connector) address(result *Result) {
	if _, has := c.run.(ResourceProvider); !has {
		return
	}
	for i := range result.Content {
		switch piece := &result.Content[i]; piece.Type {
		case ContentLink:
			piece.Resource.URI = full(c.label, uriSeparator, piece.Resource.URI)
		case ContentResource:
			piece.Contents.URI = full(c.label, uriSeparator, piece.Contents.URI)
		}
	}
}

// readable keeps the text of unknown errors from clients.
func (r *Router) readable(err error, label string) error {
	var said *ToolError
	switch {
	case errors.Is(err, ErrNoResource), errors.Is(err, context.Canceled), errors.Is(err, inference.ErrInvalid), errors.As(err, new(*CapabilityError)):
		return err
	case errors.As(err, &said):
		return inference.Invalid("", "%s", said.Message)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer in time: %w", label, inference.ErrDeadline)
	}
	r.log.Error().Err(err).Str("connector", label).Msg("a connector failed")
	return fmt.Errorf("%w: %s failed", ErrUnavailable, label)
}

// Watch begins to look at a resource: its changes come to those who subscribed. An
// inference.ErrUnsupported says that its connector does not notice changes.
func (r *Router) Watch(ctx context.Context, uri string) (stop func(), err error) {
	label, own, _ := owner[ResourceWatcher](r, uri, uriSeparator)
	p, ok := provider[ResourceWatcher](r, label)
	if !ok {
		return nil, fmt.Errorf("%w: changes of %s are not noticed", inference.ErrUnsupported, uri)
	}
	if stop, err = p.Watch(ctx, own); err != nil && !errors.Is(err, inference.ErrUnsupported) && !errors.Is(err, inference.ErrShutdown) {
		err = r.readable(err, label)
	}
	return stop, err
}

// Prompts returns those of all connectors, in a fixed order.
func (r *Router) Prompts() []Prompt {
	labels, all := providers[PromptProvider](r)
	var out []Prompt
	for i, p := range all {
		for _, one := range p.Prompts() {
			one.Name = full(labels[i], Separator, one.Name)
			out = append(out, one)
		}
	}
	return out
}

// Prompt fills one in, for a conversation as Request has it.
func (r *Router) Prompt(ctx context.Context, caller inference.Caller, conversation, name string, arguments map[string]string) (string, []PromptMessage, error) {
	label, own, _ := owner[PromptProvider](r, name, Separator)
	p, ok := provider[PromptProvider](r, label)
	if !ok {
		return "", nil, inference.Invalid("name", "there is no prompt %.80q here; prompts/list names those there are", name)
	}
	var description string
	var messages []PromptMessage
	err := r.within(ctx, caller, label, func(ctx context.Context) (err error) {
		description, messages, err = p.Prompt(ctx, own, arguments)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	messages = slices.Clone(messages)
	for i := range messages {
		c := &messages[i].Content
		c.Text, c.Contents.Text = r.redactText(c.Text), r.redactText(c.Contents.Text)
	}
	r.taintBy(label, caller, conversation)
	return r.redactText(description), messages, nil
}

// Complete completes an argument of a prompt (by its full name) or of a resource
// template (with its label).
func (r *Router) Complete(ctx context.Context, of, argument, typed string, others map[string]string) (values []string, total int, err error) {
	label, own, ok := owner[Completer](r, of, uriSeparator)
	if !ok || label == "" {
		label, own, _ = owner[Completer](r, of, Separator)
	}
	p, ok := provider[Completer](r, label)
	if !ok {
		return nil, 0, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, catalogTimeout, inference.ErrDeadline)
	defer cancel()
	values, total, err = p.Complete(ctx, own, argument, typed, others)
	if err != nil {
		return nil, 0, r.readable(err, label)
	}
	return values, total, nil
}
