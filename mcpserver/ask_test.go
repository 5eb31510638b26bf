package mcpserver

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// withRouter gives the server a router with a connector.
func withRouter(t *testing.T) func(*Config) {
	t.Helper()
	r, err := router.New(router.DefaultConfig(), router.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add("lib", newShelf(1), router.Options{}); err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Router = r }
}

// TestAsk: the model is offered the tools that the call names, and the result says
// which it called.
func TestAsk(t *testing.T) {
	ran := func(stage inference.HostedStage, c inference.HostedCall) inference.Event {
		c.Stage, c.Label = stage, "db"
		return inference.Event{Kind: inference.EventHosted, Hosted: &c}
	}
	f := saying()
	f.script = func(string) ([]inference.Event, error) {
		return append([]inference.Event{
			{Kind: inference.EventTools, Tools: &inference.HostedList{Label: "db"}},
			ran(inference.HostedBegun, inference.HostedCall{ID: "1", Name: "query"}),
			ran(inference.HostedRunning, inference.HostedCall{ID: "1", Name: "query", Arguments: `{"a":1}`}),
			ran(inference.HostedDone, inference.HostedCall{ID: "1", Name: "query", Arguments: `{"a":1}`, Output: "one"}),
			ran(inference.HostedApproval, inference.HostedCall{ID: "2", Name: "drop", Arguments: `{}`, Approval: "ap-1"}),
			{Kind: inference.EventRound},
		}, tokens("It is ", "one.")...), nil
	}
	url := serve(t, newServer(t, f, withRouter(t)))
	eras(t, func(t *testing.T, version string) {
		_, r := connect(t, url, version).call("1", "tools/call", `"name":"ask","arguments":{"prompt":"How many?","system":"Be brief.","connectors":["db","web"]}`, "")
		var got struct {
			StructuredContent struct {
				Text  string
				Calls []struct {
					Tool, Arguments, Approval string
				}
			}
			IsError bool
		}
		if err := json.Unmarshal(r.Result, &got); err != nil {
			t.Fatal(err)
		}
		calls := got.StructuredContent.Calls
		if got.IsError || got.StructuredContent.Text != "It is one." || len(calls) != 2 || calls[0].Tool != "db__query" || calls[0].Arguments != `{"a":1}` || calls[1].Approval != "ap-1" {
			t.Errorf("the result is %s", r.Result)
		}
		asked := f.chats[len(f.chats)-1]
		if h := asked.Hosted; len(h) != 2 || h[0].Label != "db" || h[1].Label != "web" || !h[0].ReadOnly || len(asked.Messages) != 2 {
			t.Errorf("the model was asked %+v", asked)
		}
		_, r = connect(t, url, version).call("2", "tools/call", `"name":"ask","arguments":{"prompt":"x","read_only":false}`, "")
		if h := f.chats[len(f.chats)-1].Hosted; len(h) != 1 || h[0].Label != inference.AllLabels || h[0].ReadOnly {
			t.Errorf("without connectors: %+v, %s", h, r.Result)
		}
		_, r = connect(t, url, version).call("3", "tools/call", `"name":"ask","arguments":{"prompt":"x","connectors":[]}`, "")
		if !strings.Contains(string(r.Result), `"isError":true`) {
			t.Errorf("no connectors: %s", r.Result)
		}
	})
}

// TestAskIsThereWithConnectorsOnly: without connectors there is nothing to ask with.
func TestAskIsThereWithConnectorsOnly(t *testing.T) {
	for _, with := range []bool{false, true} {
		var change []func(*Config)
		if with {
			change = append(change, withRouter(t))
		}
		_, r := connect(t, serve(t, newServer(t, saying(), change...)), "2025-11-25").call("1", "tools/list", "", "")
		if got := strings.Contains(string(r.Result), `"name":"ask"`); got != with {
			t.Errorf("with a router %v: ask is listed %v", with, got)
		}
		if with {
			var list struct{ Tools []json.RawMessage }
			if err := json.Unmarshal(r.Result, &list); err != nil {
				t.Fatal(err)
			}
			for _, raw := range list.Tools {
				var tool struct{ Name string }
				if json.Unmarshal(raw, &tool) == nil && tool.Name == "ask" {
					var pretty bytes.Buffer
					if err := json.Indent(&pretty, raw, "", "  "); err != nil {
						t.Fatal(err)
					}
					pretty.WriteByte('\n')
					golden(t, "ask.json", pretty.Bytes())
				}
			}
		}
	}
}

// TestAskOnANamedServer: the model reaches no tool that the server does not offer.
func TestAskOnANamedServer(t *testing.T) {
	f := newShelf(1)
	f.tools = []string{"long", "secret"}
	models := saying("fine")
	s := withShelf(t, f, func(c *Config) {
		c.Models = models
		c.Select = &Selection{Tools: []string{"ask", "lib__lo*"}}
	})
	p := connect(t, serve(t, s), modern)
	for _, c := range []struct{ arguments, allowed string }{
		{`{"prompt":"x"}`, "lib__long"},
		{`{"prompt":"x","connectors":["lib"]}`, "lib__long"},
		{`{"prompt":"x","connectors":["other"]}`, ""},
	} {
		_, r := p.call("1", "tools/call", `"name":"ask","arguments":`+c.arguments, "")
		if len(models.chats) == 0 {
			t.Fatalf("the model was not asked: %s", r.Result)
		}
		h := models.chats[len(models.chats)-1].Hosted
		if len(h) != 1 || h[0].Allowed == nil || strings.Join(h[0].Allowed, " ") != c.allowed {
			t.Errorf("%s: the model may use %+v", c.arguments, h)
		}
	}
}
