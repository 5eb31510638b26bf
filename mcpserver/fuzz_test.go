package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// FuzzEndpoint lets a client send any message by each way there is: without a
// session, in one, in the protocol without sessions, and as lines of stdio. Whatever
// it is, what comes back are messages of JSON-RPC, at most one is the answer, nothing
// is a failure of the server, and all that a call used is free.
func FuzzEndpoint(f *testing.F) {
	const modernMeta = `"_meta":{"progressToken":1,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}`
	for way := range byte(4) {
		for _, s := range []string{
			`{"jsonrpc":"2.0","id":1,"method":"ping"}`,
			`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"t","version":"1"}}}`,
			`{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{` + modernMeta + `}}`,
			`{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{"cursor":"x",` + modernMeta + `}}`,
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"chat","arguments":{"prompt":"x","max_tokens":3.0},` + modernMeta + `}}`,
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"lib__long","arguments":{},` + modernMeta + `}}`,
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rerank","arguments":{"query":"q","documents":["a","b"]}}}`,
			`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"lib+book://1",` + modernMeta + `}}`,
			`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"lib+book://1"}}`,
			`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"lib__review","arguments":{"book":"b"},` + modernMeta + `}}`,
			`{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"lib__review"},"argument":{"name":"book","value":"E"},` + modernMeta + `}}`,
			`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}`,
			`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["lib+book://1"]},` + modernMeta + `}}`,
			`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}`,
		} {
			f.Add(way, []byte(s))
		}
	}
	r, err := router.New(router.DefaultConfig(), router.Deps{Log: zerolog.Nop()})
	if err != nil {
		f.Fatal(err)
	}
	if err := r.Add("lib", newShelf(3), router.Options{Limits: router.Limits{ResultBytes: 4096}}); err != nil {
		f.Fatal(err)
	}
	models := saying("a", "b")
	models.list = append(models.list, ranker("ranker"), embedder("embedder"))
	s, err := New(Config{Models: models, Log: zerolog.Nop(), Version: "1", Router: r})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		s.Close()
		_ = r.Close(context.Background())
	})
	s.Drain() // streams end at once
	f.Fuzz(func(t *testing.T, way byte, data []byte) {
		ctx := inference.WithCaller(t.Context(), inference.DefaultCaller)
		var out bytes.Buffer
		answers := 1
		if way%4 == 3 {
			if err := s.ServeStdio(ctx, bytes.NewReader(data), &out); err != nil {
				t.Fatal(err)
			}
			answers = bytes.Count(data, []byte("\n")) + 1
		} else {
			q := httptest.NewRequestWithContext(ctx, http.MethodPost, "/mcp", bytes.NewReader(data))
			q.Header.Set("Content-Type", "application/json")
			q.Header.Set("Accept", "application/json, text/event-stream")
			switch way % 4 {
			case 1:
				session, err := s.endpoint.sessions.create(ctx, inference.DefaultCaller)
				if err != nil {
					t.Fatal(err)
				}
				defer s.endpoint.sessions.remove(ctx, session)
				q.Header.Set("Mcp-Session-Id", session.id)
			case 2:
				var m struct {
					Method string
					Params struct{ Name, URI string }
				}
				_ = json.Unmarshal(data, &m)
				q.Header.Set("Mcp-Protocol-Version", modern)
				if m.Method != "" && !strings.ContainsAny(m.Method+m.Params.Name+m.Params.URI, "\r\n") {
					q.Header["Mcp-Method"] = []string{m.Method}
					q.Header["Mcp-Name"] = []string{m.Params.Name + m.Params.URI}
				}
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, q)
			if w.Code >= 500 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if w.Code >= 400 && strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
				return // of a message that is no request there may be no answer to word
			}
			out = *w.Body
		}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "data: ")
			if line == "" || strings.HasPrefix(line, ":") || strings.HasPrefix(line, "event:") || strings.HasPrefix(line, "id:") {
				continue
			}
			var m struct {
				JSONRPC string
				Method  string
				Result  json.RawMessage
				Error   *struct{ Code int }
			}
			if err := json.Unmarshal([]byte(line), &m); err != nil || m.JSONRPC != "2.0" {
				t.Fatalf("%q is no message: %v", line, err)
			}
			if m.Method == "" {
				answers--
			}
			if (m.Method == "") != (m.Result != nil || m.Error != nil) || m.Error != nil && m.Error.Code == -32603 {
				t.Errorf("answered %s", line)
			}
		}
		if answers < 0 {
			t.Errorf("too many answers: %s", out.String())
		}
		if models.leases.Load() != 0 || models.open.Load() != 0 {
			t.Errorf("%d leases and %d streams are left", models.leases.Load(), models.open.Load())
		}
	})
}
