package router

import (
	"encoding/json"
)

// redacted stands where a pattern matched.
const redacted = "[redacted]"

// redactText replaces what the patterns of the configuration match.
func (r *Router) redactText(text string) string {
	for _, re := range r.redact {
		text = re.ReplaceAllLiteralString(text, redacted)
	}
	return text
}

// redactResult replaces it in all text of a result: the strings of structured
// content one by one, the names of members included, so that it stays JSON, and with
// numbers set its numbers.
func (r *Router) redactResult(result *Result, numbers bool) {
	if len(r.redact) == 0 {
		return
	}
	for i := range result.Content {
		c := &result.Content[i]
		c.Text = r.redactText(c.Text)
		c.Contents.Text = r.redactText(c.Contents.Text)
		c.Resource.Name, c.Resource.Title = r.redactText(c.Resource.Name), r.redactText(c.Resource.Title)
		c.Resource.Description = r.redactText(c.Resource.Description)
		c.Annotations, c.Resource.Annotations = r.redactJSON(c.Annotations, numbers), r.redactJSON(c.Resource.Annotations, numbers)
	}
	result.Structured = r.redactJSON(result.Structured, numbers)
	result.Meta = r.redactJSON(result.Meta, numbers)
}

// redactJSON redacts the strings, and the numbers, of a JSON value. What cannot be read
// is dropped.
func (r *Router) redactJSON(data json.RawMessage, numbers bool) json.RawMessage {
	if len(data) == 0 {
		return data
	}
	// Mostly nothing matches, and then the value stays as it was written.
	if r.redactText(string(data)) == string(data) && !hasEscapes(data) {
		return data
	}
	spelled, err := canonical(data)
	if err != nil {
		return nil
	}
	var v any
	if err := unmarshalNumbers(spelled, &v); err != nil {
		return nil
	}
	out, err := marshalPlain(r.redactValue(v, numbers))
	if err != nil {
		return nil
	}
	return out
}

// hasEscapes says whether strings of data may be spelled by escapes, which a
// pattern would not see.
func hasEscapes(data []byte) bool {
	for _, b := range data {
		if b == '\\' {
			return true
		}
	}
	return false
}

func (r *Router) redactValue(v any, numbers bool) any {
	switch v := v.(type) {
	case string:
		return r.redactText(v)
	case json.Number:
		// A number may be what a pattern looks for: a card, a phone.
		if text := r.redactText(v.String()); numbers && text != v.String() {
			return text
		}
		return v
	case []any:
		for i := range v {
			v[i] = r.redactValue(v[i], numbers)
		}
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[r.redactText(key)] = r.redactValue(value, numbers)
		}
		return out
	}
	return v
}
