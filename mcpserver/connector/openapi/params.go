package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"hearth/mcpserver/router"
)

func failed(format string, args ...any) error {
	return &router.ToolError{Message: fmt.Sprintf(format, args...)}
}

// pair is a name and a value of a query, a cookie or a form, both escaped.
type pair struct{ name, value string }

// plain is how a value that is neither list nor object is written.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return jsonText(v)
}

func jsonText(v any) string {
	data, _ := json.Marshal(v) // it was JSON before
	return string(data)
}

// escape escapes all but the unreserved characters of RFC 3986; with reserved it
// leaves the reserved ones, too, but for those that would end the value.
func escape(s string, reserved bool) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0,
			reserved && strings.IndexByte(":/?[]@!$'()*,;", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// members returns the members of an object in the order of their names, without
// those that are null.
func members(o map[string]any) []string {
	var names []string
	for _, n := range slices.Sorted(maps.Keys(o)) {
		if o[n] != nil {
			names = append(names, n)
		}
	}
	return names
}

// pathValue writes a parameter of a path (RFC 6570).
func (p *parameter) pathValue(v any) (string, error) {
	esc := func(v any) string { return escape(plain(v), false) }
	if p.asJSON {
		return escape(jsonText(v), false), checkSegment(p.argument, jsonText(v))
	}
	var parts []string
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			parts = append(parts, esc(item))
		}
	case map[string]any:
		for _, name := range members(v) {
			if p.explode {
				parts = append(parts, escape(name, false)+"="+esc(v[name]))
			} else {
				parts = append(parts, escape(name, false), esc(v[name]))
			}
		}
	default:
		parts = []string{esc(v)}
		if err := checkSegment(p.argument, plain(v)); err != nil {
			return "", err
		}
	}
	if len(parts) == 0 {
		return "", failed("%s: must not be empty, since it is part of the path", p.argument)
	}
	name := escape(p.name, false)
	_, list := v.([]any)
	_, object := v.(map[string]any)
	switch p.style {
	case "label":
		if p.explode {
			return "." + strings.Join(parts, "."), nil
		}
		return "." + strings.Join(parts, ","), nil
	case "matrix":
		switch {
		case p.explode && list:
			return ";" + name + "=" + strings.Join(parts, ";"+name+"="), nil
		case p.explode && object:
			return ";" + strings.Join(parts, ";"), nil
		}
		return ";" + name + "=" + strings.Join(parts, ","), nil
	}
	return strings.Join(parts, ","), checkSegment(p.argument, strings.Join(parts, ","))
}

// checkSegment refuses values of a path that servers and proxies between might
// take for steps of it.
func checkSegment(argument, value string) error {
	if value == "" {
		return failed("%s: must not be empty, since it is part of the path", argument)
	}
	decoded := value
	for range 3 { // what is decoded twice on the way
		for part := range strings.FieldsFuncSeq(decoded, func(r rune) bool { return r == '/' || r == '\\' }) {
			if part == "." || part == ".." {
				return failed("%s: must not have . or .. as a part of a path", argument)
			}
		}
		next, err := url.PathUnescape(decoded)
		if err != nil || next == decoded {
			return nil
		}
		decoded = next
	}
	return nil
}

// pairs writes a parameter of a query or a cookie, or a member of a form.
func (p *parameter) pairs(v any) ([]pair, error) {
	name := escape(p.name, false)
	esc := func(v any) string { return escape(plain(v), p.reserved) }
	if p.asJSON {
		return []pair{{name, escape(jsonText(v), p.reserved)}}, nil
	}
	if v == nil {
		return nil, nil
	}
	if p.style == "deepObject" {
		if o, ok := v.(map[string]any); ok {
			return deep(name, o, esc), nil
		}
	}
	separator := map[string]string{"spaceDelimited": "%20", "pipeDelimited": "%7C"}[p.style]
	if separator == "" {
		separator = ","
	}
	switch v := v.(type) {
	case []any:
		var parts []string
		for _, item := range v {
			if _, scalar := item.(map[string]any); scalar {
				parts = append(parts, escape(jsonText(item), p.reserved))
			} else {
				parts = append(parts, esc(item))
			}
		}
		if !p.explode {
			if len(parts) == 0 {
				return nil, nil
			}
			return []pair{{name, strings.Join(parts, separator)}}, nil
		}
		var out []pair
		for _, part := range parts {
			out = append(out, pair{name, part})
		}
		return out, nil
	case map[string]any:
		var out []pair
		var parts []string
		for _, m := range members(v) {
			out = append(out, pair{escape(m, false), esc(v[m])})
			parts = append(parts, escape(m, false), esc(v[m]))
		}
		if p.explode || len(parts) == 0 {
			return out, nil
		}
		return []pair{{name, strings.Join(parts, separator)}}, nil
	}
	return []pair{{name, esc(v)}}, nil
}

// deep writes name[member]=value, and deeper where members have members.
func deep(name string, o map[string]any, esc func(any) string) []pair {
	var out []pair
	for _, m := range members(o) {
		key := name + "%5B" + escape(m, false) + "%5D"
		switch v := o[m].(type) {
		case map[string]any:
			out = append(out, deep(key, v, esc)...)
		case []any:
			for _, item := range v {
				out = append(out, pair{key, esc(item)})
			}
		default:
			out = append(out, pair{key, esc(v)})
		}
	}
	return out
}

// headerValue writes a parameter of a header, which is not escaped.
func (p *parameter) headerValue(v any) (string, error) {
	var out string
	switch v := v.(type) {
	case []any:
		var parts []string
		for _, item := range v {
			parts = append(parts, plain(item))
		}
		out = strings.Join(parts, ",")
	case map[string]any:
		var parts []string
		for _, m := range members(v) {
			if p.explode {
				parts = append(parts, m+"="+plain(v[m]))
			} else {
				parts = append(parts, m, plain(v[m]))
			}
		}
		out = strings.Join(parts, ",")
	default:
		out = plain(v)
	}
	if p.asJSON {
		out = jsonText(v)
	}
	for i := range len(out) {
		if out[i] < 0x20 && out[i] != '\t' || out[i] == 0x7f {
			return "", failed("%s: must not hold line ends and other control characters, since it is a header", p.argument)
		}
	}
	return out, nil
}
