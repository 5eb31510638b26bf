package llama

import (
	"encoding/json"
	"fmt"
	"strings"

	"hearth/inference"
)

// checkFeasible refuses a schema that asks for what no answer can have (a least
// length above the greatest), or for a "pattern" that llama.cpp cannot turn into
// a grammar: it would accept any string there, and the answer would break a
// promise that the caller relies on. The schema's depth is bounded already.
func checkFeasible(field string, schema []byte) error {
	var v any
	if err := json.Unmarshal(schema, &v); err != nil {
		return inference.Invalid(field, "the schema is not valid JSON")
	}
	return walkSchema(field, v)
}

func walkSchema(field string, v any) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := walkSchema(field, e); err != nil {
				return err
			}
		}
	case map[string]any:
		if err := checkRanges(field, v); err != nil {
			return err
		}
		for key, e := range v {
			switch key {
			case "const", "enum", "default", "examples": // values, not schemas
				continue
			}
			if p, ok := e.(string); ok && key == "pattern" {
				if why := patternFault(p); why != "" {
					return inference.Invalid(field, "the pattern %.100q cannot be enforced: %s", p, why)
				}
				continue
			}
			if err := walkSchema(field, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkRanges compares the bounds that one schema object gives.
func checkRanges(field string, schema map[string]any) error {
	for _, pair := range [...][2]string{
		{"minimum", "maximum"}, {"minLength", "maxLength"}, {"minItems", "maxItems"}, {"minProperties", "maxProperties"},
	} {
		lo, isLo := schema[pair[0]].(float64)
		hi, isHi := schema[pair[1]].(float64)
		if isLo && isHi && lo > hi {
			return inference.Invalid(field, "the schema has a %s of %g above its %s of %g: nothing fits", pair[0], lo, pair[1], hi)
		}
	}
	return nil
}

// maxPatternNesting is how deep groups of a pattern may nest in llama.cpp.
const maxPatternNesting = 100

// patternFault says why a regular expression has no grammar, "" if it has one.
func patternFault(p string) string {
	if len(p) < 2 || p[0] != '^' || p[len(p)-1] != '$' {
		return "anchor it with ^ and $"
	}
	p = p[1 : len(p)-1]
	class, open := false, 0
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '\\':
			n := patternEscape(p[i+1:], class)
			if n == 0 {
				return fmt.Sprintf("the escape %.2q is not possible", p[i:])
			}
			i += n
		case class:
			class = c != ']'
		case c == '[':
			class = true
		case c == '(':
			if strings.HasPrefix(p[i+1:], "?") && !strings.HasPrefix(p[i+1:], "?:") {
				return "look-around, named groups and flags are not possible"
			}
			if open++; open > maxPatternNesting {
				return fmt.Sprintf("its groups nest deeper than %d", maxPatternNesting)
			}
		case c == ')':
			open--
		case c == '^' || c == '$':
			return "^ and $ are possible at its ends only"
		}
	}
	return ""
}

// patternEscape returns the length of an escape after its backslash, 0 if it is
// none that a grammar has.
func patternEscape(p string, class bool) int {
	if p == "" {
		return 0
	}
	if strings.IndexByte(`nrt"[]\-`, p[0]) >= 0 || !class && strings.IndexByte("^$.()|{}*+?", p[0]) >= 0 {
		return 1
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[p[0]]
	if digits == 0 || len(p) <= digits || strings.Trim(p[1:1+digits], "0123456789abcdefABCDEF") != "" {
		return 0
	}
	return 1 + digits
}
