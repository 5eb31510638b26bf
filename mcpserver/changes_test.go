package mcpserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// told is what a client hears on a stream.
type told struct {
	ID     json.RawMessage
	Method string
	Params struct {
		URI           string
		Meta          map[string]json.RawMessage `json:"_meta"`
		Notifications struct {
			ToolsListChanged      bool
			PromptsListChanged    bool
			ResourcesListChanged  bool
			ResourceSubscriptions []string
		}
	}
	Result json.RawMessage
}

func (m told) String() string {
	switch {
	case m.Result != nil:
		return "result"
	case m.Params.URI != "":
		return strings.TrimPrefix(m.Method, "notifications/") + " " + m.Params.URI
	}
	return strings.TrimPrefix(m.Method, "notifications/")
}

// hear returns the next message of a stream of events; false: it has ended.
func hear(t *testing.T, in *bufio.Reader) (m told, ok bool) {
	t.Helper()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return m, false
		}
		data, isData := strings.CutPrefix(line, "data: ")
		if !isData {
			if !strings.HasPrefix(line, "{") {
				continue
			}
			data = line
		}
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		return m, true
	}
}

func heard(t *testing.T, in *bufio.Reader, want ...string) {
	t.Helper()
	for _, w := range want {
		m, ok := hear(t, in)
		if !ok || m.String() != w {
			t.Fatalf("heard %q (%v), want %q", m, ok, w)
		}
	}
}

// stream opens the stream of a session.
func (p *peer) stream(header http.Header) (*http.Response, *bufio.Reader) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.url, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header = http.Header{"Accept": {"text/event-stream"}, "Mcp-Session-Id": {p.session}, "Mcp-Protocol-Version": {p.version}}
	for k, v := range header {
		req.Header[k] = v
	}
	r, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { r.Body.Close() })
	return r, bufio.NewReader(r.Body)
}

func (f *shelf) offer(tools ...string) {
	f.mu.Lock()
	f.tools = tools
	f.mu.Unlock()
	f.tell(router.Change{Tools: true})
}

// TestSessionHearsOfChanges: a session's stream tells each change once, however
// often it came before somebody read it, and ends with the session.
func TestSessionHearsOfChanges(t *testing.T) {
	f := newShelf(3)
	s := withShelf(t, f)
	p := connect(t, serve(t, s), legacy)
	for _, uri := range []string{"lib+book://0", "lib+book://2", "lib+book://0"} {
		if r := p.ask(1, "resources/subscribe", fmt.Sprintf(`"uri":%q`, uri)); r.Error != nil {
			t.Fatalf("%s: %+v", uri, r.Error)
		}
	}
	for uri, code := range map[string]int{"models://": -32602, "models://none": -32002, "other+x://": -32002} {
		if r := p.ask(1, "resources/subscribe", fmt.Sprintf(`"uri":%q`, uri)); r.Error == nil || (uri != "models://" && r.Error.Code != code) {
			t.Errorf("%s: %+v", uri, r)
		}
	}
	// Nobody reads yet.
	for range 1000 {
		f.offer("long", "short")
		f.tell(router.Change{Resource: "book://2"})
		f.tell(router.Change{Resource: "book://0"})
		f.tell(router.Change{Resource: "book://1"}) // not subscribed
		f.tell(router.Change{Prompts: true, Resources: true})
	}
	r, in := p.stream(nil)
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("GET: %d %s", r.StatusCode, r.Header.Get("Content-Type"))
	}
	heard(t, in, "tools/list_changed", "resources/list_changed", "prompts/list_changed", "resources/updated lib+book://2", "resources/updated lib+book://0")
	if tools := decoded[listed](t, p.ask(2, "tools/list", "")).Tools; !slices.ContainsFunc(tools, func(t struct{ Name string }) bool { return t.Name == "lib__short" }) {
		t.Fatalf("tools %+v", tools)
	}
	if r := p.ask(3, "resources/unsubscribe", `"uri":"lib+book://2"`); r.Error != nil {
		t.Fatal(r.Error)
	}
	f.tell(router.Change{Resource: "book://2"})
	f.tell(router.Change{Resource: "book://0"})
	heard(t, in, "resources/updated lib+book://0")

	_, second := p.stream(nil)
	if m, ok := hear(t, in); ok {
		t.Fatalf("the first stream goes on: %v", m)
	}
	f.tell(router.Change{Prompts: true})
	heard(t, second, "prompts/list_changed")

	req, _ := http.NewRequestWithContext(t.Context(), http.MethodDelete, p.url, nil)
	req.Header.Set("Mcp-Session-Id", p.session)
	gone, err := p.client.Do(req)
	if err != nil || gone.StatusCode != 200 {
		t.Fatal(gone, err)
	}
	gone.Body.Close()
	if m, ok := hear(t, second); ok {
		t.Fatalf("the stream outlives its session: %v", m)
	}
	eventually(t, "nothing is watched", func() bool { return len(f.watches()) == 0 })
	if r, _ := p.stream(nil); r.StatusCode != 404 {
		t.Errorf("the stream of an ended session: %d", r.StatusCode)
	}
}

// TestStreamRefused: whose session it is not, who takes no stream and who comes
// from a foreign page gets none.
func TestStreamRefused(t *testing.T) {
	s := withShelf(t, newShelf(1))
	p := connect(t, serve(t, s), legacy)
	for name, c := range map[string]struct {
		header http.Header
		want   int
	}{
		"no such session": {http.Header{"Mcp-Session-Id": {"none"}}, 404},
		"no stream":       {http.Header{"Accept": {"application/json"}}, 406},
		"foreign page":    {http.Header{"Origin": {"https://evil.example"}}, 403},
		"modern":          {http.Header{"Mcp-Protocol-Version": {modern}}, 405},
	} {
		if r, _ := p.stream(c.header); r.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", name, r.StatusCode, c.want)
		}
	}
}

// TestDrainEndsStreams: streams, which have no end of their own, end when the
// server is told to stop.
func TestDrainEndsStreams(t *testing.T) {
	s := withShelf(t, newShelf(1))
	url := serve(t, s)
	p, m := connect(t, url, legacy), connect(t, url, modern)
	_, in := p.stream(nil)
	body, h := m.request("7", "subscriptions/listen", `"notifications":{"toolsListChanged":true}`, "")
	r := m.post(t.Context(), body, h)
	defer r.Body.Close()
	listening := bufio.NewReader(r.Body)
	heard(t, listening, "subscriptions/acknowledged")
	s.Drain()
	if m, ok := hear(t, in); ok {
		t.Errorf("the stream goes on: %v", m)
	}
	heard(t, listening, "result")
}

// TestSubscriptionsListen: in protocol 2026-07-28 a client hears of what it asked for, and of
// nothing else, over HTTP and over stdio.
func TestSubscriptionsListen(t *testing.T) {
	const want = `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["lib+book://1","lib+book://0","other+x://","models://"]}`
	check := func(t *testing.T, f *shelf, in *bufio.Reader, id string) {
		t.Helper()
		ack, ok := hear(t, in)
		if n := ack.Params.Notifications; !ok || ack.String() != "subscriptions/acknowledged" || !n.ToolsListChanged || n.PromptsListChanged ||
			!slices.Equal(n.ResourceSubscriptions, []string{"lib+book://1", "lib+book://0"}) {
			t.Fatalf("acknowledged %+v", ack)
		}
		f.tell(router.Change{Prompts: true, Resources: true})
		f.tell(router.Change{Resource: "book://2"})
		f.tell(router.Change{Resource: "book://1"})
		m, _ := hear(t, in)
		if m.String() != "resources/updated lib+book://1" || string(m.Params.Meta["io.modelcontextprotocol/subscriptionId"]) != id {
			t.Fatalf("heard %+v", m)
		}
		f.offer("long", "other")
		heard(t, in, "tools/list_changed")
	}
	t.Run("HTTP", func(t *testing.T) {
		f := newShelf(3)
		s := withShelf(t, f)
		p := connect(t, serve(t, s), modern)
		body, h := p.request(`"s1"`, "subscriptions/listen", want, "")
		ctx, cancel := context.WithCancel(t.Context())
		r := p.post(ctx, body, h)
		check(t, f, bufio.NewReader(r.Body), `"s1"`)
		if got := f.watches(); len(got) != 2 {
			t.Errorf("watched: %q", got)
		}
		cancel()
		r.Body.Close()
		eventually(t, "nothing is watched", func() bool { return len(f.watches()) == 0 })

		body, h = p.request("2", "subscriptions/listen", `"notifications":{}`, "")
		r = p.post(t.Context(), body, h)
		defer r.Body.Close()
		heard(t, bufio.NewReader(r.Body), "subscriptions/acknowledged", "result")
		h.Set("Accept", "application/json")
		r = p.post(t.Context(), body, h)
		if got := read(t, r); len(got) != 1 || got[0].Error == nil || got[0].Error.Code != -32602 {
			t.Errorf("without a stream: %+v", got)
		}
	})
	t.Run("stdio", func(t *testing.T) {
		f := newShelf(3)
		s := withShelf(t, f)
		in, out, done := stdioPipes(t, s)
		p := &peer{t: t, version: modern}
		body, _ := p.request("9", "subscriptions/listen", want, "")
		fmt.Fprintln(in, body)
		check(t, f, out, "9")
		in.Close()
		heard(t, out, "result")
		if err := <-done; err != nil {
			t.Error(err)
		}
		eventually(t, "nothing is watched", func() bool { return len(f.watches()) == 0 })
	})
}

// stdioPipes serves one client over pipes.
func stdioPipes(t *testing.T, s *Server) (in *io.PipeWriter, out *bufio.Reader, done <-chan error) {
	t.Helper()
	r, in := io.Pipe()
	read, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- s.ServeStdio(inference.WithCaller(t.Context(), inference.DefaultCaller), r, w)
		w.Close()
	}()
	t.Cleanup(func() { in.Close(); read.Close() })
	return in, bufio.NewReader(read), ended
}

// TestStdioHearsOfChanges: a client of the older protocols is told of changes once
// it has initialized, and of resources that it subscribed to.
func TestStdioHearsOfChanges(t *testing.T) {
	f := newShelf(3)
	s := withShelf(t, f)
	in, out, done := stdioPipes(t, s)
	f.tell(router.Change{Tools: true}) // before there is anybody who could know
	fmt.Fprintln(in, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	m, _ := hear(t, out)
	for _, said := range []string{`"tools":{"listChanged":true}`, `"prompts":{"listChanged":true}`, `"resources":{"subscribe":true,"listChanged":true}`} {
		if !bytes.Contains(m.Result, []byte(said)) {
			t.Errorf("%s is not among the capabilities: %s", said, m.Result)
		}
	}
	fmt.Fprintln(in, `{"jsonrpc":"2.0","id":2,"method":"resources/subscribe","params":{"uri":"lib+book://1"}}`)
	heard(t, out, "result")
	f.tell(router.Change{Resource: "book://1"})
	heard(t, out, "resources/updated lib+book://1")
	f.offer()
	heard(t, out, "tools/list_changed")
	in.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	eventually(t, "nothing is watched", func() bool { return len(f.watches()) == 0 })
}
