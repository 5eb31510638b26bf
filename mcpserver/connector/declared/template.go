package declared

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// hole is {name}.
var hole = regexp.MustCompile(`\{([a-zA-Z_][a-zA-Z0-9_]*)\}`)

// whole is the name of a text that is exactly {name}.
func whole(s string) (name string, ok bool) {
	m := hole.FindStringSubmatch(s)
	if m == nil || m[0] != s {
		return "", false
	}
	return m[1], true
}

// urlTemplate is a URL whose path and query have holes.
type urlTemplate struct {
	origin string // scheme and host, without any hole
	path   string
	query  []queryPart
}

// queryPart is key=value of a query. The key is written as it is sent.
type queryPart struct{ key, value string }

func parseURL(s string) (*urlTemplate, error) {
	scheme, rest, found := strings.Cut(s, "://")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if strings.ContainsAny(rest[:end], "{}\\") {
		return nil, errors.New("has an argument in its host: a host stands in the configuration")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || !found || (scheme != "http" && scheme != "https") || u.Host == "":
		return nil, errors.New("must begin with http:// or https:// and a host")
	case u.User != nil:
		return nil, errors.New("holds a user name: put credentials into secrets, as a header")
	case strings.Contains(s, "#"):
		return nil, errors.New("holds a # fragment, which is not sent: leave it out")
	}
	t := &urlTemplate{origin: scheme + "://" + rest[:end]}
	path, query, _ := strings.Cut(rest[end:], "?")
	if t.path = path; path == "" {
		t.path = "/"
	}
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		if hole.MatchString(key) {
			return nil, fmt.Errorf("has an argument as the name %s of a query's value: only values can be arguments", key)
		}
		t.query = append(t.query, queryPart{key, value})
	}
	for _, text := range append([]string{t.path}, values(t.query)...) {
		if strings.ContainsAny(hole.ReplaceAllString(text, ""), "{}") {
			return nil, fmt.Errorf("has a brace in %q that is no {name}", text)
		}
	}
	return t, nil
}

func values(query []queryPart) (out []string) {
	for _, q := range query {
		out = append(out, q.value)
	}
	return out
}

func (t *urlTemplate) names() (out []string) {
	for _, text := range append([]string{t.path}, values(t.query)...) {
		for _, m := range hole.FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
	}
	return out
}

// expand puts the arguments into their places, escaped for them. A value of the
// query whose argument is not given is left out; the path needs all of its own.
func (t *urlTemplate) expand(args arguments) (string, error) {
	path, _, err := replace(t.path, args, true, url.PathEscape)
	if err != nil {
		return "", err
	}
	for segment := range strings.SplitSeq(path, "/") {
		if plain, err := url.PathUnescape(segment); err != nil || leaves(plain) {
			return "", toolError("the arguments make a path with . or .. in it: give names without them")
		}
	}
	var query []string
	for _, q := range t.query {
		value, given, err := replace(q.value, args, false, url.QueryEscape)
		if err != nil {
			return "", err
		}
		if given {
			query = append(query, q.key+"="+value)
		}
	}
	out := t.origin + path
	if len(query) > 0 {
		out += "?" + strings.Join(query, "&")
	}
	return out, nil
}

// leaves says whether a segment, or what a lenient server makes of it, is . or ..
func leaves(segment string) bool {
	for part := range strings.FieldsFuncSeq(segment, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

func replace(text string, args arguments, need bool, escape func(string) string) (out string, given bool, err error) {
	given = true
	out = hole.ReplaceAllStringFunc(text, func(h string) string {
		name := h[1 : len(h)-1]
		value, ok, e := args.text(name)
		switch {
		case e != nil:
			err = e
		case !ok:
			given = false
		}
		if need && value == "" && err == nil {
			err = toolError("%s is missing: it is a part of the address", name)
		}
		return escape(value)
	})
	return out, given, err
}

// bodyNames are the arguments that a body names.
func bodyNames(body any) map[string]bool {
	out := map[string]bool{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			if name, ok := whole(v); ok {
				out[name] = true
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(body)
	return out
}

// fill puts arguments in the place of texts that are exactly {name}. An argument
// that is not given is left out of an object, and null in a list.
func fill(body any, args arguments) (out any, given bool) {
	switch v := body.(type) {
	case string:
		name, ok := whole(v)
		if !ok {
			return v, true
		}
		value, given := args[name]
		return value, given
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i], _ = fill(e, args)
		}
		return list, true
	case map[string]any:
		object := map[string]any{}
		for key, e := range v {
			if value, given := fill(e, args); given {
				object[key] = value
			}
		}
		return object, true
	}
	return body, true
}
