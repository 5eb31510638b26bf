package chat

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"hearth/inference"
)

func TestCheckSchema(t *testing.T) {
	for _, c := range []struct{ schema, say string }{
		{`{"type":"object","properties":{"a":{"type":"string","description":"x","format":"email"},"b":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/c"}],"default":null}},"required":["a"],"additionalProperties":false,"$defs":{"c":{"enum":[1,2]}}}`, ""},
		{`{"type":"array","items":{"type":"integer","minimum":0,"exclusiveMaximum":9},"minItems":1}`, ""},
		{`{"type":"string","pattern":"^[A-Z]{2}\\.(?:[0-9]+|x)-\\$$"}`, ""},
		{`{}`, ""},
		{``, "missing"},
		{`7`, "must be a JSON object"},
		{`{"a"`, "not valid JSON"},
		{`{"type":"object","minProperties":1}`, "minProperties"},
		{`{"not":{}}`, `"not"`},
		{`{"properties":{"a":{"items":{"uniqueItems":true}}}}`, "uniqueItems"},
		{`{"$defs":{"a":{"if":{}}}}`, `"if"`},
		{`{"type":"number","minimum":1}`, "integers only"},
		{`{"type":["integer","null"],"minimum":1}`, "integers only"},
		{`{"$ref":"#/$defs/a","minLength":2,"$defs":{"a":{}}}`, `beside "$ref"`},
		{`{"type":"object","anyOf":[{},{}]}`, `beside "anyOf"`},
		{`{"type":"object","properties":{},"required":["a"]}`, "not described"},
		{`{"prefixItems":[{}],"items":{}}`, "prefixItems"},
		{`{"prefixItems":[{"multipleOf":2}]}`, "multipleOf"},
		{`{"pattern":"a"}`, "begin with ^"},
		{`{"pattern":"^\\d$"}`, "[0-9]"},
		{`{"pattern":"^.*$"}`, "dot"},
		{`{"pattern":"^[^a]$"}`, "JSON string"},
		{`{"pattern":"^[ -~]$"}`, "JSON string"},
		{`{"pattern":"^a\"b$"}`, "JSON string"},
		{`{"pattern":"^(?=a)$"}`, "lookaround"},
		{`{"pattern":"^a$|^b$"}`, "anchor"},
		{`{"pattern":"^a+?$"}`, "lazy"},
		{`{"pattern":"^(a$"}`, "regular expression"},
		{`{"pattern":"^a$","minLength":1}`, "beside a pattern"},
		{`{"description":"` + strings.Repeat("x", inference.MaxSchemaBytes) + `"}`, "65536 bytes"},
		{`{"enum":[` + strings.TrimSuffix(strings.Repeat("1,", 9000), ",") + `]}`, "2000 values"},
		{strings.Repeat(`{"items":`, 100) + "{}" + strings.Repeat("}", 100), "64 deep"},
	} {
		err := checkSchema("f", json.RawMessage(c.schema), true)
		if c.say == "" {
			if err != nil {
				t.Errorf("%.80s: %v", c.schema, err)
			}
			continue
		}
		var inv *inference.InvalidError
		if !errors.As(err, &inv) || !strings.HasPrefix(inv.Field, "f") || !strings.Contains(inv.Reason, c.say) {
			t.Errorf("%.80s: got %v, want something about %q", c.schema, err, c.say)
		}
	}
	if err := checkSchema("f", json.RawMessage(`{"not":{},"type":"number","minimum":0}`), false); err != nil {
		t.Errorf("a tool may have any schema, but: %v", err)
	}
	if err := checkSchema("f", nil, false); err != nil {
		t.Errorf("a tool may have no schema, but: %v", err)
	}
}

// FuzzCheckSchema: any text is judged, none breaks the judge.
func FuzzCheckSchema(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"pattern":"^[a-z]$"}}}`)
	f.Add(`{"pattern":"^\\"}`)
	f.Add(`{"pattern":"^(?"}`)
	f.Add(`{"anyOf":[[],{}],"items":[{}]}`)
	f.Fuzz(func(t *testing.T, schema string) {
		for _, enforce := range []bool{true, false} {
			if err := checkSchema("f", json.RawMessage(schema), enforce); err != nil && !errors.Is(err, inference.ErrInvalid) {
				t.Errorf("%q: %v is not the client's error", schema, err)
			}
		}
	})
}
