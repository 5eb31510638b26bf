package batch

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestLineIsRefused(t *testing.T) {
	const head = `{"custom_id":"a","method":"POST","url":"/v1/completions",`
	for _, c := range []struct{ line, want string }{
		{`[]`, "not a JSON object"},
		{`7`, "not a JSON object"},
		{`{`, "not valid JSON"},
		{``, "not valid JSON"},
		{"\xef\xbb\xbf{}", "not valid JSON"},
		{`{"a":` + "\"\xff\"}", "not valid UTF-8"},
		{head + `"body":{}} {}`, "more than one JSON object"},
		{head + `"body":{},"custom_id":"b"}`, `"custom_id" twice`},
		{head + `"body":{},"priority":1}`, `unknown member "priority"`},
		{`{"method":"POST","url":"/v1/completions","body":{}}`, "custom_id is missing"},
		{`{"custom_id":7,"method":"POST","url":"/v1/completions","body":{}}`, "custom_id must be a string"},
		{`{"custom_id":"` + strings.Repeat("x", MaxIDBytes+1) + `","method":"POST","url":"/v1/completions","body":{}}`, "at most 512"},
		{`{"custom_id":"a","method":"GET","url":"/v1/completions","body":{}}`, `method must be "POST", got "GET"`},
		{`{"custom_id":"a","method":"POST","url":"/v1/moderations","body":{}}`, `url must be one of /v1/chat/completions`},
		{head + `"body":null}`, "body is not a JSON object"},
		{`{"custom_id":"a","method":"POST","url":"/v1/completions"}`, "body is missing"},
		{head + `"body":{"n":1,"n":2}}`, `body has the member "n" twice`},
		{head + `"body":{"stream":true}}`, "body.stream must be left out"},
	} {
		if r, err := parseLine([]byte(c.line)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s: %+v, %v; want %q", c.line, r, err, c.want)
		}
	}
}

// TestPayload: what is added to a body, and what is left as it is.
func TestPayload(t *testing.T) {
	for _, c := range []struct{ url, body, model, want string }{
		{"", `{}`, "", `{"service_tier":"flex"}`},
		{"", `{"n":1}`, "m", `{"n":1,"model":"m","service_tier":"flex"}`},
		{"", `{"model":"x", "prompt":"a\"}"}`, "m", `{"model":"x","prompt":"a\"}","service_tier":"flex"}`},
		{"", `{"model":null,"service_tier":null}`, "m", `{"model":"m","service_tier":"flex"}`},
		{"", `{"service_tier":"default"}`, "", `{"service_tier":"default"}`},
		{"/v1/embeddings", `{"input":"x"}`, "m", `{"input":"x","model":"m"}`},
	} {
		got, err := (&Request{URL: c.url, Body: json.RawMessage(c.body)}).payload(c.model)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v; want %s", c.body, got, err, c.want)
		}
	}
}

// FuzzLine: whatever a line holds, it is refused, or it can be sent and its
// answer can be written as one line.
func FuzzLine(f *testing.F) {
	f.Add([]byte(`{"custom_id":"a","method":"POST","url":"/v1/completions","body":{"prompt":"x","model":null}}`))
	f.Add([]byte(`{"custom_id":"\u2028","method":"POST","url":"/v1/chat/completions","body":{"messages":[],"stream":false}}`))
	f.Add([]byte(`{"custom_id":"\ud800","method":"POST","url":"/v1/chat/completions","body":{"a":1e999}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseLine(line)
		if err != nil {
			return
		}
		body, err := r.payload("m")
		if err != nil {
			t.Fatalf("%q cannot be sent: %v", line, err)
		}
		var sent map[string]json.RawMessage
		if err := json.Unmarshal(body, &sent); err != nil || string(sent["model"]) == "" || string(sent["service_tier"]) == "" {
			t.Fatalf("%q becomes %q: %v", line, body, err)
		}
		a, err := newAnswer(r, &response{status: 200, body: body})
		if err != nil || strings.Count(string(a.line), "\n") != 1 || !strings.HasPrefix(string(a.line), linePrefix) {
			t.Fatalf("the answer to %q is %q, %v", line, a.line, err)
		}
		var back resultLine
		if err := json.Unmarshal(a.line, &back); err != nil || back.CustomID == nil || *back.CustomID != r.CustomID {
			t.Fatalf("%q comes back as %v, %v", r.CustomID, back.CustomID, err)
		}
	})
}

func TestUsageOf(t *testing.T) {
	for body, want := range map[string][3]int{
		`{"usage":{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}`: {5, 3, 2},
		`{"usage":{"input_tokens":7,"output_tokens":4,"input_tokens_details":{"cached_tokens":1}}}`:       {7, 4, 1},
		`{"usage":null}`: {}, `{}`: {}, `{"usage":3}`: {},
	} {
		u := usageOf([]byte(body))
		if got := [3]int{u.Prompt, u.Completion, u.Details.Cached}; got != want {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
}
