package upstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"hearth/mcpserver/connector/upstream"
	"hearth/mcpserver/router"
)

// expiring are tools in whose calls the token of the caller ends: the call was let
// in, and what the client sends for it from then on is refused.
func (p *provider) expiring(s *mcp.Server) {
	add := func(name string, handle func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error)) {
		s.AddTool(&mcp.Tool{Name: name, InputSchema: json.RawMessage(`{"type":"object"}`)}, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if len(r.Params.InputResponses) == 0 {
				p.mu.Lock()
				p.effects++
				p.mu.Unlock()
				p.expire()
			}
			return handle(ctx, r)
		})
	}
	said := func(text string) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil
	}
	add("work", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) { return said("worked") })
	add("ask", func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if len(r.Params.InputResponses) == 0 {
			return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{"q": &mcp.ElicitParams{
				Message: "which?", RequestedSchema: json.RawMessage(`{"type":"object","properties":{"which":{"type":"string"}}}`),
			}}}, nil
		}
		answer, ok := r.Params.InputResponses["q"].(*mcp.ElicitResult)
		if !ok {
			return nil, fmt.Errorf("answered by %T", r.Params.InputResponses["q"])
		}
		return said(fmt.Sprint(answer.Action, " ", answer.Content["which"]))
	})
	add("wait", func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() { // an answer that never comes would keep the server
			select {
			case <-p.over:
				cancel()
			case <-ctx.Done():
			}
		}()
		_, err := r.Session.Elicit(ctx, &mcp.ElicitParams{Message: "which?", RequestedSchema: json.RawMessage(`{"type":"object","properties":{"which":{"type":"string"}}}`)})
		return nil, err
	})
	add("pause", func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		r.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: time.Millisecond})
		return said("paused")
	})
	add("cut", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		p.hangUp()
		select { // the older HTTP does not tell
		case <-ctx.Done():
		case <-p.over:
		}
		return nil, context.Canceled
	})
}

// TestTokenExpiresInMidCall: a call that was let in is made once, whatever becomes
// of its token, and what is sent for it later goes with another one.
func TestTokenExpiresInMidCall(t *testing.T) {
	t.Setenv("TEST_CLIENT_SECRET", "s3cret")
	asked := func(c *router.Call) { c.Peer = &peer{action: "accept", values: `{"which":"this"}`} }
	type one struct{ tool, want string }
	for _, c := range []struct {
		name, transport, at string
		calls               []one
	}{
		{"sessionless", "streamable", "/mcp", []one{{"work", "worked"}, {"ask", "accept this"}, {"work", "worked"}}},
		{"sessions", "streamable", "/sessions", []one{{"work", "worked"}, {"ask", "accept this"}, {"pause", "paused"}, {"work", "worked"}}},
		{"sse", "sse", "/sse", []one{{"work", "worked"}, {"ask", "accept this"}, {"work", "worked"}}},
	} {
		for _, grant := range []string{"authorization_code", "client_credentials"} {
			t.Run(c.name+"/"+grant, func(t *testing.T) {
				p := newProvider(t)
				cfg := upstream.Config{URL: p.url + c.at, Transport: c.transport, State: t.TempDir(), OAuth: &upstream.OAuth{}}
				if grant == "client_credentials" {
					cfg.OAuth = &upstream.OAuth{Grant: grant, ClientID: "me", ClientSecret: "env:TEST_CLIENT_SECRET"}
				} else {
					logIn(t, cfg)
				}
				u := started(t, cfg)
				for i, one := range c.calls {
					if got := text(call(t, u, one.tool, `{}`, asked)); got != one.want {
						t.Errorf("%s: got %q, want %q", one.tool, got, one.want)
					}
					p.mu.Lock()
					if p.effects != i+1 {
						t.Errorf("%s: %d calls did something, of %d", one.tool, p.effects, i+1)
					}
					p.mu.Unlock()
				}
			})
		}
	}
}

// TestStreamEndsInMidCall: a server that hangs up on who waits for a result may have
// done what it was asked, so the call fails, and only the next one connects anew.
func TestStreamEndsInMidCall(t *testing.T) {
	t.Setenv("TEST_CLIENT_SECRET", "s3cret")
	for transport, at := range map[string]string{"streamable": "/mcp", "sse": "/sse"} {
		t.Run(transport, func(t *testing.T) {
			p := newProvider(t)
			u := started(t, upstream.Config{URL: p.url + at, Transport: transport, OAuth: &upstream.OAuth{
				Grant: "client_credentials", ClientID: "me", ClientSecret: "env:TEST_CLIENT_SECRET",
			}})
			if _, err := try(t, u, "cut", `{}`); err == nil {
				t.Error("a call whose stream ended did not fail")
			} else if _, ok := errors.AsType[*router.ToolError](err); ok {
				t.Errorf("the server is said to have answered: %v", err)
			}
			if got := text(call(t, u, "work", `{}`)); got != "worked" {
				t.Errorf("got %q", got)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.effects != 2 {
				t.Errorf("%d calls did something, of 2", p.effects)
			}
		})
	}
}

// TestLoginEndsInMidCall: where no other token can be had, the call that needs one
// fails and says so.
func TestLoginEndsInMidCall(t *testing.T) {
	for _, c := range []struct{ transport, at, tool string }{
		{"streamable", "/mcp", "ask"}, {"streamable", "/sessions", "wait"}, {"streamable", "/sessions", "pause"}, {"sse", "/sse", "wait"},
	} {
		t.Run(strings.TrimPrefix(c.at, "/")+"/"+c.tool, func(t *testing.T) {
			p := newProvider(t)
			cfg := upstream.Config{URL: p.url + c.at, Transport: c.transport, State: t.TempDir(), OAuth: &upstream.OAuth{}}
			logIn(t, cfg)
			u := started(t, cfg)
			p.mu.Lock()
			p.revoked = true
			p.mu.Unlock()
			_, err := try(t, u, c.tool, `{}`, func(c *router.Call) { c.Peer = &peer{action: "accept", values: `{"which":"this"}`} })
			if err == nil || !strings.Contains(err.Error(), `run "hearth tools login up"`) {
				t.Errorf("got %v", err)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.effects != 1 {
				t.Errorf("%d calls did something", p.effects)
			}
		})
	}
}

// logIn logs in with a browser that agrees to all.
func logIn(t *testing.T, cfg upstream.Config) {
	t.Helper()
	err := upstream.Login(within(t, time.Minute), cfg, "up", upstream.Deps{}, func(address string) {
		go func() { // it follows the redirect back
			if resp, err := http.Get(address); err == nil {
				_ = resp.Body.Close()
			}
		}()
	})
	if err != nil {
		t.Fatal(err)
	}
}
