package upstream_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"hearth/inference"
	"hearth/mcpserver/connector/upstream"
	"hearth/mcpserver/router"
)

//lint:file-ignore SA1019 servers of the older protocols still sample

// models is a model that says one thing.
type models struct{ inference.Models }

func (models) Acquire(context.Context, string) (inference.Lease, error) { return &lease{}, nil }

type lease struct{ inference.Lease }

func (*lease) Release()                  {}
func (*lease) Info() inference.ModelInfo { return inference.ModelInfo{ID: "local"} }
func (*lease) Chat(_ context.Context, q *inference.ChatRequest) (inference.Stream, error) {
	return &stream{events: []inference.Event{
		{Kind: inference.EventDelta, Content: "said to " + q.Messages[len(q.Messages)-1].Content},
		{Kind: inference.EventFinish, Finish: inference.FinishStop},
		{Kind: inference.EventUsage, Usage: inference.Usage{CompletionTokens: q.MaxTokens}},
	}}, nil
}

type stream struct{ events []inference.Event }

func (s *stream) Next(context.Context) (inference.Event, error) {
	if len(s.events) == 0 {
		return inference.Event{}, io.EOF
	}
	e := s.events[0]
	s.events = s.events[1:]
	return e, nil
}
func (*stream) Close() error { return nil }

// asker is a server whose one tool asks the client's model.
func asker() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "asker", Version: "1"}, nil)
	s.AddTool(&mcp.Tool{Name: "ask", InputSchema: json.RawMessage(`{"type":"object"}`)}, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		answer, err := r.Session.CreateMessage(ctx, &mcp.CreateMessageParams{
			MaxTokens: 1 << 20, Messages: []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: "it"}}},
		})
		if err != nil {
			return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: err.Error()}}}, nil
		}
		return &mcp.CallToolResult{Content: []mcp.Content{answer.Content}}, nil
	})
	return s
}

// TestSampling also is the test of the older HTTP with events, which is found
// where streamable HTTP does not answer.
func TestSampling(t *testing.T) {
	handler := mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return asker() }, nil)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	withModels := func(d *upstream.Deps) { d.Models = models{} }
	for _, c := range []struct {
		name     string
		sampling upstream.Sampling
		peer     router.Peer
		want     []string // of one call after the other
	}{
		{"off", upstream.Sampling{}, nil, []string{"does not support"}},
		{"allow", upstream.Sampling{Mode: "allow", Tokens: 10, TokensPerMinute: 15}, nil, []string{"said to it", "said to it", "the 15 tokens of this minute are used"}},
		{"ask nobody", upstream.Sampling{Mode: "ask"}, nil, []string{"nobody can be asked"}},
		{"ask and refuse", upstream.Sampling{Mode: "ask"}, &peer{action: "decline"}, []string{"did not allow it"}},
		{"ask and allow", upstream.Sampling{Mode: "ask"}, &peer{action: "accept", values: `{"allow":true}`}, []string{"said to it"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := started(t, upstream.Config{URL: server.URL, Sampling: c.sampling}, withModels)
			for _, want := range c.want {
				r := call(t, u, "ask", `{}`, func(one *router.Call) { one.Peer = c.peer })
				if !strings.Contains(text(r), want) {
					t.Errorf("got %q, want %q", text(r), want)
				}
			}
		})
	}
}
