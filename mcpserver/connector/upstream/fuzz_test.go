package upstream

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// FuzzMessages gives the bytes of a server to what reads its messages: whatever
// they are, lines stay within their bound, JSON within its depth, and what is a
// result is taken over or refused.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}]}}` + "\n"))
	f.Add([]byte("greeting\n[[[[[[1]]]]]]\n"))
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
		}
		_, _ = io.Copy(io.Discard, r)
	})
}

// FuzzConnection lets the SDK's client read the same bytes as a connection's.
func FuzzConnection(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}` + "\n"))
	f.Add([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":[],"progress":1}}` + "\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		r, w := io.Pipe()
		go func() {
			_, _ = w.Write(data)
			_ = w.Close()
		}()
		u := &Upstream{calls: newCalls(), log: zerolog.Nop(), relists: newBucket(1, 1), watches: map[string]int{}, ending: true}
		u.ctx, u.stop = context.WithCancel(context.Background())
		defer u.stop()
		ctx, cancel := context.WithTimeout(u.ctx, time.Second)
		defer cancel()
		s, err := u.client().Connect(ctx, &mcp.IOTransport{Reader: r, Writer: discard{}}, nil)
		if err == nil {
			_ = s.Close()
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }
