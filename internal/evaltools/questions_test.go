package main

import (
	"encoding/json"
	"testing"
)

func TestQuestionsHaveTheirTools(t *testing.T) {
	var offered []struct {
		Function struct {
			Name       string `json:"name"`
			Parameters struct {
				Required []string `json:"required"`
			} `json:"parameters"`
		} `json:"function"`
	}
	if err := json.Unmarshal(tools, &offered); err != nil || len(offered) != 8 {
		t.Fatalf("%d tools, %v", len(offered), err)
	}
	required := map[string][]string{}
	for _, o := range offered {
		required[o.Function.Name] = o.Function.Parameters.Required
	}
	all := questions()
	if len(all) != 40 {
		t.Errorf("%d questions", len(all))
	}
	for _, q := range all {
		if len(required[q.tool]) != len(q.args) {
			t.Errorf("%q: the tool %s needs %v", q.text, q.tool, required[q.tool])
		}
		for _, k := range required[q.tool] {
			if q.args[k] == "" {
				t.Errorf("%q has no %s", q.text, k)
			}
		}
	}
}

func TestRight(t *testing.T) {
	q := question{tool: "multiply", args: map[string]string{"a": "12", "b": "34"}}
	for args, want := range map[string]bool{
		`{"a":12,"b":34}`: true, `{"b":34.0,"a":"12 "}`: true,
		`{"a":12}`: false, `{"a":12,"b":35}`: false, `{"a":12,"b":34,"c":1}`: false, `{`: false, `{"a":12,"x":34}`: false,
	} {
		var c call
		c.Function.Name, c.Function.Arguments = "multiply", args
		if got := q.right([]call{c}); got != want {
			t.Errorf("%s: %v", args, got)
		}
		if q.right([]call{c, c}) || q.right(nil) {
			t.Errorf("%s: twice or never is right", args)
		}
		c.Function.Name = "get_time"
		if q.right([]call{c}) {
			t.Error("another tool is right")
		}
	}
}
