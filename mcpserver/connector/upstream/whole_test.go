package upstream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"hearth/mcpserver/connector/upstream"
	"hearth/mcpserver/router"
)

// TestDefinitionsComeWhole: of the tools that are chosen, the schemas are the server's
// own in all they say.
func TestDefinitionsComeWhole(t *testing.T) {
	const schema = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","$defs":{"id":{"type":"string","pattern":"^[a-z]+$"}},
		"properties":{"id":{"$ref":"#/$defs/id"},"n":{"anyOf":[{"type":"integer"},{"type":"null"}]},"kind":{"enum":["a","b"],"default":"a"}},
		"allOf":[{"required":["id"]}],"if":{"properties":{"kind":{"const":"b"}},"required":["kind"]},"then":{"required":["n"]},"else":{"not":{"required":["n"]}},
		"unevaluatedProperties":false,"x-own":{"kept":true}}`
	s := mcp.NewServer(&mcp.Implementation{Name: "whole", Version: "1"}, nil)
	for _, name := range []string{"look", "lock", "open"} {
		s.AddTool(&mcp.Tool{Name: name, InputSchema: json.RawMessage(schema), OutputSchema: json.RawMessage(schema)}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{}, nil
		})
	}
	web := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, nil))
	t.Cleanup(web.Close)
	u := started(t, upstream.Config{URL: web.URL, Tools: []string{"lo*"}, Hide: []string{"*ck"}})
	tools := u.Tools()
	if got := fmt.Sprint(names(tools)); got != "[look]" {
		t.Fatalf("offered: %s", got)
	}
	var want any
	if err := json.Unmarshal([]byte(schema), &want); err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]json.RawMessage{"input": tools[0].Input, "output": tools[0].Output} {
		var got any
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s schema: %s, %v", what, text, err)
		}
	}
	if _, err := try(t, u, "lock", `{}`); err == nil {
		t.Error("a tool that is hidden was called")
	}
}

// TestDefaultsOfQuestions: what a person leaves out of an answer is as the question
// says, and an answer is passed on only where the person gives one.
func TestDefaultsOfQuestions(t *testing.T) {
	s := mcp.NewServer(&mcp.Implementation{Name: "asker", Version: "1"}, nil)
	s.AddTool(&mcp.Tool{Name: "ask", InputSchema: json.RawMessage(`{"type":"object"}`)}, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		a, err := r.Session.Elicit(ctx, &mcp.ElicitParams{Message: "which?", RequestedSchema: json.RawMessage(
			`{"type":"object","properties":{"city":{"type":"string","default":"Bern"},"n":{"type":"integer","default":3},"sure":{"type":"boolean"}}}`)})
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(a.Content)
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: a.Action + " " + string(text)}}}, err
	})
	web := httptest.NewServer(mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return s }, nil))
	t.Cleanup(web.Close)
	u := started(t, upstream.Config{URL: web.URL, Transport: "sse"})
	for _, c := range []struct {
		peer router.Peer
		want string
	}{
		{&peer{action: "accept", values: `{"n":7}`}, `accept {"city":"Bern","n":7}`},
		{&peer{action: "accept"}, `accept {"city":"Bern","n":3}`},
		{&peer{action: "decline", values: `{"n":7}`}, `decline null`},
		{nil, `cancel null`},
	} {
		if got := text(call(t, u, "ask", `{}`, func(one *router.Call) { one.Peer = c.peer })); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// TestPausesGrow: a server that cannot be reached is tried again, less and less often.
func TestPausesGrow(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	for _, pause := range []string{`"pause":1000`, `"pause":2000`} {
		log, with := logs(pause)
		open(t, upstream.Config{URL: web.URL}, with)
		log.await(t)
	}
}
