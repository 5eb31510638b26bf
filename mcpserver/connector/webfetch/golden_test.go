package webfetch_test

import (
	"encoding/json"
	"testing"

	"github.com/rs/zerolog"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"hearth/mcpserver/router"
)

func testLogger() zerolog.Logger { return zerolog.Nop() }

// goldenTool is a tool as models see it, after its schema was found to be one.
func goldenTool(t *testing.T, tool router.Tool) []byte {
	t.Helper()
	var doc any
	if err := json.Unmarshal(tool.Input, &doc); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for arguments, ok := range map[string]bool{
		`{"url":"https://example.com/"}`: true, `{"url":"https://example.com/","start":0,"length":10,"whole":true}`: true,
		`{}`: false, `{"url":""}`: false, `{"url":"x","start":-1}`: false, `{"url":"x","more":1}`: false,
	} {
		var v any
		if err := json.Unmarshal([]byte(arguments), &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); (err == nil) != ok {
			t.Errorf("%s: %v", arguments, err)
		}
	}
	out, err := json.MarshalIndent(map[string]any{"name": tool.Name, "title": tool.Title, "description": tool.Description, "inputSchema": doc}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}
