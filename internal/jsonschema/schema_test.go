package jsonschema

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	lib "github.com/santhosh-tekuri/jsonschema/v6"
)

// doubling is a schema of n definitions of which each is said to be the next one,
// twice, by the keyword in form.
func doubling(n int, head, defs, form string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{%s"$ref":"#/%s/a0","%s":{`, head, defs, defs)
	for i := range n {
		next := fmt.Sprintf(`{"$ref":"#/%s/a%d"}`, defs, i+1)
		fmt.Fprintf(&b, `"a%d":%s,`, i, strings.ReplaceAll(form, "NEXT", next))
	}
	fmt.Fprintf(&b, `"a%d":{"type":"integer"}}}`, n)
	return b.String()
}

func nested(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }

// TestNothingTakesForEver: schemas and documents that are made to keep a checker
// busy, or to end it, are refused instead.
func TestNothingTakesForEver(t *testing.T) {
	for _, c := range []struct {
		name, schema, text string
		want               error
	}{
		{"all of two", doubling(60, "", "$defs", `{"allOf":[NEXT,NEXT]}`), `1`, ErrTooMuch},
		{"any of two", doubling(60, "", "$defs", `{"anyOf":[NEXT,NEXT]}`), `"x"`, ErrTooMuch},
		{"one of two", doubling(60, "", "$defs", `{"oneOf":[NEXT,NEXT]}`), `1`, ErrTooMuch},
		{"if and then", doubling(60, "", "$defs", `{"if":NEXT,"then":NEXT}`), `1`, ErrTooMuch},
		{"not not", doubling(60, "", "$defs", `{"not":{"not":{"allOf":[NEXT,NEXT]}}}`), `1`, ErrTooMuch},
		{"an older draft", doubling(60, `"$schema":"http://json-schema.org/draft-07/schema#",`, "definitions", `{"allOf":[NEXT,NEXT]}`), `1`, ErrTooMuch},
		{"dependencies", doubling(60, "", "$defs", `{"dependentSchemas":{"a":NEXT,"b":NEXT}}`), `{"a":1,"b":1}`, ErrTooMuch},
		{"by depth", `{"anyOf":[{"properties":{"a":{"$ref":"#"},"b":false}},{"additionalProperties":{"$ref":"#"}}]}`, nested(60), ErrTooMuch},
		{"by patterns", `{"patternProperties":{"a":{"$ref":"#"},"^a":{"$ref":"#"}}}`, nested(60), ErrTooMuch},
		{"by items", `{"items":{"$ref":"#"},"contains":{"$ref":"#"}}`, strings.Repeat("[", 60) + strings.Repeat("]", 60), ErrTooMuch},
		{"in a circle", `{"$ref":"#"}`, `1`, ErrTooMuch},
		{"deep in values", `{"items":{"$ref":"#"}}`, strings.Repeat("[", 9000) + strings.Repeat("]", 9000), ErrTooMuch},
		{"many numbers, each compared with many", `{"items":{"enum":[` + strings.Repeat("1,", 20000) + `2]}}`, "[" + strings.Repeat("7,", 20000) + "7]", ErrTooMuch},
		{"a large expression", `{"items":{"pattern":"([a-z]{30}){30}$"}}`, `["` + strings.Repeat("cc", 100_000) + `"]`, ErrTooMuch},
		{"a power of ten", `{"minimum":1}`, `1e9999999`, ErrNumber},
		{"a smaller one", `{"type":"integer"}`, `[{"a":1e-999999}]`, ErrNumber},
		{"a long number", `{}`, strings.Repeat("1", 100), ErrNumber},
		{"two values", `{}`, `{} {}`, ErrSyntax},
		{"no value", `{}`, ``, ErrSyntax},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Compile("x", c.schema, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Check([]byte(c.text)); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	for name, schema := range map[string]string{
		"a file":          `{"$ref":"file:///etc/passwd"}`,
		"an address":      `{"$ref":"https://example.com/schema.json"}`,
		"nowhere":         `{"$ref":"#/$defs/none"}`,
		"no schema":       `{"type":"objekt"}`,
		"no JSON":         `{`,
		"a power of ten":  `{"minimum":1e9999999}`,
		"an expression":   `{"pattern":"("}`,
		"a moving target": `{"$dynamicAnchor":"meta","properties":{"a":{"$dynamicRef":"#meta"}}}`,
	} {
		if _, err := Compile("x", schema, Options{}); err == nil || !strings.HasPrefix(err.Error(), "x: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOrdinaryDocuments: what is meant well passes, or is told what is wrong.
func TestOrdinaryDocuments(t *testing.T) {
	tree := `{"$defs":{"n":{"oneOf":[{"type":"integer"},{"type":"object","required":["op","l","r"],"properties":{"op":{"enum":["+","-"]},"l":{"$ref":"#/$defs/n"},"r":{"$ref":"#/$defs/n"}}}]}},"$ref":"#/$defs/n"}`
	deep := "1"
	for range 10 {
		deep = `{"op":"+","l":` + deep + `,"r":1}`
	}
	rows := "[" + strings.Repeat(`{"id":1,"name":"x","tags":["a"]},`, 30000) + `{"id":2,"name":"y","tags":[]}]`
	row := `{"type":"array","items":{"type":"object","required":["id"],"properties":{"id":{"type":"integer","minimum":0},"name":{"type":"string","pattern":"^[a-z]+$"},"tags":{"type":"array","items":{"enum":["a","b"]}}},"additionalProperties":false}}`
	for name, c := range map[string]struct{ schema, text string }{
		"a tree":               {tree, deep},
		"a million letters":    {`{"pattern":"^[a-z0-9_-]*$"}`, `"` + strings.Repeat("a", 1<<20) + `"`},
		"many rows":            {row, rows},
		"the first items":      {`{"prefixItems":[{"type":"string"},{"type":"integer"}],"items":false}`, `["a",1]`},
		"the first, by draft7": {`{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}],"additionalItems":{"type":"integer"}}`, `["a",1,2]`},
		"a schema":             {`{"$ref":"https://json-schema.org/draft/2020-12/schema"}`, `{"type":"object","properties":{"a":{"anyOf":[{"type":"null"}]}}}`},
		"an anchor":            {`{"$defs":{"a":{"$anchor":"here","type":"integer"}},"$ref":"#here"}`, `3`},
		"a format":             {`{"format":"date"}`, `"no date"`},
	} {
		s, err := Compile("x", c.schema, Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := s.Check([]byte(c.text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for schema, text := range map[string]string{tree: `{"op":"*","l":1,"r":1}`, row: `[{"id":-1}]`, `{"format":"date"}`: `"no date"`} {
		s, err := Compile("x", schema, Options{Formats: true})
		if err != nil {
			t.Fatal(err)
		}
		var broken *lib.ValidationError
		if err := s.Check([]byte(text)); !errors.As(err, &broken) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzCheck checks any text against any schema: it ends, and what passes is JSON.
func FuzzCheck(f *testing.F) {
	for _, s := range [][2]string{
		{`{"type":"object","required":["a"],"properties":{"a":{"type":"integer","minimum":1,"maximum":9}}}`, `{"a":3}`},
		{`{"items":{"enum":[1,"a",null]},"uniqueItems":true,"maxItems":3}`, `[1,"a"]`},
		{`{"patternProperties":{"^a":{"multipleOf":0.1}},"additionalProperties":{"not":{"const":1}}}`, `{"ab":0.3,"c":2}`},
		{doubling(3, "", "$defs", `{"anyOf":[NEXT,NEXT]}`), `1`},
		{`{"$schema":"http://json-schema.org/draft-07/schema#","dependencies":{"a":["b"]},"if":{"minLength":2},"then":{"format":"date-time"}}`, `"2026-01-01T00:00:00Z"`},
		{`{"prefixItems":[true,false],"unevaluatedItems":{"$ref":"#"},"contains":{"type":"array"}}`, `[[],1]`},
		{`{"minimum":1}`, `1e9999999`},
	} {
		f.Add([]byte(s[0]), []byte(s[1]))
	}
	f.Fuzz(func(t *testing.T, schema, text []byte) {
		s, err := Compile("x", string(schema), Options{Formats: true})
		if err != nil {
			return
		}
		err = s.Check(text)
		var broken *lib.ValidationError
		if err != nil && !errors.As(err, &broken) && !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrNumber) && !errors.Is(err, ErrTooMuch) {
			t.Errorf("%s against %s: %v", text, schema, err)
		}
	})
}
