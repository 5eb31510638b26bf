package mcpserver

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth/inference"
)

// refusals keeps what the server tells, and counts what its models heard.
type refusals struct {
	models *fakeModels
	mu     sync.Mutex
	all    []inference.Refusal
}

func (r *refusals) config(c *Config) {
	c.RequestID = func(context.Context) string { return "r1" }
	c.Refused = func(_ context.Context, f inference.Refusal) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = append(r.all, f)
	}
}

// take returns what was told, and how many requests the models heard of, since
// the last call.
func (r *refusals) take() (told []inference.Refusal, heard int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.models.mu.Lock()
	defer r.models.mu.Unlock()
	told, heard = r.all, len(r.models.chats)+len(r.models.completes)+len(r.models.embeds)+len(r.models.reranks)
	r.all, r.models.chats, r.models.completes, r.models.embeds, r.models.reranks = nil, nil, nil, nil, nil
	return told, heard
}

// accounts are calls and what is told of them: nothing of those that a model
// heard of, and of those that ask no model.
var accounts = []struct {
	tool, arguments string
	heard           int
	want            []inference.Refusal
}{
	{"chat", `{"prompt":"a"}`, 1, nil},
	{"chat", `{"prompt":"busy"}`, 1, nil},
	{"generate", `{"prompt":"a"}`, 1, nil},
	{"embed", `{"input":["a"],"model":"tiny"}`, 1, nil},
	{"rerank", `{"query":"a","documents":["b"],"model":"tiny"}`, 1, nil},
	{"rerank", `{"documents":["b"]}`, 0, []inference.Refusal{{Action: "rerank", RequestID: "r1", Code: "invalid_value"}}},
	{"embed", `{"input":[]}`, 0, []inference.Refusal{{Action: "embed", RequestID: "r1", Code: "invalid_value"}}},
	{"embed", `{"input":["a"],"model":"none"}`, 0, []inference.Refusal{{Action: "embed", Model: "none", RequestID: "r1", Code: "model_not_found"}}},
	{"count_tokens", `{"text":7}`, 0, nil},
	{"list_models", `{"all":true}`, 0, nil},
	{"nothing", `{}`, 0, nil},
	{"chat", `{}`, 0, []inference.Refusal{{Action: "chat", RequestID: "r1", Code: "invalid_value"}}},
	{"chat", `{"prompt":7,"model":"tiny"}`, 0, []inference.Refusal{{Action: "chat", Model: "tiny", RequestID: "r1", Code: "invalid_value"}}},
	{"chat", `[]`, 0, []inference.Refusal{{Action: "chat", RequestID: "r1", Code: "invalid_value"}}},
	{"chat", `"text"`, 0, []inference.Refusal{{Action: "chat", RequestID: "r1", Code: "invalid_value"}}},
	{"chat", `{"prompt":"a","model":"none"}`, 0, []inference.Refusal{{Action: "chat", Model: "none", RequestID: "r1", Code: "model_not_found"}}},
	{"generate", `{"prompt":"a","model":"late"}`, 0, []inference.Refusal{{Action: "complete", Model: "late", RequestID: "r1", Code: "model_loading"}}},
	{"generate", `{"prompt":"a","temperature":9}`, 0, []inference.Refusal{{Action: "complete", RequestID: "r1", Code: "invalid_value"}}},
}

func accounted() *fakeModels {
	f := saying("x")
	f.list = append(f.list, inference.ModelStatus{State: inference.ModelLoading, Info: inference.ModelInfo{ID: "late"}})
	f.script = func(prompt string) ([]inference.Event, error) {
		if prompt == "busy" {
			return nil, &inference.RetryError{Err: inference.ErrBusy}
		}
		return tokens("x"), nil
	}
	return f
}

// TestRefusalsAreToldOnce: a call is heard of by a model, or told of, once.
func TestRefusalsAreToldOnce(t *testing.T) {
	eras(t, func(t *testing.T, version string) {
		r := &refusals{models: accounted()}
		p := connect(t, serve(t, newServer(t, r.models, r.config)), version)
		for _, c := range accounts {
			p.call("1", "tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, c.tool, c.arguments), "")
			told, heard := r.take()
			if d := cmp.Diff(c.want, told); d != "" || heard != c.heard {
				t.Errorf("%s %s: %d heard, told %s", c.tool, c.arguments, heard, d)
			}
		}
	})
}

func TestStdioRefusalsAreToldOnce(t *testing.T) {
	for _, c := range accounts {
		r := &refusals{models: accounted()}
		s := newServer(t, r.models, r.config)
		in := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, c.tool, c.arguments)
		var out bytes.Buffer
		if err := s.ServeStdio(t.Context(), strings.NewReader(in), &out); err != nil {
			t.Fatal(err)
		}
		told, heard := r.take()
		if d := cmp.Diff(c.want, told); d != "" || heard != c.heard {
			t.Errorf("%s %s: %d heard, told %s", c.tool, c.arguments, heard, d)
		}
	}
}

// TestRefusalsOfTheProtocol: calls that no tool sees are told of too.
func TestRefusalsOfTheProtocol(t *testing.T) {
	r := &refusals{models: accounted()}
	s := newServer(t, r.models, r.config, func(c *Config) { c.MaxCallsPerSession = 1 })
	url := serve(t, s)
	p := connect(t, url, legacy)
	body, h := p.request("1", "tools/call", `"name":"chat","arguments":{"prompt":"a","model":"tiny"}`, "")
	refusal := inference.Refusal{Action: "chat", Model: "tiny", RequestID: "r1"}

	held := s.endpoint.sessions.byID[p.session].running
	if err := held.begin("other", func(error) {}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, code string
		header     http.Header
	}{
		{"too many calls", "queue_full", h},
		{"no such session", "invalid_value", http.Header{"Mcp-Session-Id": {"none"}, "Mcp-Protocol-Version": {legacy}}},
		{"headers of another call", "invalid_value", http.Header{"Mcp-Protocol-Version": {modern}, "Mcp-Method": {"ping"}}},
	} {
		_ = p.post(t.Context(), body, c.header).Body.Close()
		refusal.Code = c.code
		told, heard := r.take()
		if d := cmp.Diff([]inference.Refusal{refusal}, told); d != "" || heard != 0 {
			t.Errorf("%s: %d heard, told %s", c.name, heard, d)
		}
	}

	// The same over stdio, where the first call waits.
	hold := make(chan struct{})
	r = &refusals{models: accounted()}
	r.models.hold = func(string) <-chan struct{} { return hold }
	s = newServer(t, r.models, r.config, func(c *Config) { c.MaxCallsPerSession = 1 })
	s.config.Refused = func(_ context.Context, f inference.Refusal) {
		r.all = append(r.all, f)
		close(hold)
	}
	var out bytes.Buffer
	if err := s.ServeStdio(t.Context(), strings.NewReader(toolCall("1", "a")+toolCall("2", "a")), &out); err != nil {
		t.Fatal(err)
	}
	told, heard := r.take()
	if d := cmp.Diff([]inference.Refusal{{Action: "chat", RequestID: "r1", Code: "queue_full"}}, told); d != "" || heard != 1 {
		t.Errorf("stdio: %d heard, told %s", heard, d)
	}
}
