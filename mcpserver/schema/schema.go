// Package schema compiles the JSON Schemas of tools and checks arguments and
// results against them. Schemas refer to nothing outside of themselves: nothing is
// ever loaded. What it returns is safe for concurrent use.
package schema

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"

	lib "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	textmessage "golang.org/x/text/message"

	"hearth/inference"
	"hearth/internal/jsonschema"
)

// Schema is a compiled schema. It is safe for concurrent use.
type Schema struct {
	compiled *jsonschema.Schema
	// valid is the last short text that was found to follow the schema: the same
	// arguments and results come again and again, and comparing them costs a
	// hundredth of checking them.
	valid atomic.Pointer[string]
}

// mostKept is the longest text that a Schema remembers, in bytes.
const mostKept = 2 << 10

// Compile compiles a schema that refers to nothing outside of itself.
func Compile(name, schema string) (*Schema, error) {
	s, err := jsonschema.Compile(name, schema, jsonschema.Options{Formats: true})
	if err != nil {
		return nil, err
	}
	return &Schema{compiled: s}, nil
}

// Check validates JSON text. The error is an *inference.InvalidError that names
// the first field that breaks the schema and the bound that it breaks.
func Check(schema *Schema, text []byte) error {
	if last := schema.valid.Load(); last != nil && *last == string(text) {
		return nil
	}
	err := schema.compiled.Check(text)
	if err == nil {
		if len(text) <= mostKept {
			kept := string(text)
			schema.valid.Store(&kept)
		}
		return nil
	}
	var broken *lib.ValidationError
	if !errors.As(err, &broken) {
		return inference.Invalid("", "%v", err)
	}
	for len(broken.Causes) > 0 {
		broken = broken.Causes[0]
	}
	return explain(broken)
}

var english = textmessage.NewPrinter(language.English)

func explain(e *lib.ValidationError) error {
	field := fieldName(e.InstanceLocation)
	inside := func(name string) string {
		if field == "" {
			return name
		}
		return field + "." + name
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return inference.Invalid(inside(k.Missing[0]), "is required")
	case *kind.AdditionalProperties:
		return inference.Invalid(inside(short(k.Properties[0])), "is not an argument of this tool")
	case *kind.Type:
		return inference.Invalid(field, "must be of type %s, got %s", strings.Join(k.Want, " or "), k.Got)
	case *kind.Enum:
		want := make([]string, len(k.Want))
		for i, v := range k.Want {
			want[i] = fmt.Sprint(v)
		}
		return inference.Invalid(field, "must be one of %s, got %s", strings.Join(want, ", "), short(fmt.Sprint(k.Got)))
	case *kind.Minimum:
		want, _ := k.Want.Float64()
		got, _ := k.Got.Float64()
		return inference.Invalid(field, "must be at least %s, got %s", number(want), number(got))
	case *kind.Maximum:
		want, _ := k.Want.Float64()
		got, _ := k.Got.Float64()
		return inference.Invalid(field, "must be at most %s, got %s", number(want), number(got))
	case *kind.MinLength:
		return inference.Invalid(field, "must have at least %d characters, got %d", k.Want, k.Got)
	case *kind.MaxLength:
		return inference.Invalid(field, "must have at most %d characters, got %d", k.Want, k.Got)
	case *kind.MinItems:
		return inference.Invalid(field, "must have at least %d items, got %d", k.Want, k.Got)
	case *kind.MaxItems:
		return inference.Invalid(field, "must have at most %d items, got %d", k.Want, k.Got)
	default:
		return inference.Invalid(field, "%s", e.ErrorKind.LocalizedString(english))
	}
}

func number(f float64) string {
	if math.Abs(f) < 1e15 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// short keeps what a client sent from filling a message.
func short(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// fieldName spells a place in a document as messages[2].role.
func fieldName(location []string) string {
	var b strings.Builder
	for _, part := range location {
		if _, err := strconv.Atoi(part); err == nil {
			fmt.Fprintf(&b, "[%s]", part)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(short(part))
	}
	return b.String()
}
