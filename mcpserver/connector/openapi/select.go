package openapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/getkin/kin-openapi/openapi3"

	"hearth/mcpserver/router"
)

const (
	maxTools = 1000 // of one document
	maxText  = 400  // bytes of a tool's description
	maxPart  = 160  // bytes of an argument's
)

// loading is one document that becomes a set of operations.
type loading struct {
	config *Config
	label  string // the connector's, which stands in the tools' names
	doc    *openapi3.T
	left   []string // operations that cannot be offered, and why
}

func (l *loading) schemaBytes() int {
	if l.config.SchemaBytes == 0 {
		return defaultSchema
	}
	return int(l.config.SchemaBytes)
}

// operations makes the chosen operations callable, in the order of their paths
// and methods.
func (l *loading) operations() ([]*operation, error) {
	if err := l.checkSchemes(); err != nil {
		return nil, err
	}
	var out []*operation
	used := make([]bool, len(l.config.Overrides))
	names := map[string]*operation{}
	for _, path := range l.doc.Paths.Keys() { // sorted below: the library's order is no promise
		item := l.doc.Paths.Value(path)
		if item == nil {
			continue
		}
		for _, method := range methods {
			op := item.GetOperation(method)
			if op == nil || !l.chosen(method, path, op) {
				continue
			}
			o, err := l.build(method, path, item, op)
			if err != nil {
				l.left = append(l.left, fmt.Sprintf("%s %s: %v", method, short(path), err))
				continue
			}
			l.name(o, op, used)
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *operation) int {
		if c := strings.Compare(a.path, b.path); c != 0 {
			return c
		}
		return slices.Index(methods, a.method) - slices.Index(methods, b.method)
	})
	for _, o := range out {
		if other := names[o.tool.Name]; other != nil {
			return nil, unusable("%s and %s would both be the tool %s: give one of them another name in overrides", other.label(), o.label(), o.tool.Name)
		}
		names[o.tool.Name] = o
	}
	slices.Sort(l.left)
	for i, u := range used {
		if !u {
			return nil, unusable("overrides[%d]: there is no operation %q among those that are offered", i, l.config.Overrides[i].Operation)
		}
	}
	switch {
	case len(out) == 0:
		return nil, unusable("none of its operations is offered: see include, exclude and deprecated%s", because(l.left))
	case len(out) > maxTools:
		return nil, unusable("%d of its operations would be offered, at most %d are: choose some of them by include", len(out), maxTools)
	}
	return out, nil
}

func because(left []string) string {
	if len(left) == 0 {
		return ""
	}
	return "; " + strings.Join(left[:min(len(left), 3)], "; ")
}

func (l *loading) chosen(method, path string, op *openapi3.Operation) bool {
	if op.Deprecated && !l.config.Deprecated {
		return false
	}
	return (l.config.Include.empty() || l.config.Include.names(method, path, op)) && !l.config.Exclude.names(method, path, op)
}

func (s *Selection) names(method, path string, op *openapi3.Operation) bool {
	for _, t := range s.Tags {
		if slices.Contains(op.Tags, t) {
			return true
		}
	}
	for _, g := range s.Operations {
		if re, err := regexp.Compile("^" + globExpr(g) + "$"); err == nil && op.OperationID != "" && re.MatchString(op.OperationID) {
			return true
		}
	}
	for _, g := range s.Paths {
		if m, re, err := readPathGlob(g); err == nil && (m == "" || m == method) && re.MatchString(path) {
			return true
		}
	}
	return false
}

// name gives the tool its name, texts and effects.
func (l *loading) name(o *operation, op *openapi3.Operation, used []bool) {
	t := &o.tool
	t.Name = legalName(op.OperationID)
	if t.Name == "" {
		t.Name = legalName(strings.ToLower(o.method) + "_" + strings.NewReplacer("{", "", "}", "").Replace(strings.Trim(o.path, "/")))
	}
	t.Title = describe(op.Summary, 80)
	t.Description = describe(joined(op.Summary, op.Description), maxText)
	if t.Description == "" {
		t.Description = "Calls " + short(o.label()) + "."
	}
	t.Effects = router.Effects{Untrusted: l.config.Untrusted, Outside: l.config.Outside}
	switch o.method {
	case http.MethodGet, http.MethodHead:
		t.Idempotent = true
	case http.MethodDelete:
		t.Effects.Writes, t.Effects.Destroys, t.Idempotent = true, true, true
	case http.MethodPut:
		t.Effects.Writes, t.Idempotent = true, true
	default:
		t.Effects.Writes = true
	}
	for i, over := range l.config.Overrides {
		if over.Operation != op.OperationID && over.Operation != o.label() || over.Operation == "" {
			continue
		}
		used[i] = true
		if over.Name != "" {
			t.Name = over.Name
		}
		if over.Description != "" {
			t.Description = over.Description
		}
		switch over.Effects {
		case "reads":
			t.Effects.Writes, t.Effects.Destroys = false, false
		case "writes":
			t.Effects.Writes, t.Effects.Destroys = true, false
		case "destroys":
			t.Effects.Writes, t.Effects.Destroys = true, true
		}
	}
	t.Name = l.fit(t.Name)
}

// legalName keeps what a tool's name may hold.
func legalName(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-'):
			b.WriteRune(r)
		case !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
	}
	return strings.Trim(b.String(), "_")
}

// fit shortens a name that is too long with the label before it. The end tells
// names apart that begin alike.
func (l *loading) fit(name string) string {
	most := router.MaxNameBytes - len(l.label) - len(router.Separator)
	if len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(name[:most-7], "_-") + "_" + hex.EncodeToString(sum[:3])
}

func joined(summary, description string) string {
	summary, description = strings.TrimSpace(summary), strings.TrimSpace(description)
	switch {
	case summary == "" || strings.HasPrefix(strings.ToLower(description), strings.ToLower(strings.TrimRight(summary, "."))):
		return description
	case description == "":
		return summary
	}
	if !strings.ContainsAny(summary[len(summary)-1:], ".!?:") {
		summary += "."
	}
	return summary + " " + description
}

// describe makes one line of at most most bytes of a text, of whole sentences
// where they fit.
func describe(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= most {
		return text
	}
	cut := strings.ToValidUTF8(text[:most], "")
	if end := strings.LastIndexAny(cut, ".!?"); end > most/3 && end+1 < len(text) && text[end+1] == ' ' {
		return cut[:end+1]
	}
	if end := strings.LastIndexByte(cut, ' '); end > most/2 {
		cut = cut[:end]
	}
	return strings.TrimRight(cut, " ,;:") + "…"
}

// base is the URL in front of an operation's path.
func (l *loading) base(item *openapi3.PathItem, op *openapi3.Operation) (*url.URL, error) {
	if l.config.BaseURL != "" {
		return url.Parse(l.config.BaseURL)
	}
	servers := l.doc.Servers
	if len(item.Servers) > 0 {
		servers = item.Servers
	}
	if op.Servers != nil && len(*op.Servers) > 0 {
		servers = *op.Servers
	}
	raw := "/"
	if len(servers) > 0 && servers[0] != nil {
		var err error
		if raw, err = l.expand(servers[0]); err != nil {
			return nil, err
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("its server %s is no URL", short(raw))
	}
	if !u.IsAbs() {
		if !isURL(l.config.Document) {
			return nil, fmt.Errorf("the document does not say where the service is: set base_url")
		}
		at, err := url.Parse(l.config.Document)
		if err != nil {
			return nil, fmt.Errorf("document: %w", err)
		}
		u = at.ResolveReference(u)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("its server %s is no http or https URL", short(raw))
	}
	if isURL(l.config.Document) && !sameOrigin(u.String(), l.config.Document) {
		// What a service says must not lead credentials elsewhere.
		return nil, fmt.Errorf("its server %s is another host than that of the document: set base_url if that is right", short(u.Scheme+"://"+u.Host))
	}
	u.RawQuery, u.Fragment = "", ""
	return u, nil
}

// expand fills the variables of a server's URL in.
func (l *loading) expand(s *openapi3.Server) (string, error) {
	out := s.URL
	for _, name := range pathNames(s.URL) {
		v := s.Variables[name]
		value, set := l.config.Variables[name]
		switch {
		case !set && v == nil:
			return "", fmt.Errorf("its server has the variable {%s}, which nothing describes: set variables.%s or base_url", short(name), short(name))
		case !set:
			value = v.Default
		case v != nil && len(v.Enum) > 0 && !slices.Contains(v.Enum, value):
			return "", fmt.Errorf("variables.%s must be one of %s", short(name), short(strings.Join(v.Enum, ", ")))
		}
		out = strings.ReplaceAll(out, "{"+name+"}", value)
	}
	return out, nil
}
