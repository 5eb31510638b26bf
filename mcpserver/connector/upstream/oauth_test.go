package upstream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"hearth/mcpserver/connector/upstream"
)

// provider gives out tokens, and lets requests with the newest one pass.
type provider struct {
	mu      sync.Mutex
	url     string
	n       int
	valid   string
	grants  []string
	effects int // calls that did something
	revoked bool
	hangUp  func()        // ends all connections
	over    chan struct{} // closed when the test is over
}

func (p *provider) issue(grant string) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	p.grants = append(p.grants, grant)
	p.valid = fmt.Sprintf("token-%d", p.n)
	return map[string]any{"access_token": p.valid, "token_type": "Bearer", "expires_in": 3600, "refresh_token": fmt.Sprintf("refresh-%d", p.n)}
}

func (p *provider) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.valid = "none"
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{over: make(chan struct{})}
	server := mcp.NewServer(&mcp.Implementation{Name: "guarded", Version: "1"}, nil)
	server.AddTool(&mcp.Tool{Name: "act", InputSchema: json.RawMessage(`{"type":"object"}`)}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.effects++
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "acted"}}}, nil
	})
	p.expiring(server)
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/oauth-protected-resource/{at}", func(w http.ResponseWriter, r *http.Request) {
		write(w, map[string]any{"resource": p.url + "/" + r.PathValue("at"), "authorization_servers": []string{p.url}})
	})
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{
			"issuer": p.url, "authorization_endpoint": p.url + "/authorize", "token_endpoint": p.url + "/token", "registration_endpoint": p.url + "/register",
			"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
			"token_endpoint_auth_methods_supported": []string{"client_secret_post", "none"},
		})
	})
	mux.HandleFunc("/register", func(w http.ResponseWriter, r *http.Request) {
		var m map[string]any
		_ = json.NewDecoder(r.Body).Decode(&m)
		m["client_id"], m["token_endpoint_auth_method"] = "registered", "none"
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(m)
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("code_challenge_method") != "S256" || !strings.HasPrefix(q.Get("resource"), p.url+"/") {
			http.Error(w, "no PKCE, or no resource", http.StatusBadRequest)
			return
		}
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {"c"}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		revoked := p.revoked
		p.mu.Unlock()
		if grant := r.FormValue("grant_type"); revoked || grant == "authorization_code" && r.FormValue("code_verifier") == "" ||
			grant == "refresh_token" && r.FormValue("refresh_token") == "" || grant == "client_credentials" && r.FormValue("client_secret") != "s3cret" {
			w.WriteHeader(http.StatusBadRequest)
			write(w, map[string]any{"error": "invalid_grant"})
			return
		}
		write(w, p.issue(r.FormValue("grant_type")))
	})
	only := func(*http.Request) *mcp.Server { return server }
	kept := mcp.NewStreamableHTTPHandler(only, &mcp.StreamableHTTPOptions{EventStore: mcp.NewMemoryEventStore(nil)})
	sessions := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Method") == "server/discover" { // only the newer protocol asks
			http.NotFound(w, r)
			return
		}
		kept.ServeHTTP(w, r)
	})
	for at, endpoint := range map[string]http.Handler{
		"/mcp": mcp.NewStreamableHTTPHandler(only, &mcp.StreamableHTTPOptions{Stateless: true}), "/sessions": sessions, "/sse": mcp.NewSSEHandler(only, nil),
	} {
		mux.HandleFunc(at, func(w http.ResponseWriter, r *http.Request) {
			p.mu.Lock()
			ok := r.Header.Get("Authorization") == "Bearer "+p.valid
			p.mu.Unlock()
			if !ok {
				w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+p.url+`/.well-known/oauth-protected-resource`+at+`"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			endpoint.ServeHTTP(w, r)
		})
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(p.over) })
	p.url, p.hangUp = s.URL, s.CloseClientConnections
	return p
}

func TestLoginAndRefresh(t *testing.T) {
	p := newProvider(t)
	cfg := upstream.Config{URL: p.url + "/mcp", State: t.TempDir(), OAuth: &upstream.OAuth{}, Transport: "streamable"}
	ctx := within(t, time.Minute)
	u := open(t, cfg)
	if err := u.Start(ctx); err == nil || !strings.Contains(err.Error(), "hearth tools login up") {
		t.Fatalf("without a login: %v", err)
	}
	logIn(t, cfg)
	if info, err := os.Stat(filepath.Join(cfg.State, "token.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file: %v %v", info, err)
	}
	u = started(t, cfg)
	if got := text(call(t, u, "act", `{}`)); got != "acted" {
		t.Errorf("got %q", got)
	}
	p.expire() // while the session goes on
	if got := text(call(t, u, "act", `{}`)); got != "acted" {
		t.Errorf("got %q", got)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := fmt.Sprint(p.grants); got != "[authorization_code refresh_token]" || p.effects != 2 {
		t.Errorf("grants %s, %d calls did something", got, p.effects)
	}
}

// TestClientCredentials gets tokens without a person, over both kinds of HTTP.
func TestClientCredentials(t *testing.T) {
	t.Setenv("TEST_CLIENT_SECRET", "s3cret")
	for transport, at := range map[string]string{"streamable": "/mcp", "sse": "/sse"} {
		t.Run(transport, func(t *testing.T) {
			p := newProvider(t)
			u := started(t, upstream.Config{URL: p.url + at, Transport: transport, OAuth: &upstream.OAuth{
				Grant: "client_credentials", ClientID: "me", ClientSecret: "env:TEST_CLIENT_SECRET",
			}})
			call(t, u, "act", `{}`)
			p.expire()
			call(t, u, "act", `{}`)
			p.mu.Lock()
			defer p.mu.Unlock()
			if got := fmt.Sprint(p.grants); got != "[client_credentials client_credentials]" || p.effects != 2 {
				t.Errorf("grants %s, %d calls did something", got, p.effects)
			}
		})
	}
}
