package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// FuzzMessages gives the bytes of a server to what reads its messages: whatever
// they are, lines stay within their bound, JSON within its depth, and what is a
// result is taken over or refused. As a stream of events they come as they are, up to
// what is refused.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}]}}` + "\n"))
	f.Add([]byte("greeting\n[[[[[[1]]]]]]\n"))
	f.Add([]byte("id: 1\r\ndata: [\ndata: 1]\n\n: ping\n\ndata: {\"method\":\"notifications/progress\",\"params\":{\"progressToken\":\"a\"}}\n\n"))
	f.Add([]byte(`{"content":[{"type":"resource_link","uri":"a:b","name":"n"}],"structuredContent":[1],"_meta":{"a":1}}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer w.Close()
			_, _ = w.Write(data)
		}()
		gone := make(chan struct{})
		close(gone) // no pace
		l := newLines(&process{stdout: r, gone: gone}, 1<<10, newPace(), zerolog.Nop())
		defer l.Close()
		for {
			line, err := l.next()
			if err != nil {
				break
			}
			if len(line) > 1<<10 {
				t.Fatalf("a line of %d bytes", len(line))
			}
			var res mcp.CallToolResult
			if res.UnmarshalJSON(line) == nil {
				_, _ = result(&res)
			}
			if token := progressOf(line); token != nil && !superseded(line, func() []byte { return line }) {
				t.Fatalf("%q is not followed by itself", line)
			}
		}
		_, _ = io.Copy(io.Discard, r)
		got, err := io.ReadAll(newEvents(io.NopCloser(bytes.NewReader(data)), 1<<10, newPace(), gone))
		if drops := bytes.Contains(data, []byte("notifications/progress")); !drops && (!bytes.HasPrefix(data, got) || err == nil && len(got) < len(data)) {
			t.Fatalf("of %q came %q, %v", data, got, err)
		}
	})
}

// script is what a server sends in the course of a connection, a line after the
// other: the result of the next request, "-" and the error of it, or "!" and a
// message of the server's own accord. When there is no more, the connection ends.
type script struct {
	lines [][]byte
	out   chan []byte // room for all that is ever sent
}

// Write takes one message of the client.
func (s *script) Write(p []byte) (int, error) {
	var q struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if json.Unmarshal(p, &q) != nil || len(q.ID) == 0 || q.Method == "" {
		return len(p), nil
	}
	for len(s.lines) > 0 {
		line := s.lines[0]
		s.lines = s.lines[1:]
		switch {
		case bytes.HasPrefix(line, []byte("!")):
			s.out <- append(bytes.Clone(line[1:]), '\n')
			continue
		case bytes.HasPrefix(line, []byte("-")):
			s.out <- fmt.Appendf(nil, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":%s}\n", q.ID, line[1:])
		default:
			s.out <- fmt.Appendf(nil, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n", q.ID, line)
		}
		return len(p), nil
	}
	return 0, io.ErrClosedPipe
}

func (*script) Close() error { return nil }

// play connects the client to a script and gives back the session, if there is one.
func (u *Upstream) play(data []byte) *mcp.ClientSession {
	s := &script{lines: bytes.Split(data, []byte("\n"))}
	s.out = make(chan []byte, len(s.lines))
	r, w := io.Pipe()
	u.spawn(func() {
		defer w.Close()
		for {
			select {
			case line := <-s.out:
				if _, err := w.Write(line); err != nil {
					return
				}
			case <-u.ctx.Done():
				return
			}
		}
	})
	gone := make(chan struct{})
	close(gone) // no pace
	in := newLines(&process{stdout: r, gone: gone}, int(u.cfg.MessageBytes), newPace(), zerolog.Nop())
	context.AfterFunc(u.ctx, func() { _ = in.Close() }) // as the end of a program does
	session, err := u.client().Connect(u.ctx, &mcp.IOTransport{Reader: in, Writer: s, MaxLineLength: -1}, nil)
	if err != nil {
		_ = in.Close()
		return nil
	}
	return session
}

// FuzzSession lets a server say anything in the course of a session: the greeting,
// the lists, the call of a tool, and in between what it likes. What it offers is
// legal for all clients, and what comes of a call is bounded.
func FuzzSession(f *testing.F) {
	const greeting = `-{"code":-32601,"message":"unknown"}` + "\n" +
		`{"protocolVersion":"2025-06-18","serverInfo":{"name":"x","version":"1"},"capabilities":{"tools":{"listChanged":true},"prompts":{},"resources":{},"completions":{}}}` + "\n"
	const rest = "\n" + `{"prompts":[{"name":"p","arguments":[{"name":"a","required":true}]}]}` + "\n" + `{"resourceTemplates":[{"uriTemplate":"a://{b}","name":"n"}]}` + "\n"
	const tools = `{"tools":[{"name":"a.b","description":"d","inputSchema":{"type":"object","properties":{"n":{"type":"integer"}}},"outputSchema":{"type":"object"},"annotations":{"readOnlyHint":true,"title":"t"},"_meta":{"k":1}}]}`
	for _, s := range []string{
		greeting + tools + rest + `{"content":[{"type":"text","text":"well"}],"structuredContent":{"a":[1]}}`,
		greeting + tools + rest + `!{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"c1","progress":1,"message":"half"}}` + "\n" + `{"content":[{"type":"image","data":"AAAA","mimeType":"image/png"},{"type":"resource_link","uri":"a:b","name":"n"}]}`,
		greeting + tools + rest + `!{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{"a":{"type":"string","default":"b"}}}}}` + "\n" + `{"content":[{"type":"resource","resource":{"uri":"a:b","blob":"AAAA"}}],"isError":true}`,
		greeting + tools + rest + `!{"jsonrpc":"2.0","id":7,"method":"elicitation/create"}` + "\n" + `!{"jsonrpc":"2.0","method":"notifications/resources/updated"}` + "\n" + `{"content":[]}`,
		greeting + tools + rest + `!{"jsonrpc":"2.0","id":8,"method":"sampling/createMessage","params":{"maxTokens":9,"messages":[{"role":"user","content":{"type":"text","text":"x"}}]}}` + "\n" + `{"content":[]}`,
		greeting + `{"tools":[{"name":"` + strings.Repeat("ä", 60) + `","inputSchema":{"type":"object"}},{"name":"a/b","inputSchema":{"type":"object"}},{"name":"a.b","inputSchema":{"$ref":"file:///etc/passwd","type":"object"}}],"nextCursor":"2"}` + "\n" + `{"tools":[]}` + rest + `-{"code":-32602,"message":"no"}`,
		greeting + `!{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}` + "\n" + tools + rest + `{"content":"no list"}`,
		`{"supportedVersions":["2026-07-28"],"serverInfo":{"name":"x","version":"1"},"capabilities":{"tools":{}}}` + "\n" + tools + "\n" + `{"resultType":"input_required","requestState":"s","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{}}}}}}` + "\n" + `{"resultType":"complete","content":[{"type":"text","text":"x"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := Config{Command: "x", MessageBytes: 64 << 10, MaxTools: 16, Pin: pinOff, TrustAnnotations: true}
		u := &Upstream{
			label: "up", cfg: c.withDefaults(), calls: newCalls(), log: zerolog.Nop(), relists: newBucket(1, 0), taken: newTaken(100), watches: map[string]int{},
			pins: &pins{approved: map[string]string{}},
		}
		// A server that leaves a request without an answer is not waited for.
		u.ctx, u.stop = context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := u.Close(ctx); err != nil {
				t.Error(err)
			}
		}()
		session := u.play(data)
		if session == nil {
			return
		}
		u.live = &live{session: session, gone: make(chan struct{}), used: time.Now()}
		lists, err := u.read(u.ctx, session)
		if err != nil {
			return
		}
		u.pins.lists, u.pins.seen = *lists, true
		u.renew()
		r, err := router.New(router.DefaultConfig(), router.Deps{Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Add("up", u, router.Options{Limits: router.Limits{ResultBytes: 1024}}); err != nil {
			t.Fatalf("the server's offer ends all: %v", err)
		}
		defer r.Close(context.Background())
		for _, e := range r.All() {
			if !router.ToolName.MatchString(e.Name) || len(e.Tool.Description) > maxTextBytes {
				t.Errorf("%q is offered: %.100q", e.Name, e.Tool.Description)
			}
			result, err := r.Call(u.ctx, &router.Request{Caller: inference.DefaultCaller, Tool: e.Name, Arguments: json.RawMessage(`{"n":1}`)})
			if err != nil {
				continue
			}
			size := 0
			for i := range result.Content {
				size += len(result.Content[i].Text) + len(result.Content[i].Data)
			}
			if !result.Untrusted || size > 4096 {
				t.Errorf("%d bytes, untrusted %v", size, result.Untrusted)
			}
		}
	})
}
