package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// tool is one as /v1/tools shows it.
type tool struct {
	Name        string          `json:"name"`
	Connector   string          `json:"connector"`
	Description string          `json:"description"`
	Input       json.RawMessage `json:"input_schema"`

	schema *jsonschema.Schema
}

func (t *tool) compile() error {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(t.Input)))
	if err != nil {
		return fmt.Errorf("read the schema of %s: %w", t.Name, err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // nothing is loaded
	c.AssertFormat()
	if err := c.AddResource("tool:"+t.Name, doc); err != nil {
		return fmt.Errorf("read the schema of %s: %w", t.Name, err)
	}
	t.schema, err = c.Compile("tool:" + t.Name)
	return err
}

// call is one that a side made.
type call struct {
	Tool      string `json:"tool"`
	Arguments string `json:"arguments"`
	// Invalid is why the tool's schema refuses the arguments; empty: it takes them.
	Invalid string `json:"invalid,omitempty"`
	Result  string `json:"result"`
}

// check fills in whether one of the tools takes the call.
func (c *call) check(tools []*tool) {
	for _, t := range tools {
		if t.Name != c.Tool {
			continue
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(c.Arguments))
		if err == nil {
			err = t.schema.Validate(value)
		}
		if err != nil {
			c.Invalid = err.Error()
		}
		return
	}
	c.Invalid = "no such tool"
}

// leftAsText matches the beginning of a call that nobody took as one.
var leftAsText = regexp.MustCompile(`\{\s*"name"\s*:\s*"[^"]*"\s*,\s*"(?:arguments|parameters)"`)

// bareCall reads an answer that is nothing but the JSON of a call, with or without a
// fence around it.
func bareCall(text string) (name, arguments string, ok bool) {
	text = strings.TrimSpace(text)
	if rest, fenced := strings.CutPrefix(text, "```"); fenced {
		text = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(rest, "json"), "```"))
	}
	var c struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if dec.Decode(&c) != nil || dec.More() || c.Name == "" || len(c.Arguments) == 0 || c.Arguments[0] != '{' {
		return "", "", false
	}
	return c.Name, string(c.Arguments), true
}
