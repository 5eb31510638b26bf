package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"hearth/mcpserver/router"
)

// Bounds of what a server says of itself.
const (
	maxPages       = 200
	maxPrompts     = 512
	maxTemplates   = 512
	maxTextBytes   = 8 << 10 // of a description
	maxTitleBytes  = 256
	maxListBytes   = 16 << 20 // of all definitions
	maxArgumentsOf = 64       // arguments of a prompt
)

// definition is a tool as its server defines it.
type definition struct {
	Name        string               `json:"name"`
	Title       string               `json:"title,omitempty"`
	Description string               `json:"description,omitempty"`
	Input       json.RawMessage      `json:"input"`
	Output      json.RawMessage      `json:"output,omitempty"`
	Hints       *mcp.ToolAnnotations `json:"hints,omitempty"`
	Meta        json.RawMessage      `json:"meta,omitempty"`
}

// remembered is what a server offered the last time.
type remembered struct {
	Source    string                    `json:"source"`
	Tools     []definition              `json:"tools"`
	Prompts   []router.Prompt           `json:"prompts,omitempty"`
	Templates []router.ResourceTemplate `json:"templates,omitempty"`
	Resources bool                      `json:"resources,omitempty"`
	Complete  bool                      `json:"complete,omitempty"` // it completes arguments
}

// pages asks for page after page. A server that gives the same cursor again or
// that never ends is at fault.
func pages(what string, one func(cursor string) (next string, err error)) error {
	seen := map[string]bool{}
	cursor := ""
	for n := 0; n < maxPages; n++ {
		next, err := one(cursor)
		if err != nil {
			return err
		}
		if next == "" {
			return nil
		}
		if seen[next] {
			return fmt.Errorf("the server's list of %s leads back to an earlier page", what)
		}
		seen[next], cursor = true, next
	}
	return fmt.Errorf("the server's list of %s has more than %d pages", what, maxPages)
}

// read asks a server for all that it offers.
func (u *Upstream) read(ctx context.Context, s *mcp.ClientSession) (*remembered, error) {
	r := &remembered{Source: u.cfg.source(), Tools: []definition{}}
	init := s.InitializeResult()
	if init == nil || init.Capabilities == nil {
		return r, nil
	}
	if init.Capabilities.Tools != nil {
		if err := u.readTools(ctx, s, r); err != nil {
			return nil, err
		}
	}
	if init.Capabilities.Prompts != nil {
		if err := u.readPrompts(ctx, s, r); err != nil {
			return nil, err
		}
	}
	r.Complete = init.Capabilities.Completions != nil
	if init.Capabilities.Resources != nil {
		r.Resources = true
		if err := u.readTemplates(ctx, s, r); err != nil {
			// Servers exist that have resources and do not know the word template.
			u.log.Debug().Err(err).Msg("an MCP server lists no resource templates")
		}
	}
	return r, nil
}

func (u *Upstream) readTools(ctx context.Context, s *mcp.ClientSession, r *remembered) error {
	total := 0
	err := pages("tools", func(cursor string) (string, error) {
		page, err := s.ListTools(ctx, &mcp.ListToolsParams{Cursor: cursor})
		if err != nil {
			return "", err
		}
		for _, t := range page.Tools {
			d, err := define(t)
			if err != nil {
				u.log.Warn().Err(err).Str("tool", fmt.Sprintf("%.80q", t.Name)).Msg("a tool of an MCP server is left out")
				continue
			}
			r.Tools = append(r.Tools, *d)
			if total += len(d.Input) + len(d.Output) + len(d.Description); total > maxListBytes {
				return "", fmt.Errorf("the server's definitions of tools have more than %d bytes", maxListBytes)
			}
		}
		if len(r.Tools) > u.cfg.MaxTools {
			return "", fmt.Errorf("the server offers more than %d tools: raise max_tools, or name those wanted", u.cfg.MaxTools)
		}
		return page.NextCursor, nil
	})
	if err != nil {
		return err
	}
	// One order, whatever the server does: the lists are part of prompts.
	slices.SortStableFunc(r.Tools, func(a, b definition) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(r.Tools); i++ {
		if r.Tools[i].Name == r.Tools[i-1].Name {
			return fmt.Errorf("the server offers two tools of the name %.80q", r.Tools[i].Name)
		}
	}
	return nil
}

// define checks one tool and takes over all that it says.
func define(t *mcp.Tool) (*definition, error) {
	input, err := json.Marshal(t.InputSchema)
	if err != nil {
		return nil, err
	}
	d := &definition{Name: t.Name, Title: t.Title, Description: t.Description, Hints: t.Annotations, Input: input}
	if d.Title == "" && t.Annotations != nil {
		d.Title = t.Annotations.Title
	}
	if t.OutputSchema != nil {
		if d.Output, err = json.Marshal(t.OutputSchema); err != nil {
			return nil, err
		}
	}
	if len(t.Meta) > 0 {
		if d.Meta, err = json.Marshal(t.Meta); err != nil {
			return nil, err
		}
	}
	switch {
	case t.Name == "" || len(t.Name) > 128:
		return nil, fmt.Errorf("its name must have 1 to 128 bytes")
	case len(d.Description) > maxTextBytes:
		return nil, fmt.Errorf("its description has %d bytes, at most %d are taken", len(d.Description), maxTextBytes)
	case len(d.Title) > maxTitleBytes:
		return nil, fmt.Errorf("its title has %d bytes, at most %d are taken", len(d.Title), maxTitleBytes)
	case len(d.Input) > router.MaxSchemaBytes || len(d.Output) > router.MaxSchemaBytes || len(d.Meta) > router.MaxSchemaBytes:
		return nil, fmt.Errorf("its schema has more than %d bytes", router.MaxSchemaBytes)
	case !ofObject(d.Input):
		return nil, fmt.Errorf("its schema of the arguments is not that of an object")
	}
	return d, nil
}

func (u *Upstream) readPrompts(ctx context.Context, s *mcp.ClientSession, r *remembered) error {
	err := pages("prompts", func(cursor string) (string, error) {
		page, err := s.ListPrompts(ctx, &mcp.ListPromptsParams{Cursor: cursor})
		if err != nil {
			return "", err
		}
		for _, p := range page.Prompts {
			if p == nil || p.Name == "" || len(p.Name) > 128 || len(p.Description) > maxTextBytes || len(p.Title) > maxTitleBytes || len(p.Arguments) > maxArgumentsOf {
				u.log.Warn().Msg("a prompt of an MCP server is left out: its name or its texts are too long")
				continue
			}
			one := router.Prompt{Name: p.Name, Title: p.Title, Description: p.Description}
			for _, a := range p.Arguments {
				if a != nil && len(a.Name) <= 128 && len(a.Description) <= maxTextBytes {
					one.Arguments = append(one.Arguments, router.PromptArgument{Name: a.Name, Title: a.Title, Description: a.Description, Required: a.Required})
				}
			}
			r.Prompts = append(r.Prompts, one)
		}
		if len(r.Prompts) > maxPrompts {
			return "", fmt.Errorf("the server offers more than %d prompts", maxPrompts)
		}
		return page.NextCursor, nil
	})
	slices.SortStableFunc(r.Prompts, func(a, b router.Prompt) int { return strings.Compare(a.Name, b.Name) })
	return err
}

func (u *Upstream) readTemplates(ctx context.Context, s *mcp.ClientSession, r *remembered) error {
	err := pages("resource templates", func(cursor string) (string, error) {
		page, err := s.ListResourceTemplates(ctx, &mcp.ListResourceTemplatesParams{Cursor: cursor})
		if err != nil {
			return "", err
		}
		for _, t := range page.ResourceTemplates {
			if t == nil || t.URITemplate == "" || len(t.URITemplate) > maxURIBytes || len(t.Description) > maxTextBytes {
				continue
			}
			r.Templates = append(r.Templates, router.ResourceTemplate{
				URITemplate: t.URITemplate, Name: t.Name, Title: t.Title, Description: t.Description, MIME: t.MIMEType,
				Annotations: annotations(t.Annotations),
			})
		}
		if len(r.Templates) > maxTemplates {
			return "", fmt.Errorf("the server offers more than %d resource templates", maxTemplates)
		}
		return page.NextCursor, nil
	})
	return err
}

// relist reads the lists again after the server said that they changed. While one
// reading waits, further notices add nothing.
func (u *Upstream) relist(s *mcp.ClientSession) {
	if u.ctx.Err() != nil {
		return
	}
	if !u.relisting.CompareAndSwap(false, true) {
		return
	}
	u.spawn(func() {
		await(u.relists.owe(1), u.ctx.Done())
		u.relisting.Store(false)
		ctx, cancel := context.WithTimeout(u.ctx, u.cfg.Connect)
		defer cancel()
		lists, err := u.read(ctx, s)
		if err != nil {
			u.log.Warn().Err(err).Msg("an MCP server's lists cannot be read again; the earlier ones hold")
			return
		}
		u.accept(lists)
	})
}

// accept takes over what a server offers now, remembers it and tells of changes.
func (u *Upstream) accept(lists *remembered) {
	if err := u.pins.update(lists, u.cfg.Pin); err != nil {
		u.log.Error().Err(err).Msg("what an MCP server offers cannot be remembered")
	}
	u.renew()
	u.knows()
}

// renew makes the offer anew from what is remembered and approved. When it returns,
// what changed was told, by whichever renewal found it: what one remembers in its file
// is at once seen by the watch of that file, which renews, too.
func (u *Upstream) renew() {
	u.renewing.Lock()
	defer u.renewing.Unlock()
	next := u.offer()
	u.mu.Lock()
	before := u.offered
	u.offered = next
	u.mu.Unlock()
	for name, why := range next.held {
		if _, was := before.held[name]; !was {
			u.log.Warn().Str("tool", name).Msg("a tool of an MCP server is held back: " + why)
		}
	}
	change := router.Change{
		Tools:     !same(before.tools, next.tools),
		Prompts:   !same(before.prompts, next.prompts),
		Resources: !same(before.templates, next.templates),
	}
	if change.Tools || change.Prompts || change.Resources {
		u.tell(change)
	}
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
