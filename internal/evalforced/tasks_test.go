package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// document builds the document that a task asks for.
func document(t *testing.T, k *kind, want map[string]any) string {
	t.Helper()
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(k.schema)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("s.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("s.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%s: the right answer breaks the schema: %v", k.name, err)
	}
	return string(raw)
}

func TestTasks(t *testing.T) {
	all := tasks(200)
	seen := map[string]bool{}
	r := generator()
	for i, one := range all {
		prompt, want := kinds[i%len(kinds)].make(r)
		if prompt != one.prompt || len(one.want) < 5 {
			t.Fatalf("task %d: %+v", i, one)
		}
		for path, value := range one.want {
			if value != "true" && value != "false" && !strings.Contains(prompt, value) {
				t.Errorf("%q does not say that %s is %s", prompt, path, value)
			}
		}
		text := document(t, one.kind, want)
		if n, wrong := one.right(text); n != len(one.want) || wrong != nil {
			t.Errorf("%s: %d of %d right: %v", text, n, len(one.want), wrong)
		}
		if n, wrong := one.right("{" + text); n != 0 || len(wrong) != len(one.want) {
			t.Errorf("text that is no document has %d right values", n)
		}
		seen[prompt] = true
	}
	if len(seen) < 190 {
		t.Errorf("%d prompts differ", len(seen))
	}
}
