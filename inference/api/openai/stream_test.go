package openai

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth/inference"
)

// golden compares with a file in testdata; HEARTH_UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("HEARTH_UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got\n%s\nwant\n%s", name, got, want)
	}
}

func call(choice, index int, id, name, args string) inference.Event {
	return inference.Event{Kind: inference.EventDelta, Choice: choice, ToolCall: &inference.ToolCallDelta{Index: index, ID: id, Name: name, Arguments: args}}
}

func TestGoldens(t *testing.T) {
	chat := []inference.Event{
		{Kind: inference.EventProgress, Progress: inference.Progress{Prefilled: 3, Prompt: 9}},
		{Kind: inference.EventDelta, Reasoning: "Hm."},
		text(0, "Grüß "), text(0, "<dich>\n"), finish(0, inference.FinishStop), used(9, 2, 4),
	}
	tools := []inference.Event{
		text(0, "Wait."), call(0, 0, "call_a", "weather", ""), call(0, 0, "", "", `{"city":`), call(0, 0, "", "", `"Bonn"}`),
		call(0, 1, "call_b", "time", "{}"), finish(0, inference.FinishToolCalls), used(5, 6, 0),
	}
	two := []inference.Event{text(0, "a"), text(1, "b"), text(0, "c"), finish(1, inference.FinishLength), finish(0, inference.FinishStop), used(2, 3, 0)}
	const messages = `"messages":[{"role":"user","content":"Hi"}]`
	for _, c := range []struct {
		name, path, body string
		events           []inference.Event
		err              error
	}{
		{"chat.sse", "/v1/chat/completions", `{` + messages + `,"stream":true}`, chat, io.EOF},
		{"chat_usage.sse", "/v1/chat/completions", `{` + messages + `,"stream":true,"stream_options":{"include_usage":true}}`, chat, io.EOF},
		{"chat_logprobs.sse", "/v1/chat/completions", `{` + messages + `,"stream":true,"logprobs":true,"top_logprobs":2}`, chat, io.EOF},
		{"chat_tools.sse", "/v1/chat/completions", `{` + messages + `,"stream":true}`, tools, io.EOF},
		{"chat_two.sse", "/v1/chat/completions", `{` + messages + `,"stream":true,"n":2}`, two, io.EOF},
		{"chat_broken.sse", "/v1/chat/completions", `{` + messages + `,"stream":true}`, chat[:3], &inference.RetryError{Err: inference.ErrShutdown}},
		{"chat_secret.sse", "/v1/chat/completions", `{` + messages + `,"stream":true}`, chat[:3], errScript},
		{"chat.json", "/v1/chat/completions", `{` + messages + `,"logprobs":true}`, chat, io.EOF},
		{"chat_tools.json", "/v1/chat/completions", `{` + messages + `}`, tools[1:], io.EOF},
		{"chat_two.json", "/v1/chat/completions", `{` + messages + `,"n":2}`, two, io.EOF},
		{"text.sse", "/v1/completions", `{"prompt":"Hi","stream":true,"logprobs":2,"stream_options":{"include_usage":true}}`, two[:1], io.EOF},
		{"text.json", "/v1/completions", `{"prompt":"Hi","n":2,"logprobs":2}`, two, io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeModels{script: func() *script { return says(c.err, c.events...) }}
			resp, body := post(t, newServer(t, f, nil), c.path, c.body)
			if resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			stream := strings.HasSuffix(c.name, ".sse")
			if ct := resp.Header.Get("Content-Type"); strings.HasPrefix(ct, "text/event-stream") != stream {
				t.Errorf("the content type is %q", ct)
			}
			if stream && resp.Header.Get("X-Accel-Buffering") != "no" {
				t.Error("a proxy would hold the stream back")
			}
			golden(t, c.name, body)
		})
	}
}

// TestServiceTier: an answer names the tier only if the request did.
func TestServiceTier(t *testing.T) {
	for sent, want := range map[string]string{
		`"n":1`: "", `"service_tier":null`: "", `"service_tier":"flex"`: `"service_tier":"flex"`,
		`"service_tier":"auto"`: `"service_tier":"default"`, `"service_tier":"priority"`: `"service_tier":"default"`,
	} {
		for path, body := range map[string]string{
			"/v1/chat/completions": `{"messages":[{"role":"user","content":"Hi"}],` + sent + `}`,
			"/v1/completions":      `{"prompt":"Hi","stream":true,` + sent + `}`,
		} {
			f := &fakeModels{script: func() *script { return says(io.EOF, text(0, "x"), finish(0, inference.FinishStop), used(1, 1, 0)) }}
			resp, answer := post(t, newServer(t, f, nil), path, body)
			if resp.StatusCode != 200 || strings.Contains(answer, "service_tier") != (want != "") || !strings.Contains(answer, want) {
				t.Errorf("%s: %d %s, want %q", body, resp.StatusCode, answer, want)
			}
		}
	}
}

// TestErrorBeforeTheFirstToken has its own status, also for a stream.
func TestErrorBeforeTheFirstToken(t *testing.T) {
	for _, streamed := range []string{"true", "false"} {
		f := &fakeModels{script: func() *script { return says(inference.ErrDeadline) }}
		resp, body := post(t, newServer(t, f, nil), "/v1/chat/completions", `{"messages":[{"role":"user","content":"Hi"}],"stream":`+streamed+`}`)
		if e := errorOf(t, body); resp.StatusCode != http.StatusGatewayTimeout || e.Code != "deadline_exceeded" {
			t.Errorf("stream %s: %d %s", streamed, resp.StatusCode, body)
		}
	}
}

func open(t *testing.T, f *fakeModels, mut func(*Config)) (*http.Response, *bufio.Reader) {
	t.Helper()
	s := newServer(t, f, mut)
	resp, err := s.Client().Post(s.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{"messages":[{"role":"user","content":"Hi"}],"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	return resp, bufio.NewReader(resp.Body)
}

// TestPing: a stream without events says that it lives, and goes on afterwards.
func TestPing(t *testing.T) {
	sc := says(io.EOF)
	sc.more = make(chan inference.Event)
	f := &fakeModels{script: func() *script { return sc }}
	resp, r := open(t, f, func(c *Config) { c.PingInterval = time.Millisecond })
	defer resp.Body.Close()
	for range 3 {
		if ev, err := readEvent(r); err != nil || ev != ": ping" {
			t.Fatalf("got %q, %v", ev, err)
		}
	}
	sc.more <- text(0, "late")
	close(sc.more)
	rest, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(rest), `"content":"late"`) || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
		t.Errorf("got %q, %v", rest, err)
	}
}

// TestEventsComeAtOnce: an event is on the wire before the next one exists.
func TestEventsComeAtOnce(t *testing.T) {
	sc := says(io.EOF)
	sc.more = make(chan inference.Event)
	f := &fakeModels{script: func() *script { return sc }}
	done := make(chan struct{})
	go func() { defer close(done); sc.more <- text(0, "one") }()
	resp, r := open(t, f, nil)
	defer resp.Body.Close()
	<-done
	for _, want := range []string{`"role":"assistant"`, `"content":"one"`} {
		if ev, err := readEvent(r); err != nil || !strings.Contains(ev, want) {
			t.Fatalf("got %q, %v; want %s", ev, err, want)
		}
	}
	sc.more <- text(0, "two")
	if ev, err := readEvent(r); err != nil || !strings.Contains(ev, `"content":"two"`) {
		t.Fatalf("got %q, %v", ev, err)
	}
	close(sc.more)
	if _, err := io.ReadAll(r); err != nil {
		t.Error(err)
	}
}

// TestHangUp: a client that goes ends its request.
func TestHangUp(t *testing.T) {
	sc := says(io.EOF, text(0, "one"))
	sc.more = make(chan inference.Event)
	f := &fakeModels{script: func() *script { return sc }}
	resp, r := open(t, f, nil)
	if _, err := readEvent(r); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-sc.closed
}

// TestSlowClient: one that does not read is given up at the write deadline.
func TestSlowClient(t *testing.T) {
	sc := says(io.EOF)
	sc.more = make(chan inference.Event)
	f := &fakeModels{script: func() *script { return sc }}
	s := newServer(t, f, func(c *Config) { c.WriteTimeout = 20 * time.Millisecond })
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"messages":[{"role":"user","content":"Hi"}],"stream":true}`
	if _, err := io.WriteString(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	big := text(0, strings.Repeat("x", 1<<20))
	for {
		select {
		case sc.more <- big:
		case <-sc.closed:
			return
		}
	}
}

// TestKeepAlive: a pooling client sends its next request on the connection that
// carried a stream.
func TestKeepAlive(t *testing.T) {
	f := &fakeModels{script: func() *script {
		return says(io.EOF, text(0, "a"), finish(0, inference.FinishStop), used(1, 1, 0))
	}}
	s := newServer(t, f, func(c *Config) { c.WriteTimeout = 50 * time.Millisecond })
	reused := 0
	for range 20 {
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
			if i.Reused {
				reused++
			}
		}}), "POST", s.URL+"/v1/chat/completions", strings.NewReader(`{"messages":[{"role":"user","content":"Hi"}],"stream":true}`))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if reused != 19 {
		t.Errorf("%d of 19 later requests reused the connection", reused)
	}
}

// countingWriter counts writes of a response.
type countingWriter struct {
	http.ResponseWriter
	writes int
}

func (c *countingWriter) Write(p []byte) (int, error) { c.writes++; return len(p), nil }
func (c *countingWriter) Header() http.Header         { return http.Header{} }
func (c *countingWriter) Flush()                      {}

// TestReadyEventsShareAWrite: what is ready goes out in one write.
func TestReadyEventsShareAWrite(t *testing.T) {
	var events []inference.Event
	for range 50 {
		events = append(events, text(0, "word "))
	}
	a, err := New(Config{Models: &fakeModels{}})
	if err != nil {
		t.Fatal(err)
	}
	w := &countingWriter{}
	e := newEventWriter(w, time.Second)
	err = a.pump(t.Context(), e, says(io.EOF, events...), &chatChunker{started: make([]bool, 1)})
	if err != nil || w.writes != 1 {
		t.Errorf("%d writes, %v", w.writes, err)
	}
}

// TestCancelledRequestEnds: a request that somebody else cancelled ends its
// stream with an error.
func TestCancelledRequestEnds(t *testing.T) {
	f := &fakeModels{script: func() *script { return says(inference.ErrCancelled, text(0, "a")) }}
	resp, body := post(t, newServer(t, f, nil), "/v1/chat/completions", `{"messages":[{"role":"user","content":"Hi"}],"stream":true}`)
	if resp.StatusCode != 200 || !strings.Contains(body, `"code":"cancelled"`) || strings.Contains(body, "[DONE]") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
