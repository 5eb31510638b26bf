package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// peerCommand is the argument that makes this program an MCP server: "peer KIND"
// speaks by standard input and output, "peer" serves all kinds over HTTP, each at
// /KIND, and writes its address.
const peerCommand = "peer"

// The kinds of MCP servers, by what they do when their tool is called.
const (
	kindGood  = "good"  // answers
	kindHang  = "hang"  // never answers, and nothing that comes later either
	kindCrash = "crash" // ends, or cuts the connection
	kindFlood = "flood" // sends floodLines notifications before the answer
	kindLate  = "late"  // answers after peerLate, when nobody waits any more
	kindLie   = "lie"   // answers what was not asked, in turn in each way of lies
)

// badKinds are those that do harm.
var badKinds = []string{kindHang, kindCrash, kindFlood, kindLate, kindLie}

const (
	floodLines = 20_000
	peerLate   = 8 * time.Second
	peerTool   = "echo"
)

// lies are results, or what stands in the place of a whole response, "ID" for the id.
var lies = []string{
	`{"jsonrpc":"2.0","id":987654321,"result":{"content":[]}}`,
	`{"jsonrpc":"2.0","id":ID,"result":{"content":"no list"}}`,
	`{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"TEXT"}]}}`,
	`{"jsonrpc":"2.0","id":ID,"result":DEEP}`,
	`{"jsonrpc":"2.0","id":ID}`,
	`{"jsonrpc":"2.0","id":ID,"result":`,
	`{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"well"}],"structuredContent":[1]}}`,
	`{"jsonrpc":"2.0","id":ID,"error":{"code":"seven","message":7}}`,
}

// peer is one MCP server, which any number of sessions ask.
type peer struct {
	kind string
	lied atomic.Int64
	mute atomic.Bool // of a server that hangs: a call came
}

// question is a message of a client.
type question struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Arguments struct {
			N int64 `json:"n"`
		} `json:"arguments"`
		Meta struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	} `json:"params"`
}

// errCrash says that the server is to end, errMute that nothing is answered.
var (
	errCrash = errors.New("the server crashes")
	errMute  = errors.New("the server is mute")
)

// answer writes what the server sends upon a message, one message a line.
func (p *peer) answer(ctx context.Context, q *question, say func(line string) error) error {
	if p.mute.Load() {
		return errMute
	}
	result := func(text string) error {
		return say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, q.ID, text))
	}
	switch {
	case len(q.ID) == 0:
		return nil
	case q.Method == "initialize":
		return result(`{"protocolVersion":"2025-06-18","serverInfo":{"name":"peer","version":"1"},"capabilities":{"tools":{}}}`)
	case q.Method == "tools/list":
		return result(`{"tools":[{"name":"` + peerTool + `","description":"Gives n again.","inputSchema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}]}`)
	case q.Method != "tools/call":
		return result(`{}`)
	}
	switch p.kind {
	case kindHang:
		p.mute.Store(true)
		return errMute
	case kindCrash:
		return errCrash
	case kindFlood:
		for i := range floodLines {
			if err := say(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"message":"and more"}}`, q.Params.Meta.Token, i+1)); err != nil {
				return err
			}
		}
	case kindLate:
		select {
		case <-time.After(peerLate):
		case <-ctx.Done():
			return ctx.Err()
		}
	case kindLie:
		lie := lies[int(p.lied.Add(1))%len(lies)]
		lie = strings.NewReplacer("ID", string(q.ID), "TEXT", strings.Repeat("x", 2<<20), "DEEP", strings.Repeat("[", 50_000)+strings.Repeat("]", 50_000)).Replace(lie)
		return say(lie)
	}
	return result(fmt.Sprintf(`{"content":[{"type":"text","text":"%d"}]}`, q.Params.Arguments.N))
}

// servePeer is one server on standard input and output. It returns when its input
// ends.
func servePeer(ctx context.Context, kind string, in io.Reader, out io.Writer) error {
	p := &peer{kind: kind}
	w := bufio.NewWriter(out)
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			continue // not for this server
		}
		go func() {
			err := p.answer(ctx, &q, func(line string) error {
				mu.Lock()
				defer mu.Unlock()
				_, err := fmt.Fprintln(w, line)
				return err
			})
			if errors.Is(err, errCrash) {
				os.Exit(3)
			}
			mu.Lock()
			defer mu.Unlock()
			_ = w.Flush() // a client that is gone closes the input, too
		}()
	}
	return lines.Err()
}

// servePeers serves all kinds over HTTP until ctx ends, and writes where.
func servePeers(ctx context.Context, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serve the peers: %w", err)
	}
	mux := http.NewServeMux()
	var mu sync.Mutex
	sessions := map[string]*peer{}
	next := 0
	mux.HandleFunc("/{kind}/{number}", func(w http.ResponseWriter, r *http.Request) {
		var q question
		if r.Method != http.MethodPost {
			http.Error(w, "POST only", http.StatusMethodNotAllowed)
			return
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		id := r.Header.Get("Mcp-Session-Id")
		mu.Lock()
		if q.Method == "initialize" {
			next++
			id = fmt.Sprint("session-", next)
			sessions[id] = &peer{kind: r.PathValue("kind")}
			w.Header().Set("Mcp-Session-Id", id)
		}
		p := sessions[id]
		mu.Unlock()
		switch {
		case p == nil:
			http.Error(w, "no such session", http.StatusNotFound)
		case len(q.ID) == 0:
			w.WriteHeader(http.StatusAccepted)
		default:
			p.reply(w, r, &q)
		}
	})
	server := &http.Server{Handler: mux}
	stopped := context.AfterFunc(ctx, func() { server.Close() })
	defer stopped()
	fmt.Fprintf(out, "http://%s\n", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// reply answers over HTTP: a flood in a stream of events, the rest as a document.
func (p *peer) reply(w http.ResponseWriter, r *http.Request, q *question) {
	stream := p.kind == kindFlood && q.Method == "tools/call"
	w.Header().Set("Content-Type", map[bool]string{true: "text/event-stream", false: "application/json"}[stream])
	err := p.answer(r.Context(), q, func(line string) error {
		if stream {
			line = "data: " + line + "\n"
		}
		_, err := fmt.Fprintln(w, line)
		return err
	})
	switch {
	case errors.Is(err, errMute):
		<-r.Context().Done()
	case errors.Is(err, errCrash):
		panic(http.ErrAbortHandler) // the connection is cut
	}
}
