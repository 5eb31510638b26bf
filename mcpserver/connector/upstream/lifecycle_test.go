package upstream_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/connector/upstream"
	"hearth/mcpserver/router"
)

//lint:file-ignore SA1019 servers of the older protocols still sample

// saying waits in a log for lines that hold a text.
type saying struct {
	text string
	said chan struct{}
}

func (s saying) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(s.text)) {
		select {
		case s.said <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

// logs has the log of a connector sent to a saying.
func logs(text string) (saying, func(*upstream.Deps)) {
	s := saying{text, make(chan struct{}, 1)}
	return s, func(d *upstream.Deps) { d.Log = zerolog.New(s) }
}

func (s saying) await(t *testing.T) {
	t.Helper()
	select {
	case <-s.said:
	case <-within(t, time.Minute).Done():
		t.Fatalf("the log never says %q", s.text)
	}
}

// TestIdleServerIsStopped: a server that nobody uses ends, and the next call starts
// it again.
func TestIdleServerIsStopped(t *testing.T) {
	stopped, to := logs("nobody used is stopped")
	cfg := hostile(t, "kind")
	cfg.Idle = time.Millisecond
	u := started(t, cfg, to)
	for range 2 {
		stopped.await(t)
		if got := text(call(t, u, "a_b", `{}`)); got != "well" {
			t.Errorf("got %q", got)
		}
	}
	if got := fmt.Sprint(names(u.Tools())); got != "[a_b]" {
		t.Errorf("stopped, it offers %s", got)
	}
}

// TestStuckServerIsReplaced: a server that lets a call run into its deadline and then
// does not answer whether it is there is given up, and another one takes its place.
func TestStuckServerIsReplaced(t *testing.T) {
	gone, to := logs("does not answer and is given up")
	cfg := hostile(t, "stuck")
	u := started(t, cfg, to)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	c := &router.Call{Tool: "a_b", Arguments: json.RawMessage(`{}`), Progress: func(router.Progress) {}}
	if _, err := u.Run(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	gone.await(t)
	if got := text(call(t, u, "a_b", `{}`)); got != "well" {
		t.Errorf("got %q", got)
	}
}

// TestAwaitListsFails: what cannot be started has no lists, and keeps nobody waiting.
func TestAwaitListsFails(t *testing.T) {
	failed, to := logs("cannot be used")
	u := open(t, upstream.Config{Command: "/no/such/program"}, to)
	if err := u.AwaitLists(within(t, time.Minute)); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("got %v", err)
	}
	failed.await(t)
	if len(u.Tools()) != 0 {
		t.Errorf("it offers %q", names(u.Tools()))
	}
	_, err := try(t, u, "a_b", `{}`)
	var refused *router.ToolError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "does not offer") {
		t.Errorf("got %v", err)
	}
}

// TestAwaitLists: once it returns, what the server offers was told, also to somebody
// who came while the session had just been made, and it is known at once the next time.
func TestAwaitLists(t *testing.T) {
	cfg := hostile(t, "kind")
	for again := range 2 {
		u := open(t, cfg)
		var told atomic.Bool
		u.OnChange(func(router.Change) {
			for range 1000 {
				runtime.Gosched() // whoever need not wait for this gets ahead
			}
			told.Store(true)
		})
		if len(u.Tools()) > 0 { // it was told before anybody heard
			told.Store(true)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if err := u.AwaitLists(within(t, time.Minute)); err != nil {
					t.Error(err)
				}
				if got := fmt.Sprint(names(u.Tools())); got != "[a_b]" {
					t.Errorf("it offers %s", got)
				}
				if !told.Load() && again == 0 {
					t.Error("that was not told yet")
				}
			})
		}
		all.Wait()
		if err := u.Close(within(t, time.Minute)); err != nil {
			t.Error(err)
		}
		if err := u.AwaitLists(within(t, time.Minute)); err != nil {
			t.Errorf("closed, it knew: %v", err)
		}
	}
	cfg = hostile(t, "kind")
	u := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := u.AwaitLists(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestPins: which tools wait for an approval when a server begins to offer more and
// says other things of what it had.
func TestPins(t *testing.T) {
	for pin, want := range map[string]string{"": "[later]", "changed": "[later]", "all": "[]", "off": "[a_b later]"} {
		t.Run(pin, func(t *testing.T) {
			cfg := hostile(t, "kind")
			cfg.Pin = pin
			if err := started(t, cfg).Close(within(t, time.Minute)); err != nil {
				t.Fatal(err)
			}
			cfg.Env["MORE"], cfg.Env["DESCRIPTION"] = "1", "second"
			u := started(t, cfg)
			if got := fmt.Sprint(names(u.Tools())); got != want {
				t.Errorf("offered: %s, want %s", got, want)
			}
			if why := u.Missing("later"); (why != "") != (pin == "all") || pin == "all" && !strings.Contains(why, "after its first list") {
				t.Errorf("the new tool waits: %q", why)
			}
			if pin != "all" {
				return
			}
			if done, err := upstream.Approve(cfg, "up", "later"); err != nil || fmt.Sprint(done) != "[later]" {
				t.Errorf("approved %q, %v", done, err)
			}
			if left, err := upstream.ListPending(cfg, "up"); err != nil || len(left) != 1 || left[0].Name != "a_b" {
				t.Errorf("pending: %+v, %v", left, err)
			}
			if _, err := upstream.Approve(cfg, "up", "later"); err == nil {
				t.Error("what does not wait was approved")
			}
		})
	}
}

// TestUpdatesAreDelivered: who watches a resource of a server hears of its updates,
// and nobody else does.
func TestUpdatesAreDelivered(t *testing.T) {
	ended := make(chan string, 1)
	s := mcp.NewServer(&mcp.Implementation{Name: "shelf", Version: "1"}, &mcp.ServerOptions{
		SubscribeHandler: func(context.Context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(_ context.Context, r *mcp.UnsubscribeRequest) error {
			ended <- r.Params.URI
			return nil
		},
	})
	for _, uri := range []string{"book://1", "book://2"} {
		s.AddResource(&mcp.Resource{URI: uri, Name: uri}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: uri, Text: "text"}}}, nil
		})
	}
	web := httptest.NewServer(mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return s }, nil))
	t.Cleanup(web.Close)
	u := started(t, upstream.Config{URL: web.URL, Transport: "sse"})
	seen := watch(u)
	ctx := within(t, time.Minute)
	stop, err := u.Watch(ctx, "book://2")
	if err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{"book://1", "book://2"} {
		if err := s.ResourceUpdated(ctx, &mcp.ResourceUpdatedNotificationParams{URI: uri}); err != nil {
			t.Fatal(err)
		}
	}
	seen.await(func(c router.Change) bool { return c.Resource == "book://2" })
	seen.mu.Lock()
	for _, c := range seen.all {
		if c.Resource == "book://1" {
			t.Error("an update of what nobody watches was told")
		}
	}
	seen.mu.Unlock()
	stop()
	if uri := <-ended; uri != "book://2" {
		t.Errorf("the subscription to %s ended", uri)
	}
	if _, err := u.Watch(ctx, strings.Repeat("x", 9<<10)); err == nil {
		t.Error("a URI of 9 KiB was watched")
	}
}

// reentrant is a model that calls the server's tool itself before it answers.
type reentrant struct {
	inference.Models
	u *upstream.Upstream
}

func (m *reentrant) Acquire(context.Context, string) (inference.Lease, error) {
	return &calling{u: m.u}, nil
}

type calling struct {
	lease
	u *upstream.Upstream
}

func (l *calling) Chat(ctx context.Context, _ *inference.ChatRequest) (inference.Stream, error) {
	r, err := l.u.Run(ctx, &router.Call{Tool: "ask", Arguments: json.RawMessage(`{}`), Principal: "p", Tenant: "t", Progress: func(router.Progress) {}})
	if err != nil {
		return nil, err
	}
	return &stream{events: []inference.Event{{Kind: inference.EventDelta, Content: "the tool said: " + text(r)}}}, nil
}

// TestSamplingDoesNotRecurse: a call that a sampling led to gets no sampling.
func TestSamplingDoesNotRecurse(t *testing.T) {
	web := httptest.NewServer(mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return asker() }, nil))
	t.Cleanup(web.Close)
	m := &reentrant{}
	m.u = started(t, upstream.Config{URL: web.URL, Transport: "sse", Sampling: upstream.Sampling{Mode: "allow"}}, func(d *upstream.Deps) { d.Models = m })
	got := text(call(t, m.u, "ask", `{}`))
	if !strings.HasPrefix(got, "the tool said: ") || !strings.Contains(got, "the call came from a sampling itself") {
		t.Errorf("got %q", got)
	}
}
