package openapi

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

const (
	// maxNodes bounds the work on one schema.
	maxNodes = 1500
)

// depths are tried in this order until a schema fits.
var depths = []int{12, 8, 6, 5, 4, 3, 2, 1}

// direction says whether a schema is about what is sent or what is answered.
type direction bool

const (
	request  direction = false
	response direction = true
)

// converter turns schemas of a document into JSON Schema 2020-12.
type converter struct {
	old   bool // OpenAPI 3.0: nullable, exclusiveMinimum: true
	dir   direction
	depth int

	nodes int
	stack []*openapi3.Schema
}

func newConverter(doc *openapi3.T, dir direction, depth int) *converter {
	return &converter{old: strings.HasPrefix(doc.OpenAPI, "3.0"), dir: dir, depth: depth}
}

// schema converts one schema; what is too deep, or inside of itself again, allows
// anything of its type.
func (c *converter) schema(ref *openapi3.SchemaRef) map[string]any {
	if ref == nil || ref.Value == nil {
		return map[string]any{}
	}
	s := ref.Value
	if s.Always != nil {
		if *s.Always {
			return map[string]any{}
		}
		return map[string]any{"not": map[string]any{}}
	}
	c.nodes++
	again := 0
	for _, above := range c.stack {
		if above == s {
			again++
		}
	}
	if again > 1 || len(c.stack) >= c.depth || c.nodes > maxNodes {
		return c.open(s)
	}
	c.stack = append(c.stack, s)
	defer func() { c.stack = c.stack[:len(c.stack)-1] }()

	out := c.plain(s)
	c.object(s, out)
	c.array(s, out)
	c.combined(s, out)
	return simplify(out)
}

// open is a schema without its insides.
func (c *converter) open(s *openapi3.Schema) map[string]any {
	out := map[string]any{}
	if t := c.types(s); t != nil {
		out["type"] = t
	}
	if d := describe(s.Description, maxPart); d != "" {
		out["description"] = d
	}
	return out
}

func (c *converter) types(s *openapi3.Schema) any {
	var types []string
	if s.Type != nil {
		types = slices.Clone(s.Type.Slice())
	}
	if c.old && s.Nullable && len(types) > 0 && !slices.Contains(types, "null") {
		types = append(types, "null")
	}
	switch len(types) {
	case 0:
		return nil
	case 1:
		return types[0]
	}
	return types
}

// formats are those that JSON Schema knows, too.
var formats = []string{
	"date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uri-reference", "uuid",
}

// plain converts what is about single values.
func (c *converter) plain(s *openapi3.Schema) map[string]any {
	out := c.open(s)
	if slices.Contains(formats, s.Format) {
		out["format"] = s.Format
	}
	if len(s.Enum) > 0 {
		out["enum"] = s.Enum
		if c.old && s.Nullable && !slices.Contains(s.Enum, nil) {
			out["enum"] = append(slices.Clone(s.Enum), nil)
		}
	}
	if s.Const != nil {
		out["const"] = s.Const
	}
	if s.Default != nil {
		out["default"] = s.Default
	}
	if e := example(s); e != nil {
		out["examples"] = []any{e}
	}
	bound := func(name, exclusive string, v *float64, e openapi3.ExclusiveBound) {
		switch {
		case e.Value != nil:
			out[exclusive] = *e.Value
			if v != nil {
				out[name] = *v
			}
		case v != nil && e.IsTrue():
			out[exclusive] = *v
		case v != nil:
			out[name] = *v
		}
	}
	bound("minimum", "exclusiveMinimum", s.Min, s.ExclusiveMin)
	bound("maximum", "exclusiveMaximum", s.Max, s.ExclusiveMax)
	if s.MultipleOf != nil && *s.MultipleOf > 0 {
		out["multipleOf"] = *s.MultipleOf
	}
	count(out, "minLength", s.MinLength, "maxLength", s.MaxLength)
	if s.Pattern != "" {
		// A pattern of the ECMA dialect that RE2 cannot read is left to the service.
		if _, err := regexp.Compile(s.Pattern); err == nil {
			out["pattern"] = s.Pattern
		}
	}
	return out
}

func count(out map[string]any, low string, least uint64, high string, most *uint64) {
	if least > 0 {
		out[low] = least
	}
	if most != nil {
		out[high] = *most
	}
}

// example returns a short example of a plain value.
func example(s *openapi3.Schema) any {
	all := s.Examples
	if s.Example != nil {
		all = append([]any{s.Example}, all...)
	}
	for _, e := range all {
		switch v := e.(type) {
		case string:
			if len(v) <= 60 {
				return v
			}
		case float64, json.Number, int, int64, uint64, bool:
			return v
		}
	}
	return nil
}

// hidden says whether a property is not for this direction.
func (c *converter) hidden(ref *openapi3.SchemaRef) bool {
	if ref == nil || ref.Value == nil {
		return false
	}
	if c.dir == request {
		return ref.Value.ReadOnly
	}
	return ref.Value.WriteOnly
}

func (c *converter) object(s *openapi3.Schema, out map[string]any) {
	required := slices.Clone(s.Required)
	if len(s.Properties) > 0 {
		props := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			if c.hidden(s.Properties[name]) {
				required = slices.DeleteFunc(required, func(r string) bool { return r == name })
				continue
			}
			props[name] = c.schema(s.Properties[name])
		}
		out["properties"] = props
	}
	if len(required) > 0 {
		out["required"] = required
	}
	count(out, "minProperties", s.MinProps, "maxProperties", s.MaxProps)
	c.boolOr(out, "additionalProperties", s.AdditionalProperties)
	c.boolOr(out, "unevaluatedProperties", s.UnevaluatedProperties)
	c.many(out, "patternProperties", s.PatternProperties)
	for pattern := range s.PatternProperties {
		if _, err := regexp.Compile(pattern); err != nil {
			delete(out, "patternProperties")
			delete(out, "additionalProperties")
		}
	}
	c.many(out, "dependentSchemas", s.DependentSchemas)
	c.one(out, "propertyNames", s.PropertyNames)
	if len(s.DependentRequired) > 0 {
		out["dependentRequired"] = s.DependentRequired
	}
}

func (c *converter) array(s *openapi3.Schema, out map[string]any) {
	c.one(out, "items", s.Items)
	c.list(out, "prefixItems", s.PrefixItems)
	c.one(out, "contains", s.Contains)
	c.boolOr(out, "unevaluatedItems", s.UnevaluatedItems)
	count(out, "minItems", s.MinItems, "maxItems", s.MaxItems)
	if s.MinContains != nil {
		out["minContains"] = *s.MinContains
	}
	if s.MaxContains != nil {
		out["maxContains"] = *s.MaxContains
	}
	if s.UniqueItems {
		out["uniqueItems"] = true
	}
}

func (c *converter) combined(s *openapi3.Schema, out map[string]any) {
	c.list(out, "allOf", s.AllOf)
	c.list(out, "anyOf", s.AnyOf)
	c.list(out, "oneOf", s.OneOf)
	c.one(out, "not", s.Not)
	c.one(out, "if", s.If)
	c.one(out, "then", s.Then)
	c.one(out, "else", s.Else)
	if c.old && s.Nullable && s.Type == nil && (len(s.AllOf)+len(s.AnyOf)+len(s.OneOf) > 0) {
		// Without a type of its own, nullable is about what is combined.
		inner := maps.Clone(out)
		clear(out)
		if d, ok := inner["description"]; ok {
			out["description"] = d
			delete(inner, "description")
		}
		out["anyOf"] = []any{simplify(inner), map[string]any{"type": "null"}}
	}
}

func (c *converter) one(out map[string]any, name string, ref *openapi3.SchemaRef) {
	if ref != nil {
		out[name] = c.schema(ref)
	}
}

func (c *converter) list(out map[string]any, name string, refs openapi3.SchemaRefs) {
	if len(refs) == 0 {
		return
	}
	var all []any
	for _, r := range refs {
		all = append(all, c.schema(r))
	}
	out[name] = all
}

func (c *converter) many(out map[string]any, name string, refs openapi3.Schemas) {
	if len(refs) == 0 {
		return
	}
	all := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(refs)) {
		all[key] = c.schema(refs[key])
	}
	out[name] = all
}

func (c *converter) boolOr(out map[string]any, name string, v openapi3.BoolSchema) {
	switch {
	case v.Schema != nil:
		out[name] = c.schema(v.Schema)
	case v.Has != nil && !*v.Has:
		out[name] = false
	}
}

// simplify says the same in a form that small models read more easily: an allOf
// of plain objects as one object, a value or null as a type.
func simplify(s map[string]any) map[string]any {
	if all, ok := s["allOf"].([]any); ok {
		if merged := mergeAll(s, all); merged != nil {
			s = merged
		}
	}
	for _, word := range []string{"anyOf", "oneOf"} {
		all, ok := s[word].([]any)
		if !ok {
			continue
		}
		if len(all) == 1 {
			if merged := mergeAll(without(s, word), all); merged != nil {
				s = merged
			}
			continue
		}
		if merged := orNull(s, word, all); merged != nil {
			s = merged
		}
	}
	return s
}

func without(s map[string]any, word string) map[string]any {
	out := maps.Clone(s)
	delete(out, word)
	return out
}

// orNull turns "one schema of a plain type, or null" into a list of types.
func orNull(s map[string]any, word string, all []any) map[string]any {
	if len(all) != 2 {
		return nil
	}
	for i, a := range all {
		null, _ := a.(map[string]any)
		other, _ := all[1-i].(map[string]any)
		t, plain := other["type"].(string)
		if len(null) != 1 || null["type"] != "null" || !plain || other["enum"] != nil || other["const"] != nil {
			continue
		}
		base := without(s, word)
		typed := maps.Clone(other)
		typed["type"] = []string{t, "null"}
		return mergeAll(base, []any{typed})
	}
	return nil
}

// mergeAll puts schemas together with s, where nothing is said twice; nil where
// they cannot be merged.
func mergeAll(s map[string]any, all []any) map[string]any {
	out := without(s, "allOf")
	if out["additionalProperties"] != nil || out["unevaluatedProperties"] != nil {
		return nil // closed on its own, it refuses what the others have
	}
	for _, a := range all {
		part, ok := a.(map[string]any)
		if !ok {
			return nil
		}
		for key, value := range part {
			have, twice := out[key]
			switch {
			case !twice:
				out[key] = value
			case key == "description":
			case key == "properties":
				props := maps.Clone(have.(map[string]any))
				for name, p := range value.(map[string]any) {
					if _, again := props[name]; again {
						return nil
					}
					props[name] = p
				}
				out[key] = props
			case key == "required":
				merged := append(slices.Clone(have.([]string)), value.([]string)...)
				slices.Sort(merged)
				out[key] = slices.Compact(merged)
			case reflect.DeepEqual(have, value):
			default:
				return nil
			}
		}
		if (part["additionalProperties"] != nil || part["unevaluatedProperties"] != nil) && (len(all) > 1 || out["properties"] != nil && s["properties"] != nil) {
			return nil
		}
	}
	return out
}
