package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"

	"hearth/inference"
)

func TestResources(t *testing.T) {
	url := serve(t, newServer(t, saying()))
	eras(t, func(t *testing.T, version string) {
		p := connect(t, url, version)
		notFound := mcp.RESOURCE_NOT_FOUND
		if version == modern {
			notFound = mcp.INVALID_PARAMS
		}
		for _, c := range []struct {
			uri  string
			want string // in the text; "" if there is no such resource
		}{
			{"models://", `{"models":[{"id":"tiny","state":"ready"`},
			{"models://tiny", `{"id":"tiny","state":"ready"`},
			{"models://tiny", `{"id":"tiny","state":"ready","progress":1,"description":"a model","architecture":"llama","quantization":"Q4_1","parameters":135000000,"file_bytes":90000000,"context":2048,"train_context":8192,"vocabulary":49152,"chat_template":true,"template_tools":false,"gpu_layers":0,"lora":[{"name":"poet","scale":0.5}]}`},
			{"models://big%2Fmodel%3AQ4", `{"id":"big/model:Q4","state":"ready"`},
			{"models://none", ""},
			{"models://a/b", ""},
			{"other://tiny", ""},
		} {
			_, r := p.call("1", "resources/read", fmt.Sprintf(`"uri":%q`, c.uri), "")
			if c.want == "" {
				if r.Error == nil || r.Error.Code != notFound {
					t.Errorf("%s: %s %+v", c.uri, r.Result, r.Error)
				}
				continue
			}
			var got struct {
				Contents []struct{ URI, MimeType, Text string }
			}
			if err := json.Unmarshal(r.Result, &got); err != nil || len(got.Contents) != 1 {
				t.Fatalf("%s: %s %v", c.uri, r.Result, r.Error)
			}
			if g := got.Contents[0]; g.URI != c.uri || g.MimeType != "application/json" || !strings.HasPrefix(g.Text, c.want) || strings.Contains(g.Text, "secret") {
				t.Errorf("%s: %+v", c.uri, g)
			}
		}
		for method, want := range map[string]string{
			"resources/list": `"uri":"models://"`, "resources/templates/list": `"uriTemplate":"models://{id}"`,
		} {
			if _, r := p.call("1", method, "", ""); !strings.Contains(string(r.Result), want) {
				t.Errorf("%s: %s", method, r.Result)
			}
		}
		for value, want := range map[string]string{"": `["tiny","big/model:Q4"]`, "b": `["big/model:Q4"]`, "x": `[]`} {
			_, r := p.call("1", "completion/complete", fmt.Sprintf(`"ref":{"type":"ref/resource","uri":"models://{id}"},"argument":{"name":"id","value":%q}`, value), "")
			if !strings.Contains(string(r.Result), `"values":`+want) {
				t.Errorf("completion of %q: %s %+v", value, r.Result, r.Error)
			}
		}
	})
}

// TestManyCompletions: the protocol takes 100 and is told that there are more.
func TestManyCompletions(t *testing.T) {
	f := saying()
	for i := range 150 {
		f.list = append(f.list, ready(fmt.Sprintf("m%d", i)))
	}
	got, err := completer{newServer(t, f)}.CompleteResourceArgument(context.Background(), "models://{id}", mcp.CompleteArgument{Name: "id", Value: "m"}, mcp.CompleteContext{})
	if err != nil || len(got.Values) != 100 || got.Total != 150 || !got.HasMore {
		t.Errorf("%+v %v", got, err)
	}
}

// TestProtocolErrors: each failure has the code and, in 2026-07-28, the HTTP
// status that the protocol gives it, and no message shows Go.
func TestProtocolErrors(t *testing.T) {
	url := serve(t, newServer(t, saying()))
	for _, c := range []struct {
		name, method, params string
		legacy, modern       int // codes
		status               int // of 2026-07-28
	}{
		{"unknown method", "no/such", "", -32601, -32601, 404},
		{"unknown tool", "tools/call", `"name":"none"`, -32602, -32602, 400},
		{"name of the wrong type", "tools/call", `"name":7`, -32602, -32020, 400},
		{"cursor of the wrong type", "tools/list", `"cursor":7`, -32602, -32602, 400},
		{"bad cursor", "tools/list", `"cursor":"%"`, -32602, -32602, 400},
		{"unknown reference", "completion/complete", `"ref":{"type":"ref/none"},"argument":{"name":"id","value":""}`, -32602, -32602, 400},
		{"unknown argument", "completion/complete", `"ref":{"type":"ref/resource","uri":"models://{id}"},"argument":{"name":"x","value":""}`, -32602, -32602, 400},
		{"bad cursor of prompts", "prompts/list", `"cursor":"%"`, -32602, -32602, 400},
		{"models cannot be subscribed to", "resources/subscribe", `"uri":"models://"`, -32602, -32601, 404},
		{"of the other era", "server/discover", "", -32601, 0, 200},
		{"of this era", "initialize", `"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}`, 0, -32601, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, version := range []string{legacy, modern} {
				p := connect(t, url, version)
				body, h := p.request(`"q"`, c.method, c.params, "")
				r := p.post(context.Background(), body, h)
				m := read(t, r)[0]
				code, text := 0, ""
				if m.Error != nil {
					code, text = m.Error.Code, m.Error.Message
				}
				want, status := c.legacy, 200
				if version == modern {
					want, status = c.modern, c.status
				}
				if code != want || r.StatusCode != status || string(m.ID) != `"q"` {
					t.Errorf("%s: status %d, %d %q, want %d and %d", version, r.StatusCode, code, text, status, want)
				}
				if strings.Contains(text, "Go ") || strings.Contains(text, "json:") || strings.Contains(text, "struct") {
					t.Errorf("%s: the message is %q", version, text)
				}
			}
		})
	}
}

// TestListenToADrainingServer: a subscription is acknowledged and ends at once, the
// acknowledgement first.
func TestListenToADrainingServer(t *testing.T) {
	s := newServer(t, saying())
	p := connect(t, serve(t, s), modern)
	s.Drain()
	for range 50 {
		notes, r := p.call("1", "subscriptions/listen", `"notifications":{"toolsListChanged":true,"resourcesListChanged":true}`, "")
		if len(notes) != 1 || notes[0].Method != mcp.MethodNotificationSubscriptionsAcknowledged || r.Error != nil {
			t.Fatalf("%+v %+v", notes, r)
		}
	}
}

func TestClassifiedFailure(t *testing.T) {
	f := failed(&inference.RetryError{Err: inference.ErrBusy, After: 1500e6})
	if got := string(f.response("")); got != `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"queue is full","data":{"retryAfterMs":1500}}}` {
		t.Error(got)
	}
}

// TestModelThatSharesNothing: the reason stands wherever the model does.
func TestModelThatSharesNothing(t *testing.T) {
	f := saying()
	f.list[0].Info.WhyNotShared, f.list[0].Info.WhyNotStored = "it is switched off", "there is no memory for it"
	url := serve(t, newServer(t, f))
	eras(t, func(t *testing.T, version string) {
		p := connect(t, url, version)
		_, r := p.call("1", "tools/call", `"name":"list_models","arguments":{}`, "")
		var listed struct {
			IsError           bool
			StructuredContent struct{ Models []model }
		}
		if err := json.Unmarshal(r.Result, &listed); err != nil || listed.IsError || len(listed.StructuredContent.Models) != 2 {
			t.Fatalf("%s %v %+v", r.Result, r.Error, err)
		}
		if m := listed.StructuredContent.Models; m[0].WhyNotShared != "it is switched off" || m[0].WhyNotStored != "there is no memory for it" || m[1].WhyNotShared+m[1].WhyNotStored != "" {
			t.Errorf("%+v", m)
		}
		if _, r := p.call("2", "resources/read", `"uri":"models://tiny"`, ""); !strings.Contains(string(r.Result), `not_shared_because\":\"it is switched off`) {
			t.Errorf("the resource: %s", r.Result)
		}
	})
}
