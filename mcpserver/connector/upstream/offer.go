package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"hearth/mcpserver/router"
)

// offer is what clients see of a server.
type offer struct {
	tools     []router.Tool
	theirs    map[string]string // the server's names, by ours
	held      map[string]string // why a tool is held back, by our name
	prompts   []router.Prompt
	templates []router.ResourceTemplate
	resources bool
	complete  bool
}

// offer makes it from what is remembered.
func (u *Upstream) offer() offer {
	lists, pending := u.pins.snapshot(u.cfg.Pin)
	o := offer{theirs: map[string]string{}, held: map[string]string{}}
	o.prompts, o.templates, o.resources, o.complete = lists.Prompts, lists.Templates, lists.Resources, lists.Complete
	names := u.names(lists.Tools)
	for i := range lists.Tools {
		d := &lists.Tools[i]
		name := names[d.Name]
		if name == "" {
			continue
		}
		o.theirs[name] = d.Name
		if why := pending[d.Name]; why != "" {
			o.held[name] = why + ". See it with \"hearth tools pending\" and approve it with \"hearth tools approve " + u.label + router.Separator + name + "\""
			continue
		}
		o.tools = append(o.tools, u.tool(d, name))
	}
	return o
}

// names returns what clients call the tools that are to be offered, by the server's
// names. A name that another tool has already gets a hash; where that is made to be
// taken, too, the tool is left out.
func (u *Upstream) names(tools []definition) map[string]string {
	ours, theirs := map[string]string{}, map[string]string{}
	for i := range tools {
		d := &tools[i]
		if len(u.cfg.Tools) > 0 && !matches(u.cfg.Tools, d.Name) || matches(u.cfg.Hide, d.Name) {
			continue
		}
		name := u.name(d.Name)
		if theirs[name] != "" {
			name = u.hashed(d.Name)
		}
		if other := theirs[name]; other != "" {
			u.log.Warn().Str("tool", d.Name).Str("other", other).Msg("a tool of an MCP server is left out: its name would be that of another")
			continue
		}
		ours[d.Name], theirs[name] = name, d.Name
	}
	return ours
}

// tool is a definition as the router takes it.
func (u *Upstream) tool(d *definition, name string) router.Tool {
	t := router.Tool{
		Name: name, Title: d.Title, Description: d.Description, Input: d.Input, Output: d.Output, Meta: d.Meta,
		// What a server says is a stranger's text, and where it reaches is not known.
		Effects: router.Effects{Untrusted: true, Outside: true, Writes: true},
	}
	if !ofObject(d.Output) {
		t.Output = nil // a Result's structured content is an object, whatever theirs is
	}
	if u.cfg.TrustAnnotations && d.Hints != nil {
		h := d.Hints
		t.Effects.Writes = !h.ReadOnlyHint
		t.Effects.Destroys = !h.ReadOnlyHint && (h.DestructiveHint == nil || *h.DestructiveHint)
		t.Effects.Outside = h.OpenWorldHint == nil || *h.OpenWorldHint
		t.Idempotent = h.IdempotentHint || h.ReadOnlyHint
	}
	if matches(u.cfg.ReadOnly, d.Name) {
		t.Effects.Writes, t.Effects.Destroys, t.Idempotent = false, false, true
	}
	return t
}

func ofObject(schema json.RawMessage) bool {
	var s struct {
		Type any `json:"type"`
	}
	return json.Unmarshal(schema, &s) == nil && s.Type == "object"
}

// name is what a server's name of a tool becomes: letters, digits, _ and - stay,
// and what is too long is cut and told apart by a hash.
func (u *Upstream) name(theirs string) string {
	legal := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, theirs)
	if len(u.label)+len(router.Separator)+len(legal) <= router.MaxNameBytes {
		return legal
	}
	return u.hashed(theirs)
}

func (u *Upstream) hashed(theirs string) string {
	h := sha256.Sum256([]byte(theirs))
	tail := "-" + hex.EncodeToString(h[:4])
	room := router.MaxNameBytes - len(u.label) - len(router.Separator) - len(tail)
	legal := []byte(theirs)
	for i, c := range legal {
		if !router.ToolName.Match([]byte{c}) {
			legal[i] = '_'
		}
	}
	return string(legal[:min(len(legal), room)]) + tail
}

// Foreign says that somebody else defines the tools: a bad one must not keep
// others, or this server, from starting.
func (u *Upstream) Foreign() {}

// Tools returns what is offered, sorted by the server's names.
func (u *Upstream) Tools() []router.Tool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.offered.tools
}

// Missing says why a tool that this connector knows is not offered, "" where it
// knows none of that name.
func (u *Upstream) Missing(name string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.offered.held[name]
}

// theirs returns the server's name of a tool that is offered.
func (u *Upstream) theirs(name string) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if why, held := u.offered.held[name]; held {
		return "", &router.ToolError{Message: "the tool " + name + " is held back: " + why}
	}
	if theirs, ok := u.offered.theirs[name]; ok {
		return theirs, nil
	}
	return "", &router.ToolError{Message: fmt.Sprintf("the server does not offer %q any more", name)}
}
