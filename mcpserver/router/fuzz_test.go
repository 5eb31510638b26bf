package router

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/rs/zerolog"

	"hearth/inference"
)

// FuzzArguments: whatever is sent, what a connector gets is a JSON object that its
// schema allows, spelled in the one way that approvals and records know it by.
func FuzzArguments(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"a":2}`, `{"A":1}`, ` {"a":[1,2]} `, `{"a":"\ud800"}`, `{"a":1e400}`, `{"n":1e9999999}`, `{"n":3,"s":"x","l":[1]}`, `null`, ``, `[]`, `{"a":{"b":{}}}`} {
		f.Add([]byte(s))
	}
	c := offers("get")
	c.tools[0].Input = json.RawMessage(`{"type":"object","properties":{"n":{"minimum":1,"multipleOf":0.5},"s":{"enum":["x",1]},"l":{"type":"array","uniqueItems":true}}}`)
	c.run = func(_ context.Context, c *Call) (*Result, error) { return Text(string(c.Arguments)), nil }
	r, err := New(DefaultConfig(), Deps{Log: zerolog.Nop()})
	if err != nil {
		f.Fatal(err)
	}
	if err := r.Add("x", c, Options{Limits: Limits{ResultBytes: 64 << 20, ResultTokens: 1 << 20}}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		result, err := r.Call(t.Context(), &Request{Caller: inference.DefaultCaller, Tool: "x__get", Arguments: data})
		if err != nil {
			return
		}
		got := []byte(result.Content[0].Text)
		again, err := canonical(got)
		if err != nil || string(again) != string(got) || !isObject(got) {
			t.Errorf("%q became %q (%v)", data, got, err)
		}
	})
}

func isObject(data []byte) bool {
	var v map[string]json.RawMessage
	return json.Unmarshal(data, &v) == nil && v != nil
}

// FuzzResults: whatever a connector returns, what is passed on is bounded, and its
// structured content is JSON.
func FuzzResults(f *testing.F) {
	f.Add("text", []byte(`{"a":1}`), []byte("data"), true)
	f.Add("hunter2", []byte(`{"hunter2":"\u0068unter2"}`), []byte{}, false)
	f.Add("\xff", []byte(`{`), []byte{0}, false)
	f.Add("", []byte("{}\v"), []byte{}, false) // white space, but not to JSON
	config := DefaultConfig()
	config.Redact = []string{`hunter\d`}
	f.Fuzz(func(t *testing.T, text string, structured, data []byte, isError bool) {
		r, err := New(config, Deps{Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		c := offers("get")
		c.run = func(context.Context, *Call) (*Result, error) {
			return &Result{Content: []Content{{Type: ContentText, Text: text}, {Type: ContentImage, Data: data}}, Structured: structured, IsError: isError}, nil
		}
		if err := r.Add("x", c, Options{Limits: Limits{ResultBytes: 1024}}); err != nil {
			t.Fatal(err)
		}
		result, err := r.Call(t.Context(), &Request{Caller: inference.DefaultCaller, Tool: "x__get"})
		if err != nil {
			return
		}
		total := len(result.Structured)
		for _, c := range result.Content {
			total += len(c.Text) + len(c.Data)
		}
		if len(result.Structured) > 0 && !isObject(result.Structured) {
			t.Errorf("structured content is %q", result.Structured)
		}
		if total > 4096 {
			t.Errorf("%d bytes are passed on", total)
		}
	})
}
