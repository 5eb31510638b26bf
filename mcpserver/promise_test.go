package mcpserver

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"hearth/mcpserver/router"
)

// counts is a connector whose tool promises a number.
type counts struct{}

func (counts) Tools() []router.Tool {
	return []router.Tool{{
		Name: "get", Description: "Counts.", Input: json.RawMessage(`{"type":"object"}`),
		Output: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}`),
	}}
}

func (counts) Run(_ context.Context, c *router.Call) (*router.Result, error) {
	n := "7"
	if strings.Contains(string(c.Arguments), "secret") {
		n = "4711"
	}
	return &router.Result{Content: []router.Content{{Type: router.ContentText, Text: "It is " + n + "."}}, Structured: json.RawMessage(`{"n":` + n + `}`)}, nil
}

func (counts) Close(context.Context) error { return nil }

// TestPromisedStructuredContent: where redaction leaves nothing that the tool's schema
// allows, the client reads the text of an error, not an answer that breaks the promise.
func TestPromisedStructuredContent(t *testing.T) {
	c := router.DefaultConfig()
	c.Redact = []string{"4711"}
	r, err := router.New(c, router.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add("lib", counts{}, router.Options{}); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, saying(), func(c *Config) { c.Router = r })
	t.Cleanup(s.Close)
	url := serve(t, s)
	eras(t, func(t *testing.T, version string) {
		p := connect(t, url, version)
		for arguments, withheld := range map[string]bool{`{}`: false, `{"what":"secret"}`: true} {
			_, answer := p.call("1", "tools/call", `"name":"lib__get","arguments":`+arguments, "")
			var got struct {
				Content           []struct{ Text string }
				StructuredContent json.RawMessage
				IsError           bool
			}
			if err := json.Unmarshal(answer.Result, &got); err != nil {
				t.Fatal(err)
			}
			if got.IsError != withheld || (got.StructuredContent == nil) != withheld || strings.Contains(string(answer.Result), "4711") {
				t.Errorf("%s: %s", arguments, answer.Result)
			}
			if withheld && (got.Content[0].Text != "It is [redacted]." || !strings.Contains(got.Content[1].Text, "left out")) {
				t.Errorf("%s: %s", arguments, answer.Result)
			}
		}
	})
}
