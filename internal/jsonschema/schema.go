package jsonschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	lib "github.com/santhosh-tekuri/jsonschema/v6"
)

// Bounds of numbers, which are compared exactly: as fractions with all digits.
const (
	MaxNumberBytes = 64  // a longer literal is no number anybody means
	MaxExponent    = 400 // beyond float64
)

// Errors of documents that are not checked. That a document breaks the schema is a
// *jsonschema.ValidationError of the library.
var (
	// ErrSyntax says that a text is not one JSON value.
	ErrSyntax = errors.New("not valid JSON")
	// ErrNumber says that a number is out of every range.
	ErrNumber = fmt.Errorf("a number has more than %d characters or an exponent beyond %d", MaxNumberBytes, MaxExponent)
	// ErrTooMuch says that a check would take too long.
	ErrTooMuch = errors.New("a check against the schema would take too many steps")
)

// Schema is a compiled schema.
type Schema struct {
	root  *lib.Schema
	sizes map[*lib.Schema]int // of enum and const, in steps
}

// Options of Compile.
type Options struct {
	// Formats has the keyword format refuse values, instead of only describing them.
	Formats bool
}

// Compile compiles a schema, under a name for errors. What it refers to must be in
// it, or be one of the published metaschemas.
func Compile(name, text string, o Options) (s *Schema, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("%s cannot be compiled", name)
		}
	}()
	doc, err := parse([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if anchored(doc) {
		// Where such references lead is found out in the course of a check, so its steps
		// cannot be counted before.
		return nil, fmt.Errorf("%s: $dynamicAnchor and $recursiveAnchor are not supported: use $anchor or $defs", name)
	}
	c := lib.NewCompiler()
	c.UseLoader(lib.SchemeURLLoader{}) // no scheme: nothing is loaded
	c.UseRegexpEngine(compileRegexp)
	if o.Formats {
		c.AssertFormat()
	}
	url := "tool:" + name
	if err := c.AddResource(url, doc); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	root, err := c.Compile(url)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s = &Schema{root: root, sizes: map[*lib.Schema]int{}}
	s.measure(root, map[*lib.Schema]bool{})
	return s, nil
}

// Check checks JSON text.
func (s *Schema) Check(text []byte) (err error) {
	value, err := parse(text)
	if err != nil {
		return err
	}
	w := work{sizes: s.sizes, left: MaxSteps + 2*len(text)}
	w.visit(s.root, value, 0)
	if w.left < 0 {
		return ErrTooMuch
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the check failed: %v", p)
		}
	}()
	return s.root.Validate(value)
}

// parse reads one JSON value with numbers as they are written.
func parse(text []byte) (any, error) {
	value, err := lib.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, ErrSyntax
	}
	if !sensible(value) {
		return nil, ErrNumber
	}
	return value, nil
}

func sensible(value any) bool {
	switch v := value.(type) {
	case json.Number:
		return Sensible(string(v))
	case []any:
		for _, one := range v {
			if !sensible(one) {
				return false
			}
		}
	case map[string]any:
		for _, one := range v {
			if !sensible(one) {
				return false
			}
		}
	}
	return true
}

// Sensible reports whether the literal of a number is short and its exponent small.
func Sensible(literal string) bool {
	if len(literal) > MaxNumberBytes {
		return false
	}
	_, exponent, found := strings.Cut(strings.ToLower(literal), "e")
	if !found {
		return true
	}
	n, err := strconv.Atoi(exponent)
	return err == nil && n <= MaxExponent && n >= -MaxExponent
}

// anchored reports whether a schema has anchors that are resolved dynamically.
func anchored(value any) bool {
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			if anchored(one) {
				return true
			}
		}
	case map[string]any:
		for name, one := range v {
			if name == "$dynamicAnchor" || name == "$recursiveAnchor" || anchored(one) {
				return true
			}
		}
	}
	return false
}

// expression is a regular expression that knows how large it is.
type expression struct {
	*regexp.Regexp
	states int
}

func compileRegexp(text string) (lib.Regexp, error) {
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	return &expression{re, len(program.Inst)}, nil
}
