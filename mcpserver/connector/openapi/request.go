package openapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// sending is a request before its credentials.
type sending struct {
	url     *url.URL
	header  http.Header
	cookies []pair
	media   string
	body    []byte // nil: none
}

// request makes the request of a call. The arguments are valid by the schema; the
// error is a *router.ToolError.
func (o *operation) request(arguments json.RawMessage) (*sending, error) {
	args := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(arguments))
	dec.UseNumber()
	if err := dec.Decode(&args); err != nil {
		return nil, fmt.Errorf("read the arguments: %w", err)
	}
	s := &sending{header: http.Header{}}
	values := map[string]string{}
	var query []pair
	for i := range o.params {
		p := &o.params[i]
		v, given := args[p.argument]
		if !given || v == nil && p.in != "path" {
			if p.required && p.in != "path" && given {
				return nil, failed("%s: must not be null", p.argument)
			}
			if p.in != "path" {
				continue
			}
		}
		var err error
		var pairs []pair
		switch p.in {
		case "path":
			values[p.name], err = p.pathValue(v)
		case "query":
			pairs, err = p.pairs(v)
			query = append(query, pairs...)
		case "cookie":
			pairs, err = p.pairs(v)
			s.cookies = append(s.cookies, pairs...)
		case "header":
			var text string
			if text, err = p.headerValue(v); err == nil {
				s.header.Set(p.name, text)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	var err error
	if s.url, err = o.url(values, query); err != nil {
		return nil, err
	}
	if o.body != nil {
		err = o.body.write(s, args)
	}
	return s, err
}

// url puts the values into the path, behind the base.
func (o *operation) url(values map[string]string, query []pair) (*url.URL, error) {
	var path strings.Builder
	path.WriteString(strings.TrimRight(o.base.EscapedPath(), "/"))
	rest := o.path
	for {
		before, after, more := strings.Cut(rest, "{")
		path.WriteString((&url.URL{Path: before}).EscapedPath())
		if !more {
			break
		}
		name, behind, _ := strings.Cut(after, "}")
		path.WriteString(values[name])
		rest = behind
	}
	raw := o.base.Scheme + "://" + o.base.Host + path.String()
	for i, p := range query {
		raw += map[bool]string{true: "?", false: "&"}[i == 0] + p.name + "=" + p.value
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("make the URL of %s: it cannot be read", o.label())
	}
	return u, nil
}

// write writes the body of a call.
func (b *body) write(s *sending, args map[string]any) error {
	var value any
	if b.members == nil {
		v, given := args[b.whole]
		if !given {
			return nil
		}
		value = v
	} else {
		all := map[string]any{}
		for arg, name := range b.members {
			if v, given := args[arg]; given {
				all[name] = v
			}
		}
		if len(all) == 0 && !b.required {
			return nil
		}
		value = all
	}
	s.media = b.media
	switch b.kind {
	case bodyText:
		s.body = []byte(plain(value))
		return nil
	case bodyJSON:
		s.body = []byte(jsonText(value))
		return nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		return failed("%s: must be an object", b.whole)
	}
	if b.kind == bodyForm {
		return b.writeForm(s, object)
	}
	return b.writeParts(s, object)
}

func (b *body) writeForm(s *sending, object map[string]any) error {
	var out []string
	for _, name := range members(object) {
		e := b.encodings[name]
		p := parameter{argument: name, name: name, in: "query", style: "form", explode: e.explode}
		if e.style != "" {
			p.style = e.style
		}
		if _, object := object[name].(map[string]any); object && e.style == "" {
			p.asJSON = true
		}
		pairs, err := p.pairs(object[name])
		if err != nil {
			return err
		}
		for _, pair := range pairs {
			out = append(out, pair.name+"="+pair.value)
		}
	}
	s.body = []byte(strings.Join(out, "&"))
	return nil
}

func (b *body) writeParts(s *sending, object map[string]any) error {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for _, name := range members(object) {
		e := b.encodings[name]
		values, list := object[name].([]any)
		if !list {
			values = []any{object[name]}
		}
		for _, v := range values {
			h := textproto.MIMEHeader{}
			media, _, _ := strings.Cut(e.media, ",")
			switch v.(type) {
			case map[string]any, []any:
				if media == "" {
					media = "application/json"
				}
			}
			disposition := fmt.Sprintf(`form-data; name="%s"`, quoteEscaper.Replace(name))
			if e.file {
				disposition += fmt.Sprintf(`; filename="%s"`, quoteEscaper.Replace(name))
				if media == "" {
					media = "application/octet-stream"
				}
			}
			h.Set("Content-Disposition", disposition)
			if media != "" {
				h.Set("Content-Type", media)
			}
			part, err := w.CreatePart(h)
			if err == nil {
				_, err = part.Write([]byte(plain(v)))
			}
			if err != nil {
				return fmt.Errorf("write the form: %w", err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write the form: %w", err)
	}
	s.body, s.media = buf.Bytes(), w.FormDataContentType()
	return nil
}

// quoteEscaper is how browsers write names in a form's header.
var quoteEscaper = strings.NewReplacer("\\", "\\\\", `"`, "%22", "\r", "%0D", "\n", "%0A")

// httpRequest makes the request anew for each time that it is sent.
func (s *sending) httpRequest(ctx context.Context, method string) (*http.Request, error) {
	var r *http.Request
	var err error
	target := *s.url
	if s.body != nil {
		r, err = http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(s.body))
	} else {
		r, err = http.NewRequestWithContext(ctx, method, target.String(), http.NoBody)
	}
	if err != nil {
		return nil, fmt.Errorf("make the request: its URL cannot be read")
	}
	for _, name := range slices.Sorted(maps.Keys(s.header)) {
		r.Header[name] = s.header[name]
	}
	for _, c := range s.cookies {
		addCookie(r, c)
	}
	if s.media != "" {
		r.Header.Set("Content-Type", s.media)
	}
	r.Header.Set("Accept", "application/json, application/*+json;q=0.9, text/plain;q=0.8, */*;q=0.1")
	return r, nil
}
