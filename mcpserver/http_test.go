package mcpserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"

	"hearth/inference"
	"hearth/mcpserver/router"
)

func yield() { runtime.Gosched() }

// peer speaks HTTP to a server without any SDK in between.
type peer struct {
	t       *testing.T
	url     string
	session string
	version string // of the protocol
	client  *http.Client
}

const (
	legacy = mcp.ProtocolVersion20251125
	modern = mcp.ProtocolVersion20260728
)

func serve(t *testing.T, s *Server) string {
	t.Helper()
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	return web.URL + "/mcp"
}

// connect returns a peer of one protocol era, with a session where there are any.
func connect(t *testing.T, url, version string) *peer {
	t.Helper()
	p := &peer{t: t, url: url, version: version, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(p.client.CloseIdleConnections)
	if version == modern {
		return p
	}
	r := p.post(context.Background(), fmt.Sprintf(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, version), nil)
	defer r.Body.Close()
	p.session = r.Header.Get("Mcp-Session-Id")
	body, _ := io.ReadAll(r.Body)
	if r.StatusCode != 200 || p.session == "" || !bytes.Contains(body, []byte(`"protocolVersion":"`+version+`"`)) {
		t.Fatalf("initialize: %d, session %q, %s", r.StatusCode, p.session, body)
	}
	return p
}

// request writes a request of the peer's era. meta is further members of _meta.
func (p *peer) request(id, method, params, meta string) (string, http.Header) {
	if params != "" {
		params += ","
	}
	h := http.Header{"Mcp-Protocol-Version": {p.version}}
	if p.version == modern {
		h.Set("Mcp-Method", method)
		var named struct{ Name, URI string }
		_ = json.Unmarshal([]byte("{"+strings.TrimSuffix(params, ",")+"}"), &named)
		if n := named.Name + named.URI; n != "" {
			h.Set("Mcp-Name", n)
		}
		if meta != "" {
			meta += ","
		}
		meta += `"io.modelcontextprotocol/protocolVersion":"` + modern + `","io.modelcontextprotocol/clientCapabilities":{}`
	}
	if p.session != "" {
		h.Set("Mcp-Session-Id", p.session)
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":{%s"_meta":{%s}}}`, id, method, params, meta), h
}

func (p *peer) post(ctx context.Context, body string, h http.Header) *http.Response {
	p.t.Helper()
	r, err := p.try(ctx, body, h)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *peer) try(ctx context.Context, body string, h http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range h {
		req.Header[k] = v
	}
	if req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json, text/event-stream")
	}
	return p.client.Do(req)
}

// rpc is one message of the server, as a peer reads it.
type rpc struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		ProgressToken json.RawMessage `json:"progressToken"`
		Progress      float64         `json:"progress"`
		Total         float64         `json:"total"`
		Message       string          `json:"message"`
	} `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	} `json:"error"`
}

type toolResult struct {
	Content []struct{ Type, Text string }
	IsError bool `json:"isError"`
	// what chat and generate, count_tokens and list_models return
	StructuredContent struct {
		Model        string
		Text         string
		Reasoning    string
		JSON         json.RawMessage
		FinishReason string `json:"finish_reason"`
		Usage        usage
		Tokens       int
		Context      int
		Models       []model
	} `json:"structuredContent"`
	ResultType string `json:"resultType"`
}

func (r *rpc) tool(t *testing.T) toolResult {
	t.Helper()
	if r.Error != nil {
		t.Fatalf("error %d %s", r.Error.Code, r.Error.Message)
	}
	var out toolResult
	if err := json.Unmarshal(r.Result, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// read reads all messages of a response.
func read(t *testing.T, r *http.Response) []rpc {
	t.Helper()
	all, err := messages(r)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func messages(r *http.Response) ([]rpc, error) {
	defer r.Body.Close()
	var all []rpc
	add := func(data []byte) error {
		var m rpc
		if err := json.Unmarshal(data, &m); err != nil {
			return fmt.Errorf("%w in %q", err, data)
		}
		all = append(all, m)
		return nil
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) == 0 {
			return nil, err
		}
		err = add(body)
		return all, err
	}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := add([]byte(data)); err != nil {
				return nil, err
			}
		}
	}
	return all, lines.Err()
}

// call makes a request and returns the notifications and the response.
func (p *peer) call(id, method, params, meta string) ([]rpc, rpc) {
	p.t.Helper()
	body, h := p.request(id, method, params, meta)
	all := read(p.t, p.post(context.Background(), body, h))
	if len(all) == 0 {
		p.t.Fatalf("%s: no answer", method)
	}
	last := all[len(all)-1]
	if string(last.ID) != id {
		p.t.Fatalf("%s: the last message is %+v, not the response to %s", method, last, id)
	}
	return all[:len(all)-1], last
}

func eras(t *testing.T, f func(t *testing.T, version string)) {
	for _, v := range []string{"2025-03-26", "2025-06-18", legacy, modern} {
		t.Run(v, func(t *testing.T) { f(t, v) })
	}
}

// TestPlainCurl makes exactly the request that doc.go shows as a line of curl.
func TestPlainCurl(t *testing.T) {
	url := serve(t, newServer(t, saying("Because ", "of light.")))
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"chat","arguments":{"prompt":"Why is the sky blue?","max_tokens":64}}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "*/*") // as curl sends it
	req.Header.Set("User-Agent", "curl/8.5.0")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Mcp-Session-Id") != "" {
		t.Errorf("status %d, headers %v", resp.StatusCode, resp.Header)
	}
	if got := read(t, resp)[0].tool(t); got.IsError || got.Content[0].Text != "Because of light." {
		t.Errorf("got %+v", got)
	}
}

// TestSessionlessCurl makes the request in the form of protocol 2026-07-28,
// with the headers and members of _meta that it requires and no others.
func TestSessionlessCurl(t *testing.T) {
	url := serve(t, newServer(t, saying("Because ", "of light.")))
	p := &peer{t: t, url: url, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"chat","arguments":{"prompt":"Why is the sky blue?"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	full := http.Header{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"chat"}, "Accept": {"*/*"}}
	got := read(t, p.post(context.Background(), body, full))[0].tool(t)
	if got.IsError || got.Content[0].Text != "Because of light." || got.ResultType != "complete" {
		t.Errorf("got %+v", got)
	}
	for name := range full {
		if name == "Accept" {
			continue
		}
		less := full.Clone()
		less.Del(name)
		r := p.post(context.Background(), body, less)
		m := read(t, r)[0]
		if r.StatusCode != 400 || m.Error == nil || m.Error.Code != mcp.HEADER_MISMATCH {
			t.Errorf("without %s: %d %+v", name, r.StatusCode, m.Error)
		}
	}
	wrong := full.Clone()
	wrong.Set("Mcp-Name", "generate")
	if m := read(t, p.post(context.Background(), body, wrong))[0]; m.Error == nil || m.Error.Code != mcp.HEADER_MISMATCH {
		t.Errorf("a header that names another tool: %+v", m)
	}
}

func TestGuard(t *testing.T) {
	url := serve(t, newServer(t, saying("x"), func(c *Config) {
		c.MaxBodyBytes = 1000
		c.AllowedOrigins = []string{"https://Chat.example"}
	}))
	p := &peer{t: t, url: url, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for _, c := range []struct {
		name, body string
		header     http.Header
		status     int
		code       int
	}{
		{"no origin", ping, nil, 200, 0},
		{"loopback origin", ping, http.Header{"Origin": {"http://localhost:5173"}}, 200, 0},
		{"loopback address", ping, http.Header{"Origin": {"http://127.0.0.1"}}, 200, 0},
		{"loopback address of IPv6", ping, http.Header{"Origin": {"http://[::1]:9"}}, 200, 0},
		{"allowed origin", ping, http.Header{"Origin": {"https://chat.example:443"}}, 200, 0},
		{"foreign origin", ping, http.Header{"Origin": {"https://evil.example"}}, 403, mcp.INVALID_REQUEST},
		{"allowed host, other scheme", ping, http.Header{"Origin": {"http://chat.example"}}, 403, mcp.INVALID_REQUEST},
		{"begins like loopback", ping, http.Header{"Origin": {"http://localhost.evil.example"}}, 403, mcp.INVALID_REQUEST},
		{"null origin", ping, http.Header{"Origin": {"null"}}, 403, mcp.INVALID_REQUEST},
		{"two origins", ping, http.Header{"Origin": {"http://localhost", "https://evil.example"}}, 403, mcp.INVALID_REQUEST},
		{"form", ping, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 415, mcp.INVALID_REQUEST},
		{"too large", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"` + strings.Repeat("x", 1000) + `"}}`, nil, 413, mcp.INVALID_REQUEST},
		{"no JSON", `hello`, nil, 400, mcp.PARSE_ERROR},
		{"batch", "[" + ping + "]", nil, 400, mcp.INVALID_REQUEST},
		{"unknown session", ping, http.Header{"Mcp-Session-Id": {"none"}}, 404, mcp.INVALID_REQUEST},
		{"two sessions", ping, http.Header{"Mcp-Session-Id": {"a", "b"}}, 404, mcp.INVALID_REQUEST},
		{"unknown protocol", ping, http.Header{"Mcp-Protocol-Version": {"2020-01-01"}}, 400, mcp.INVALID_REQUEST},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := p.post(context.Background(), c.body, c.header)
			m := read(t, r)[0]
			code := 0
			if m.Error != nil {
				code = m.Error.Code
			}
			if r.StatusCode != c.status || code != c.code {
				t.Errorf("status %d code %d, want %d and %d", r.StatusCode, code, c.status, c.code)
			}
		})
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodHead, http.MethodOptions} {
		req, _ := http.NewRequest(method, url, nil)
		r, err := p.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != 405 || r.Header.Get("Allow") != "POST, DELETE" {
			t.Errorf("%s: %d, Allow %q", method, r.StatusCode, r.Header.Get("Allow"))
		}
	}
	for _, bad := range []string{"example.com", "https://a/b", "ftp://a", "https://u@a", "https://a?"} {
		if _, err := New(Config{Models: saying(), Router: newRouter(t, router.DefaultConfig(), nil), Version: "1", AllowedOrigins: []string{bad}}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("origin %q: %v", bad, err)
		}
	}
}

func TestSessions(t *testing.T) {
	s := newServer(t, saying("x"))
	as := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.Handler().ServeHTTP(w, r.WithContext(inference.WithCaller(r.Context(), inference.Caller{Principal: name, Tenant: "t"})))
		})
	}
	alice, bob := httptest.NewServer(as("alice")), httptest.NewServer(as("bob"))
	defer alice.Close()
	defer bob.Close()
	a := connect(t, alice.URL, legacy)
	if _, r := a.call("1", "ping", "", ""); r.Error != nil {
		t.Fatalf("ping in a session: %+v", r.Error)
	}
	send := func(url, method, body string) int {
		req, _ := http.NewRequest(method, url, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Mcp-Session-Id", a.session)
		r, err := a.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r.StatusCode
	}
	ping := `{"jsonrpc":"2.0","id":2,"method":"ping"}`
	if got := send(bob.URL, http.MethodPost, ping); got != 404 {
		t.Errorf("a session of alice answers bob with %d", got)
	}
	if got := send(bob.URL, http.MethodDelete, ""); got != 404 {
		t.Errorf("bob ends a session of alice with %d", got)
	}
	if got := send(alice.URL, http.MethodPost, ping); got != 200 {
		t.Errorf("alice is answered %d after bob's attempts", got)
	}
	if got := send(alice.URL, http.MethodDelete, ""); got != 200 {
		t.Errorf("delete: %d", got)
	}
	for range 2 {
		if got := send(alice.URL, http.MethodPost, ping); got != 404 {
			t.Errorf("an ended session answers %d", got)
		}
		if got := send(alice.URL, http.MethodDelete, ""); got != 404 {
			t.Errorf("an ended session is ended again: %d", got)
		}
	}
	if n := len(s.endpoint.sessions.byID); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// TestSessionLimit: one caller's sessions push out that caller's oldest only.
func TestSessionLimit(t *testing.T) {
	s := newServer(t, saying("x"))
	l := s.endpoint.sessions
	ctx := context.Background()
	alice, bob := inference.Caller{Principal: "alice"}, inference.Caller{Principal: "bob"}
	other, err := l.create(ctx, bob)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := l.create(ctx, alice)
	busy, _ := l.create(ctx, alice)
	if err := busy.running.begin("1", func(error) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.find(first.id, alice); err != nil { // now busy is the one used longest ago
		t.Fatal(err)
	}
	for range maxSessions - 1 {
		if _, err := l.create(ctx, alice); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.find(first.id, alice); err == nil {
		t.Error("the oldest idle session is still there")
	}
	for _, keep := range []*session{other, busy} {
		if _, err := l.find(keep.id, keep.caller); err != nil {
			t.Errorf("the session of %s is gone", keep.caller.Principal)
		}
	}
	if len(l.byID) != maxSessions+1 {
		t.Errorf("%d sessions", len(l.byID))
	}
}
