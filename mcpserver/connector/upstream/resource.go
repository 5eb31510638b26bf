package upstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"hearth/mcpserver/router"
)

// maxPage bounds the resources of one page.
const maxPage = 10_000

// codeNoResource is the code for a resource that is not there, in the protocols
// before 2026-07-28.
const codeNoResource = -32002

// Resources returns a page of the server's own, by its cursor: a page is as long
// as the server makes it, up to a bound.
func (u *Upstream) Resources(ctx context.Context, cursor string, _ int) ([]router.Resource, string, error) {
	if !u.has(func(o *offer) bool { return o.resources }) {
		return nil, "", nil
	}
	l, err := u.use(ctx)
	if err != nil {
		return nil, "", u.refusal(err)
	}
	defer l.leave()
	page, err := l.session.ListResources(ctx, &mcp.ListResourcesParams{Cursor: cursor})
	if err != nil {
		return nil, "", u.failure(ctx, l, err)
	}
	if len(page.Resources) > maxPage {
		return nil, "", fmt.Errorf("the server's page of resources has more than %d", maxPage)
	}
	if page.NextCursor == cursor && cursor != "" {
		return nil, "", errors.New("the server's list of resources leads back to an earlier page")
	}
	out := make([]router.Resource, 0, len(page.Resources))
	for _, r := range page.Resources {
		if r == nil || r.URI == "" || len(r.URI) > maxURIBytes {
			continue
		}
		out = append(out, router.Resource{
			URI: r.URI, Name: r.Name, Title: r.Title, Description: cut(r.Description, maxTextBytes), MIME: r.MIMEType, Size: max(0, r.Size),
			Annotations: annotations(r.Annotations),
		})
	}
	return out, page.NextCursor, nil
}

func (u *Upstream) has(f func(*offer) bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return f(&u.offered)
}

// ResourceTemplates returns those of the last list.
func (u *Upstream) ResourceTemplates(context.Context) ([]router.ResourceTemplate, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.offered.templates, nil
}

// ReadResource reads one of the server's.
func (u *Upstream) ReadResource(ctx context.Context, uri string) ([]router.ResourceContents, error) {
	if len(uri) > maxURIBytes {
		return nil, errLongURI
	}
	if !u.has(func(o *offer) bool { return o.resources }) {
		return nil, router.ErrNoResource
	}
	l, err := u.use(ctx)
	if err != nil {
		return nil, u.refusal(err)
	}
	defer l.leave()
	r, err := l.session.ReadResource(ctx, &mcp.ReadResourceParams{URI: uri})
	if err != nil {
		var answer *jsonrpc.Error
		if errors.As(err, &answer) && (answer.Code == codeNoResource || answer.Code == jsonrpc.CodeInvalidParams) {
			return nil, fmt.Errorf("%w: the server says: %s", router.ErrNoResource, cut(answer.Message, maxMessageBytes))
		}
		return nil, u.failure(ctx, l, err)
	}
	if len(r.Contents) > maxContent {
		return nil, fmt.Errorf("the server's resource has more than %d parts", maxContent)
	}
	out := make([]router.ResourceContents, 0, len(r.Contents))
	for _, c := range r.Contents {
		if c != nil {
			out = append(out, contents(c))
		}
	}
	return out, nil
}

// Prompts returns those of the last list.
func (u *Upstream) Prompts() []router.Prompt {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.offered.prompts
}

// Prompt has the server fill one in.
func (u *Upstream) Prompt(ctx context.Context, name string, arguments map[string]string) (string, []router.PromptMessage, error) {
	l, err := u.use(ctx)
	if err != nil {
		return "", nil, u.refusal(err)
	}
	defer l.leave()
	r, err := l.session.GetPrompt(ctx, &mcp.GetPromptParams{Name: name, Arguments: arguments})
	if err != nil {
		return "", nil, u.failure(ctx, l, err)
	}
	if len(r.Messages) > maxContent {
		return "", nil, fmt.Errorf("the server's prompt has more than %d messages", maxContent)
	}
	out := make([]router.PromptMessage, 0, len(r.Messages))
	for _, m := range r.Messages {
		if m == nil || m.Role != "user" && m.Role != "assistant" {
			return "", nil, errors.New("the server's prompt has a message of no role")
		}
		c, err := content(m.Content)
		if err != nil {
			return "", nil, err
		}
		out = append(out, router.PromptMessage{Role: string(m.Role), Content: *c})
	}
	return cut(r.Description, maxTextBytes), out, nil
}

// maxValues bounds the values of one completion: what the protocol allows.
const maxValues = 100

// Complete has the server complete an argument of a prompt or of a template.
func (u *Upstream) Complete(ctx context.Context, of, argument, typed string, others map[string]string) ([]string, int, error) {
	ref := &mcp.CompleteReference{Type: "ref/resource", URI: of}
	able := u.has(func(o *offer) bool {
		for _, p := range o.prompts {
			if p.Name == of {
				ref = &mcp.CompleteReference{Type: "ref/prompt", Name: of}
			}
		}
		return o.complete
	})
	if !able {
		return nil, 0, nil
	}
	l, err := u.use(ctx)
	if err != nil {
		return nil, 0, u.refusal(err)
	}
	defer l.leave()
	p := &mcp.CompleteParams{Ref: ref, Argument: mcp.CompleteParamsArgument{Name: argument, Value: typed}}
	if len(others) > 0 {
		p.Context = &mcp.CompleteContext{Arguments: others}
	}
	r, err := l.session.Complete(ctx, p)
	if err != nil {
		return nil, 0, u.failure(ctx, l, err)
	}
	values := r.Completion.Values
	total := max(r.Completion.Total, len(values))
	if r.Completion.HasMore && total == len(values) {
		total++
	}
	return values[:min(len(values), maxValues)], total, nil
}
