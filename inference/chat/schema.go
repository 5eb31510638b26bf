package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"hearth/inference"
)

// formatSchema returns the schema that f asks for, nil if the answer is free.
func formatSchema(f inference.Format) json.RawMessage {
	switch f.Kind {
	case inference.FormatJSONObject:
		return json.RawMessage(`{"type":"object"}`)
	case inference.FormatJSONSchema:
		return f.Schema
	}
	return nil
}

// schemaGrammar turns the schema of f into a grammar.
func (m *Model) schemaGrammar(f inference.Format) (string, error) {
	gbnf, err := m.lm.SchemaToGrammar(formatSchema(f))
	if err != nil {
		return "", schemaError("response_format.json_schema.schema", "", err)
	}
	return gbnf, nil
}

// schemaError makes a failure of the conversion to a grammar the client's, under
// the name that the client gave to the schema; about says which part it is.
func schemaError(field, about string, err error) error {
	var inv *inference.InvalidError
	if errors.As(err, &inv) {
		return inference.Invalid(field, "%s%s", about, inv.Reason)
	}
	return refused(field, about+"cannot be turned into a grammar", err)
}

// refused makes an error of the model's library the client's, unless it already
// has a class of its own.
func refused(field, what string, err error) error {
	if inference.Classify(err).Code != "internal_error" {
		return err
	}
	return inference.Invalid(field, "%s: %v", what, err)
}

// checkSchema bounds a JSON Schema before any of it reaches the grammar
// compiler, whose recursion is not bounded. With enforce set, it also refuses
// what a grammar cannot hold an answer to. An empty schema of a tool is allowed.
func checkSchema(field string, schema json.RawMessage, enforce bool) error {
	if len(schema) == 0 {
		if enforce {
			return inference.Invalid(field, "is missing")
		}
		return nil
	}
	if len(schema) > inference.MaxSchemaBytes {
		return inference.Invalid(field, "may have at most %d bytes, got %d: split it, or drop descriptions", inference.MaxSchemaBytes, len(schema))
	}
	if err := checkShape(field, schema); err != nil {
		return err
	}
	var root map[string]any
	if err := json.Unmarshal(schema, &root); err != nil || root == nil {
		return inference.Invalid(field, "must be a JSON object")
	}
	if enforce {
		return enforceable(field, root)
	}
	return nil
}

// checkShape bounds depth and number of values.
func checkShape(field string, schema json.RawMessage) error {
	depth, values, err := measure(schema)
	switch {
	case err != nil:
		return inference.Invalid(field, "is not valid JSON: %v", err)
	case depth > inference.MaxSchemaDepth:
		return inference.Invalid(field, "may be nested at most %d deep", inference.MaxSchemaDepth)
	case values > inference.MaxSchemaNodes:
		return inference.Invalid(field, "may have at most %d values, got %d: split it", inference.MaxSchemaNodes, values)
	}
	return nil
}

// measure returns how deep a document nests and how many values it has, keys not
// counted. It reads tokens, so that a deep document costs no deep recursion.
func measure(doc json.RawMessage) (depth, values int, err error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	var open []bool // for each open bracket: an object
	key := false    // the next string is a key
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) && len(open) == 0 && values > 0 {
			return depth, values, nil
		}
		if err != nil {
			return depth, values, err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			open = append(open, t == json.Delim('{'))
			depth = max(depth, len(open))
			values++
			key = open[len(open)-1]
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		default:
			if key {
				key = false
				continue
			}
			values++
		}
		key = len(open) > 0 && open[len(open)-1]
	}
}

// The keywords that say nothing about a value, and those that a grammar holds an
// answer to.
var (
	annotations = []string{
		"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly",
		"$schema", "$id", "$comment", "$defs", "definitions", "format", "discriminator",
	}
	enforced = []string{
		"type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems",
		"enum", "const", "anyOf", "oneOf", "$ref", "pattern", "minLength", "maxLength",
		"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
	}
	numberBounds = []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
	lengthBounds = []string{"minLength", "maxLength", "minItems", "maxItems"}
)

// maxRepeat is the largest repetition that the grammar compiler holds to.
const maxRepeat = 2000

// enforceable reports the first part of a schema that generation would ignore.
func enforceable(at string, s map[string]any) error {
	for k := range s {
		if !slices.Contains(enforced, k) && !slices.Contains(annotations, k) {
			return inference.Invalid(at, "the keyword %q cannot be enforced while the model writes: leave it out and check it afterwards", k)
		}
	}
	if err := alone(at, s); err != nil {
		return err
	}
	if err := enforceableObject(at, s); err != nil {
		return err
	}
	if s["type"] != "integer" {
		for _, k := range numberBounds {
			if _, ok := s[k]; ok {
				return inference.Invalid(at, "%q can be enforced for integers only: leave it out and check it afterwards", k)
			}
		}
	}
	for _, k := range lengthBounds {
		if n, ok := s[k].(float64); ok && n > maxRepeat {
			return inference.Invalid(at, "%s can be enforced up to %d, got %g: lower it, or leave it out and check it afterwards", k, maxRepeat, n)
		}
	}
	if p, ok := s["pattern"].(string); ok {
		if err := enforceablePattern(at+".pattern", p); err != nil {
			return err
		}
		if s["minLength"] != nil || s["maxLength"] != nil {
			return inference.Invalid(at, "minLength and maxLength cannot be enforced beside a pattern: put the length into the pattern, as in ^[a-z]{2,8}$")
		}
	}
	return eachChild(at, s, enforceable)
}

// alone refuses constraints beside a keyword that hides them from the grammar.
func alone(at string, s map[string]any) error {
	for _, k := range []string{"$ref", "oneOf", "anyOf"} {
		if _, ok := s[k]; !ok {
			continue
		}
		for other := range s {
			if other == k || slices.Contains(annotations, other) {
				continue
			}
			return inference.Invalid(at, "%q cannot be enforced beside %q: put it inside", other, k)
		}
	}
	if s["items"] != nil && s["prefixItems"] != nil {
		return inference.Invalid(at, "items cannot be enforced beside prefixItems: keep one of them")
	}
	if s["prefixItems"] != nil && (s["minItems"] != nil || s["maxItems"] != nil) {
		return inference.Invalid(at, "minItems and maxItems cannot be enforced beside prefixItems, which fixes the length: leave them out")
	}
	return nil
}

func enforceableObject(at string, s map[string]any) error {
	required, _ := s["required"].([]any)
	props, _ := s["properties"].(map[string]any)
	for _, r := range required {
		name, ok := r.(string)
		if _, described := props[name]; !ok || !described {
			return inference.Invalid(at+".required", "%v cannot be enforced: it is not described in properties", r)
		}
	}
	return nil
}

// eachChild calls visit for every schema directly inside s.
func eachChild(at string, s map[string]any, visit func(string, map[string]any) error) error {
	one := func(at string, v any) error {
		if child, ok := v.(map[string]any); ok {
			return visit(at, child)
		}
		return nil
	}
	for _, k := range []string{"additionalProperties", "items"} {
		if err := one(at+"."+k, s[k]); err != nil {
			return err
		}
	}
	for _, k := range []string{"properties", "$defs", "definitions"} {
		children, _ := s[k].(map[string]any)
		for name, v := range children {
			if err := one(at+"."+k+"."+name, v); err != nil {
				return err
			}
		}
	}
	for _, k := range []string{"anyOf", "oneOf", "prefixItems", "items"} {
		children, _ := s[k].([]any)
		for i, v := range children {
			if err := one(fmt.Sprintf("%s.%s[%d]", at, k, i), v); err != nil {
				return err
			}
		}
	}
	return nil
}
