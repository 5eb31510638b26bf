package mcpserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"hearth/inference"
)

// toolCall is a line that asks chat.
func toolCall(id, prompt string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"chat","arguments":{"prompt":%q},"_meta":{"progressToken":%s}}}`, id, prompt, id) + "\n"
}

func lines(t *testing.T, out string) []rpc {
	t.Helper()
	var all []rpc
	for line := range strings.Lines(out) {
		var m rpc
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		all = append(all, m)
	}
	return all
}

// TestStdioPiped: a client that only writes requests and closes its end gets
// every answer, each after its own progress.
func TestStdioPiped(t *testing.T) {
	const calls, pieces = 50, 120
	want := numbered(pieces)
	s := newEagerServer(t, saying(want...))
	var in strings.Builder
	in.WriteString(`{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}` + "\r\n\n")
	in.WriteString(`{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n")
	for i := range calls {
		in.WriteString(toolCall(fmt.Sprint(i), "x"))
	}
	var out bytes.Buffer
	last := strings.TrimSuffix(in.String(), "\n") // the last line has no end
	if err := s.ServeStdio(t.Context(), strings.NewReader(last), &out); err != nil {
		t.Fatal(err)
	}
	notes := map[string][]rpc{}
	answered := map[string]bool{}
	for _, m := range lines(t, out.String()) {
		if m.Method != "" {
			token := string(m.Params.ProgressToken)
			if answered[token] {
				t.Fatalf("progress of %s after its result", token)
			}
			notes[token] = append(notes[token], m)
			continue
		}
		id := string(m.ID)
		answered[id] = true
		if id == `"i"` {
			continue
		}
		if err := verify(notes[id], id, strings.Join(want, "")); err != nil || len(notes[id]) != pieces || m.tool(t).Content[0].Text != strings.Join(want, "") {
			t.Errorf("call %s: %v", id, err)
		}
	}
	if len(answered) != calls+1 {
		t.Errorf("%d answers, want %d", len(answered), calls+1)
	}
}

// TestStdioRefuses: what the decoder refuses is answered, and the next message
// is read.
func TestStdioRefuses(t *testing.T) {
	s := newServer(t, saying("x"), func(c *Config) { c.MaxBodyBytes = 200000 })
	in := strings.Join([]string{
		`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"` + strings.Repeat("x", 200000) + `"}}`,
		`hello`,
		`[]`,
		`{"jsonrpc":"2.0","id":2,"method":"ping","Params":{}}`,
		`{"jsonrpc":"2.0","id":3,"id":4,"method":"ping"}`,
		`{"jsonrpc":"2.0","id":5,"method":"ping"}{}`,
		`{"jsonrpc":"2.0","id":6,"result":{}}`,
		`{"jsonrpc":"1.0","id":7,"method":"ping"}`,
		`{"jsonrpc":"2.0","id":8,"method":"no/such"}`,
		`{"jsonrpc":"2.0","id":9,"method":"ping","params":{"a":"` + strings.Repeat("x", 190000) + `"}}`,
	}, "\n") + "\n"
	var out bytes.Buffer
	if err := s.ServeStdio(t.Context(), strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range lines(t, out.String()) {
		if m.Error == nil {
			got = append(got, string(m.ID)+" ok")
		} else {
			got = append(got, fmt.Sprintf("%s %d", m.ID, m.Error.Code))
		}
	}
	slices.Sort(got)
	want := []string{"7 -32600", "8 -32601", "9 ok", "null -32600", "null -32600", "null -32600", "null -32600", "null -32700", "null -32700"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestStdioCancel: a cancellation that follows at once finds its call, and a
// cancelled call is not answered.
func TestStdioCancel(t *testing.T) {
	for range 50 {
		f, release := holding()
		s := newServer(t, f)
		cancelled := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}` + "\n"
		in := toolCall("1", "stay") + toolCall(`"1"`, "go") + cancelled + cancelled + toolCall("2", "go")
		var out bytes.Buffer
		if err := s.ServeStdio(t.Context(), strings.NewReader(in), &out); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, m := range lines(t, out.String()) {
			if m.Method == "" {
				ids = append(ids, string(m.ID))
			}
		}
		slices.Sort(ids)
		if fmt.Sprint(ids) != `["1" 2]` {
			t.Fatalf("answered: %v", ids)
		}
		close(release)
	}
}

// TestStdioIDInUse: two calls of one id cannot be told apart.
func TestStdioIDInUse(t *testing.T) {
	f, release := holding()
	s := newServer(t, f)
	r, w, ended := pipes(s)
	answers := bufio.NewReader(r)
	send := func(line string) {
		if _, err := io.WriteString(w, line); err != nil {
			t.Error(err)
		}
	}
	send(toolCall("1", "stay"))
	send(toolCall("1", "go"))
	next := func() (m rpc) {
		for m.ID == nil {
			line, err := answers.ReadBytes('\n')
			if err != nil {
				t.Fatal(err)
			}
			m = rpc{}
			if err := json.Unmarshal(line, &m); err != nil {
				t.Fatal(err)
			}
		}
		return m
	}
	if m := next(); m.Error == nil || m.Error.Code != mcp.INVALID_PARAMS {
		t.Errorf("got %+v", m)
	}
	close(release)
	if m := next(); m.tool(t).Content[0].Text != "done" {
		t.Errorf("got %+v", m)
	}
	w.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestStdioEnds: when the input ends calls get a while to finish, when the
// context does they get none, and a client that cannot be written to is gone.
func TestStdioEnds(t *testing.T) {
	serveOne := func(t *testing.T, ctx context.Context, in io.Reader, out io.Writer) (time.Duration, error) {
		f, _ := holding()
		s := newServer(t, f)
		start := time.Now()
		err := s.ServeStdio(ctx, in, out)
		return time.Since(start), err
	}
	t.Run("input", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			took, err := serveOne(t, context.Background(), strings.NewReader(toolCall("1", "stay")), io.Discard)
			if err != nil || took != stdioGrace {
				t.Errorf("%v after %v", err, took)
			}
		})
	})
	t.Run("context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			in, w := io.Pipe()
			defer w.Close()
			go func() { _, _ = io.WriteString(w, toolCall("1", "stay")) }()
			took, err := serveOne(t, ctx, in, io.Discard)
			if !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
				t.Errorf("%v after %v", err, took)
			}
		})
	})
	t.Run("output", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			in, w := io.Pipe()
			defer w.Close()
			go func() { _, _ = io.WriteString(w, toolCall("1", "stay")+toolCall("2", "go")) }()
			took, err := serveOne(t, context.Background(), in, brokenWriter{})
			if !errors.Is(err, io.ErrClosedPipe) || took != 0 {
				t.Errorf("%v after %v", err, took)
			}
		})
	})
	t.Run("reading fails", func(t *testing.T) {
		_, err := serveOne(t, context.Background(), io.MultiReader(strings.NewReader(toolCall("1", "stay")), brokenReader{}), io.Discard)
		if !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("%v", err)
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

// TestStdioPeersAreApart: two connections of one server, one id.
func TestStdioPeersAreApart(t *testing.T) {
	f := saying()
	f.script = func(prompt string) ([]inference.Event, error) { return tokens("for " + prompt), nil }
	s := newServer(t, f)
	var peers sync.WaitGroup
	for i := range 20 {
		peers.Go(func() {
			var out bytes.Buffer
			name := fmt.Sprintf("peer %d", i)
			if err := s.ServeStdio(t.Context(), strings.NewReader(toolCall("1", name)), &out); err != nil {
				t.Error(err)
			}
			if got := out.String(); strings.Count(got, "\n") != 2 || strings.Count(got, "for "+name+`"`) != 3 {
				t.Errorf("%s reads %s", name, got)
			}
		})
	}
	peers.Wait()
}
