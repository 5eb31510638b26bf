package mcpserver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"hearth/mcpserver/router"
)

// slowShelf is a shelf that knows of its books after a while.
type slowShelf struct {
	*shelf
	known chan struct{}
}

func newSlowShelf() *slowShelf {
	return &slowShelf{&shelf{watched: map[string]int{}}, make(chan struct{})}
}

func (f *slowShelf) learn() {
	f.mu.Lock()
	f.tools, f.prompts = []string{"long"}, []string{"review"}
	f.mu.Unlock()
	f.tell(router.Change{Tools: true, Prompts: true})
	close(f.known)
}

func (f *slowShelf) AwaitLists(ctx context.Context) error {
	select {
	case <-f.known:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// timed notes when each line was written.
type timed struct {
	mu    sync.Mutex
	start time.Time
	lines []string
}

func (o *timed) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := time.Since(o.start)
	for _, what := range []string{"list_changed", `"id":1`, `"id":2`, `"id":3`, `"id":4`} {
		if bytes.Contains(p, []byte(what)) {
			o.lines = append(o.lines, fmt.Sprintf("%s at %v, tool %t, prompt %t", what, at,
				bytes.Contains(p, []byte(`"lib__long"`)), bytes.Contains(p, []byte(`"lib__review"`))))
			break
		}
	}
	return len(p), nil
}

func (o *timed) all() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "\n")
}

// TestFirstLists: over stdio the lists that a client asks for first wait for what a
// connector is about to learn, within a bound, and nothing else waits.
func TestFirstLists(t *testing.T) {
	const (
		hello   = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}` + "\n"
		tools   = `{"jsonrpc":"2.0","id":2,"method":"tools/list"}` + "\n"
		prompts = `{"jsonrpc":"2.0","id":3,"method":"prompts/list"}` + "\n"
		again   = `{"jsonrpc":"2.0","id":4,"method":"tools/list"}` + "\n"
	)
	for name, c := range map[string]struct {
		bound, learns time.Duration
		want, logged  string
	}{
		"known in time": {
			10 * time.Second, 3 * time.Second,
			`"id":1 at 0s, tool false, prompt false
list_changed at 3s, tool false, prompt false
list_changed at 3s, tool false, prompt false
"id":2 at 3s, tool true, prompt false
"id":3 at 3s, tool false, prompt true
"id":4 at 4s, tool true, prompt false`, "",
		},
		"too late": {
			2 * time.Second, 3 * time.Second,
			`"id":1 at 0s, tool false, prompt false
"id":2 at 2s, tool false, prompt false
"id":3 at 2s, tool false, prompt false
list_changed at 3s, tool false, prompt false
list_changed at 3s, tool false, prompt false
"id":4 at 4s, tool true, prompt false`, `learn the lists of connector lib: context deadline exceeded`,
		},
		"no waiting": {
			0, 3 * time.Second,
			`"id":1 at 0s, tool false, prompt false
"id":2 at 0s, tool false, prompt false
"id":3 at 0s, tool false, prompt false
list_changed at 3s, tool false, prompt false
list_changed at 3s, tool false, prompt false
"id":4 at 4s, tool true, prompt false`, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newSlowShelf()
				r, err := router.New(router.DefaultConfig(), router.Deps{Log: zerolog.Nop()})
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Add("lib", f, router.Options{}); err != nil {
					t.Fatal(err)
				}
				var logged bytes.Buffer
				s := newServer(t, saying("x"), func(cfg *Config) {
					cfg.Router, cfg.FirstLists, cfg.Log = r, c.bound, zerolog.New(&logged)
				})
				out := &timed{start: time.Now()}
				in, w := io.Pipe()
				go func() {
					defer w.Close()
					// One after the other in time, so that there is one order of the answers.
					for _, line := range []string{hello, tools, prompts} {
						_, _ = io.WriteString(w, line)
						synctest.Wait()
					}
					time.Sleep(c.learns)
					f.learn()
					time.Sleep(time.Second)
					_, _ = io.WriteString(w, again)
				}()
				if err := s.ServeStdio(t.Context(), in, out); err != nil {
					t.Error(err)
				}
				s.Close()
				if err := r.Close(context.Background()); err != nil {
					t.Error(err)
				}
				// What becomes free at one moment has no order.
				if got := sorted(out.all()); got != sorted(c.want) {
					t.Errorf("got\n%s\nwant\n%s", got, c.want)
				}
				if got := logged.String(); !strings.Contains(got, c.logged) || (c.logged == "") != (got == "") {
					t.Errorf("the log says %q, want %q", got, c.logged)
				}
			})
		})
	}
}

func sorted(text string) string {
	all := strings.Split(text, "\n")
	slices.Sort(all)
	return strings.Join(all, "\n")
}
