package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"hearth/mcpserver/router"
)

// operation is one operation of the service: how a call of its tool becomes a
// request. It does not change.
type operation struct {
	tool   router.Tool
	method string
	path   string // with {names}
	base   *url.URL
	params []parameter
	body   *body
	// security are the alternatives, each a set of schemes that are needed together.
	security [][]string
	wrapped  bool // the answer's schema is not that of an object
}

// label names the operation in errors.
func (o *operation) label() string { return o.method + " " + o.path }

// parameter is one parameter of an operation.
type parameter struct {
	argument string // name of the tool's argument
	name     string // name in the request
	in       string // path, query, header, cookie
	style    string
	explode  bool
	reserved bool // reserved characters are not escaped
	asJSON   bool // the value is sent as JSON text
	required bool
}

// bodyKind is how a body is written.
type bodyKind int

const (
	bodyJSON bodyKind = iota
	bodyForm
	bodyMultipart
	bodyText
)

// body is the request body of an operation.
type body struct {
	kind     bodyKind
	media    string
	required bool
	// members are the arguments that are its members, by their names in the body;
	// nil: one argument holds all of it.
	members map[string]string
	whole   string
	// encodings say how members of a form are written.
	encodings map[string]memberEncoding
}

type memberEncoding struct {
	style   string
	explode bool
	media   string
	file    bool
}

// notForArguments says whether a header belongs to the connection or to the
// connector, and so is no argument.
func notForArguments(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Accept", "Authorization", "Content-Type", "Content-Length", "Content-Encoding", "Connection", "Cookie", "Expect", "Host", "Keep-Alive",
		"Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent":
		return true
	}
	return false
}

// build makes an operation of the document callable. The error says why it cannot
// be offered.
func (l *loading) build(method, path string, item *openapi3.PathItem, op *openapi3.Operation) (*operation, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("its path must begin with a slash")
	}
	o := &operation{method: method, path: path}
	var err error
	if o.base, err = l.base(item, op); err != nil {
		return nil, err
	}
	o.security = alternatives(l.doc, op)

	props := map[string]any{}
	var required []string
	merged, err := mergeParameters(item, op)
	if err != nil {
		return nil, err
	}
	for depth := range depths {
		clear(props)
		required, o.params, o.body = nil, nil, nil
		conv := newConverter(l.doc, request, depths[depth])
		for _, p := range merged {
			if l.fixed(p.In, p.Name) {
				continue
			}
			if err := o.addParameter(conv, p, props, &required); err != nil {
				return nil, err
			}
		}
		if op.RequestBody != nil && op.RequestBody.Value != nil {
			if err := o.addBody(conv, op.RequestBody.Value, props, &required); err != nil {
				return nil, err
			}
		}
		if conv.nodes <= maxNodes {
			if size, err := json.Marshal(props); err != nil {
				return nil, fmt.Errorf("its schema cannot be written: %w", err)
			} else if len(size) <= l.schemaBytes() {
				break
			}
		}
		if depth == len(depths)-1 {
			return nil, fmt.Errorf("its arguments need a schema of more than %d bytes: see schema_bytes", l.schemaBytes())
		}
	}
	schema := map[string]any{"type": "object", "properties": props, "additionalProperties": false}
	if len(required) > 0 {
		slices.Sort(required)
		schema["required"] = slices.Compact(required)
	}
	if o.tool.Input, err = json.Marshal(schema); err != nil {
		return nil, fmt.Errorf("its schema cannot be written: %w", err)
	}
	for _, name := range pathNames(path) {
		if !slices.ContainsFunc(o.params, func(p parameter) bool { return p.in == "path" && p.name == name }) {
			return nil, fmt.Errorf("its path has {%s}, which no parameter describes", short(name))
		}
	}
	return o, l.answers(o, op)
}

// mergeParameters returns the parameters of an operation: its own, and those of
// its path that it does not replace.
func mergeParameters(item *openapi3.PathItem, op *openapi3.Operation) ([]*openapi3.Parameter, error) {
	var out []*openapi3.Parameter
	for _, list := range []openapi3.Parameters{op.Parameters, item.Parameters} {
		for _, ref := range list {
			if ref == nil || ref.Value == nil {
				return nil, fmt.Errorf("it has a parameter that is not described")
			}
			p := ref.Value
			if slices.ContainsFunc(out, func(have *openapi3.Parameter) bool { return have.Name == p.Name && have.In == p.In }) {
				continue
			}
			out = append(out, p)
		}
	}
	return out, nil
}

func (o *operation) addParameter(conv *converter, p *openapi3.Parameter, props map[string]any, required *[]string) error {
	out := parameter{name: p.Name, in: p.In, style: p.Style, reserved: p.AllowReserved && p.In == "query", required: p.Required || p.In == "path"}
	if p.Name == "" {
		return fmt.Errorf("it has a parameter without a name")
	}
	allowed := map[string][]string{
		"path": {"simple", "label", "matrix"}, "query": {"form", "spaceDelimited", "pipeDelimited", "deepObject"}, "header": {"simple"}, "cookie": {"form"},
	}[p.In]
	if allowed == nil {
		return fmt.Errorf("its parameter %s is in %q, which is none of path, query, header, cookie", short(p.Name), short(p.In))
	}
	if out.style == "" {
		out.style = allowed[0]
	}
	if !slices.Contains(allowed, out.style) {
		return fmt.Errorf("its parameter %s has the style %s, which there is not in a %s", short(p.Name), short(out.style), p.In)
	}
	out.explode = out.style == "form" || out.style == "deepObject"
	if p.Explode != nil {
		out.explode = *p.Explode
	}
	ref := p.Schema
	if ref == nil {
		for _, media := range slices.Sorted(maps.Keys(p.Content)) {
			if m := p.Content[media]; m != nil {
				ref, out.asJSON = m.Schema, isJSON(media)
				break
			}
		}
	}
	schema := conv.schema(ref)
	if d := describe(p.Description, maxPart); d != "" {
		schema["description"] = d
	}
	if schema["type"] == nil && schema["anyOf"] == nil && schema["oneOf"] == nil && schema["allOf"] == nil && schema["enum"] == nil && schema["const"] == nil && !out.asJSON {
		schema["type"] = "string"
	}
	out.argument = freeName(argumentName(p.Name), p.In, props)
	props[out.argument] = schema
	if out.required {
		*required = append(*required, out.argument)
	}
	o.params = append(o.params, out)
	return nil
}

// argumentName makes a name that clients and models take as an argument's.
func argumentName(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r)) {
			b.WriteRune(r)
		} else {
			b.WriteByte('_')
		}
	}
	out := b.String()
	if trimmed := strings.Trim(out, "_"); trimmed != "" && out != name {
		out = trimmed
	}
	return out[:min(len(out), 64)]
}

// freeName is a name that no other argument has.
func freeName(name, in string, props map[string]any) string {
	free := name
	for i := 2; ; i++ {
		if _, taken := props[free]; !taken {
			return free
		}
		if free = name + "_" + in; i > 2 {
			free += fmt.Sprint(i - 1)
		}
	}
}

// pathNames are the names in braces.
func pathNames(path string) []string {
	var out []string
	for {
		_, rest, ok := strings.Cut(path, "{")
		if !ok {
			return out
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return out
		}
		out, path = append(out, name), after
	}
}

// mediaRank prefers what can be written best; -1 cannot be written.
func mediaRank(media string) (int, bodyKind) {
	t, _, err := mime.ParseMediaType(media)
	switch {
	case err != nil:
		return -1, 0
	case t == "application/json":
		return 6, bodyJSON
	case isJSON(t) || t == "*/*" || t == "application/*":
		return 5, bodyJSON
	case t == "application/x-www-form-urlencoded":
		return 4, bodyForm
	case t == "multipart/form-data":
		return 3, bodyMultipart
	case t == "text/plain":
		return 2, bodyText
	case strings.HasPrefix(t, "text/") || t == "application/xml" || strings.HasSuffix(t, "+xml") || t == "application/yaml" || t == "application/x-ndjson":
		return 1, bodyText
	}
	return -1, 0
}

func isJSON(media string) bool {
	t, _, err := mime.ParseMediaType(media)
	return err == nil && (t == "application/json" || t == "text/json" || strings.HasSuffix(t, "+json"))
}

func (o *operation) addBody(conv *converter, rb *openapi3.RequestBody, props map[string]any, required *[]string) error {
	best, b := -1, &body{required: rb.Required}
	var content *openapi3.MediaType
	for _, media := range slices.Sorted(maps.Keys(rb.Content)) {
		if rank, kind := mediaRank(media); rank > best && rb.Content[media] != nil {
			best, b.kind, b.media, content = rank, kind, media, rb.Content[media]
		}
	}
	switch {
	case content == nil && !rb.Required:
		return nil
	case content == nil:
		return fmt.Errorf("its body is %s, and only JSON, forms and text are written", short(strings.Join(slices.Sorted(maps.Keys(rb.Content)), ", ")))
	case strings.Contains(b.media, "*"):
		b.media = "application/json"
	}
	schema := conv.schema(content.Schema)
	if b.kind == bodyText {
		schema = map[string]any{"type": "string"}
	}
	members, _ := schema["properties"].(map[string]any)
	if b.kind == bodyForm || b.kind == bodyMultipart {
		if schema["type"] == nil && len(members) > 0 {
			schema["type"] = "object"
		}
		if len(members) == 0 {
			return fmt.Errorf("its form has no members that are described")
		}
		b.encodings = encodings(content, members)
	}
	if flat(schema, members, props) {
		b.members = map[string]string{}
		needed, _ := schema["required"].([]string)
		for name, member := range members {
			arg := argumentName(name)
			b.members[arg] = name
			props[arg] = member
			if rb.Required && slices.Contains(needed, name) {
				*required = append(*required, arg)
			}
		}
		o.body = b
		return nil
	}
	b.whole = freeName("body", "json", props)
	if d := describe(rb.Description, maxPart); d != "" && schema["description"] == nil {
		schema["description"] = d
	}
	props[b.whole] = schema
	if rb.Required {
		*required = append(*required, b.whole)
	}
	o.body = b
	return nil
}

// flat says whether a body's members can be arguments of their own: it is a
// closed list of them, and none has the name of another argument.
func flat(schema, members, props map[string]any) bool {
	if t := schema["type"]; t != nil && t != "object" || len(members) == 0 {
		return false
	}
	for key := range schema {
		switch key {
		case "type", "properties", "required", "description", "examples", "title", "default":
		case "additionalProperties":
			if schema[key] != false {
				return false
			}
		default:
			return false
		}
	}
	seen := map[string]bool{}
	for name := range members {
		arg := argumentName(name)
		if _, taken := props[arg]; taken || seen[arg] {
			return false
		}
		seen[arg] = true
	}
	needed, _ := schema["required"].([]string)
	for _, name := range needed {
		if _, described := members[name]; !described {
			return false
		}
	}
	return true
}

func encodings(content *openapi3.MediaType, members map[string]any) map[string]memberEncoding {
	out := map[string]memberEncoding{}
	for name := range members {
		e := memberEncoding{explode: true}
		if d := content.Encoding[name]; d != nil {
			e.style, e.media = d.Style, d.ContentType
			e.explode = d.Style == "" || d.Style == "form" || d.Style == "deepObject"
			if d.Explode != nil {
				e.explode = *d.Explode
			}
		}
		if content.Schema != nil && content.Schema.Value != nil {
			if p := content.Schema.Value.Properties[name]; p != nil && p.Value != nil {
				e.file = p.Value.Format == "binary" || p.Value.ContentMediaType != "" && p.Value.ContentEncoding == ""
			}
		}
		out[name] = e
	}
	return out
}

// answers takes the schema of the answer, where it is promised to clients.
func (l *loading) answers(o *operation, op *openapi3.Operation) error {
	if !l.config.CheckResponses || op.Responses == nil {
		return nil
	}
	var found *openapi3.Response
	responses := op.Responses.Map()
	for _, status := range slices.Sorted(maps.Keys(responses)) {
		if strings.HasPrefix(status, "2") && responses[status] != nil && responses[status].Value != nil {
			if found != nil {
				return nil // which one it will be is not known before
			}
			found = responses[status].Value
		}
	}
	if found == nil {
		return nil
	}
	for _, media := range slices.Sorted(maps.Keys(found.Content)) {
		m := found.Content[media]
		if !isJSON(media) || m == nil || m.Schema == nil {
			continue
		}
		for _, depth := range depths {
			schema := newConverter(l.doc, response, depth).schema(m.Schema)
			if schema["type"] != "object" {
				schema = map[string]any{"type": "object", "properties": map[string]any{"result": schema}, "required": []string{"result"}}
				o.wrapped = true
			}
			data, err := json.Marshal(schema)
			if err != nil {
				return fmt.Errorf("the schema of its answer cannot be written: %w", err)
			}
			if len(data) <= router.MaxSchemaBytes {
				o.tool.Output = data
				return nil
			}
			o.wrapped = false
		}
	}
	return nil
}
