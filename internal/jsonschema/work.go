package jsonschema

import (
	"encoding/json"

	lib "github.com/santhosh-tekuri/jsonschema/v6"
)

// Bounds of one check.
const (
	// MaxSteps bounds the steps of a check, beside two for each byte of the text. A step
	// takes well below a microsecond.
	MaxSteps = 1 << 20
	// maxNesting bounds schemas in schemas and values in values on the way to a step.
	maxNesting = 4096
	// matchesPerStep is how many states of a regular expression, times letters, count
	// as a step.
	matchesPerStep = 64
)

// work counts the steps that a check can take: each schema that is held against a
// value is one, as often as it is. All branches count, also those that a check would
// not get to.
type work struct {
	sizes map[*lib.Schema]int
	left  int // negative: there are too many
}

func (w *work) visit(s *lib.Schema, value any, depth int) {
	w.left -= 1 + w.sizes[s] + len(s.Required)
	if depth++; depth > maxNesting {
		w.left = -1
	}
	each(s, func(sub *lib.Schema, of place) {
		if w.left < 0 {
			return
		}
		switch of {
		case placeSelf:
			w.visit(sub, value, depth)
		case placeNames:
			if v, ok := value.(map[string]any); ok {
				for name := range v {
					w.visit(sub, name, depth)
				}
			}
		case placeValues:
			if v, ok := value.(map[string]any); ok {
				for _, one := range v {
					w.visit(sub, one, depth)
				}
			}
		case placeItems:
			if v, ok := value.([]any); ok {
				for _, one := range v {
					w.visit(sub, one, depth)
				}
			}
		}
	})
	switch v := value.(type) {
	case string:
		if re, ok := s.Pattern.(*expression); ok {
			w.match(re, v)
		}
	case []any:
		w.left -= len(v) / 8 // comparing them
		for _, list := range inOrder(s) {
			for i := 0; i < min(len(list), len(v)) && w.left >= 0; i++ {
				w.visit(list[i], v[i], depth)
			}
		}
	case map[string]any:
		for name, one := range v {
			if w.left < 0 {
				return
			}
			w.left--
			if sub := s.Properties[name]; sub != nil {
				w.visit(sub, one, depth)
			}
			for re, sub := range s.PatternProperties {
				if w.match(re.(*expression), name); w.left >= 0 && re.MatchString(name) {
					w.visit(sub, one, depth)
				}
			}
		}
	}
}

func (w *work) match(re *expression, text string) {
	w.left -= 1 + re.states*len(text)/matchesPerStep
}

// place says what of a value a schema within a schema is held against.
type place int

const (
	placeSelf   place = iota // the value itself
	placeNames               // the names of an object's members
	placeValues              // the values of any of them
	placeItems               // any items of an array
)

// inOrder returns the schemas of the first items of an array.
func inOrder(s *lib.Schema) [][]*lib.Schema {
	older, _ := s.Items.([]*lib.Schema)
	return [][]*lib.Schema{older, s.PrefixItems}
}

// each calls f with the schemas directly within s, but for those of properties and
// of the first items.
func each(s *lib.Schema, f func(sub *lib.Schema, of place)) {
	one := func(sub *lib.Schema, of place) {
		if sub != nil {
			f(sub, of)
		}
	}
	loose := func(sub any, of place) { // a schema, or something else
		if sub, ok := sub.(*lib.Schema); ok {
			one(sub, of)
		}
	}
	for _, sub := range []*lib.Schema{s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else} {
		one(sub, placeSelf)
	}
	if s.DynamicRef != nil {
		one(s.DynamicRef.Ref, placeSelf)
	}
	for _, list := range [][]*lib.Schema{s.AllOf, s.AnyOf, s.OneOf} {
		for _, sub := range list {
			one(sub, placeSelf)
		}
	}
	for _, sub := range s.DependentSchemas {
		one(sub, placeSelf)
	}
	for _, sub := range s.Dependencies {
		loose(sub, placeSelf)
	}
	one(s.PropertyNames, placeNames)
	loose(s.AdditionalProperties, placeValues)
	one(s.UnevaluatedProperties, placeValues)
	loose(s.Items, placeItems)
	loose(s.AdditionalItems, placeItems)
	for _, sub := range []*lib.Schema{s.Contains, s.Items2020, s.UnevaluatedItems} {
		one(sub, placeItems)
	}
}

// measure notes the sizes of enumerations, of s and of all schemas that it
// leads to.
func (s *Schema) measure(root *lib.Schema, seen map[*lib.Schema]bool) {
	todo := []*lib.Schema{root}
	add := func(sub *lib.Schema, _ place) {
		if !seen[sub] {
			seen[sub] = true
			todo = append(todo, sub)
		}
	}
	for len(todo) > 0 {
		one := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		n := 0
		if one.Enum != nil {
			n += size(one.Enum.Values)
		}
		if one.Const != nil {
			n += size(*one.Const)
		}
		if n > 0 {
			s.sizes[one] = 1 + n/number
		}
		each(one, add)
		for _, sub := range one.Properties {
			add(sub, placeValues)
		}
		for _, sub := range one.PatternProperties {
			add(sub, placeValues)
		}
		for _, list := range inOrder(one) {
			for _, sub := range list {
				add(sub, placeItems)
			}
		}
	}
}

// number is how much longer it takes to compare a number, with all its digits, than
// another value.
const number = 16

// size returns how long it takes to compare a value, where another one than a number
// takes 1.
func size(value any) int {
	n := 1
	switch v := value.(type) {
	case json.Number:
		return number
	case []any:
		for _, one := range v {
			n += size(one)
		}
	case map[string]any:
		for _, one := range v {
			n += size(one)
		}
	}
	return n
}
