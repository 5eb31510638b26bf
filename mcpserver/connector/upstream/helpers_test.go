package upstream_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"hearth/mcpserver/connector/upstream"
	"hearth/mcpserver/router"
)

// open makes a connector that is closed with the test.
func open(t *testing.T, cfg upstream.Config, change ...func(*upstream.Deps)) *upstream.Upstream {
	t.Helper()
	if cfg.State == "" {
		cfg.State = t.TempDir()
	}
	d := upstream.Deps{Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)}
	for _, f := range change {
		f(&d)
	}
	u, err := upstream.New(cfg, "up", d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := u.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return u
}

// started is open, and connected.
func started(t *testing.T, cfg upstream.Config, change ...func(*upstream.Deps)) *upstream.Upstream {
	t.Helper()
	u := open(t, cfg, change...)
	if err := u.Start(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	return u
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func names(tools []router.Tool) []string {
	var out []string
	for _, t := range tools {
		out = append(out, t.Name)
	}
	return out
}

// call runs a tool and fails the test where that fails.
func call(t *testing.T, u *upstream.Upstream, tool, arguments string, change ...func(*router.Call)) *router.Result {
	t.Helper()
	r, err := try(t, u, tool, arguments, change...)
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	if !r.Untrusted {
		t.Errorf("%s: what another server says is marked as trusted", tool)
	}
	return r
}

func try(t *testing.T, u *upstream.Upstream, tool, arguments string, change ...func(*router.Call)) (*router.Result, error) {
	t.Helper()
	c := &router.Call{Tool: tool, Arguments: json.RawMessage(arguments), Principal: "p", Tenant: "t", Progress: func(router.Progress) {}}
	for _, f := range change {
		f(c)
	}
	return u.Run(within(t, time.Minute), c)
}

func text(r *router.Result) string {
	var b strings.Builder
	for _, c := range r.Content {
		b.WriteString(c.Text)
	}
	return b.String()
}

// changes collects what a connector tells.
type changes struct {
	mu   sync.Mutex
	cond *sync.Cond
	all  []router.Change
}

func watch(u *upstream.Upstream) *changes {
	c := &changes{}
	c.cond = sync.NewCond(&c.mu)
	u.OnChange(func(one router.Change) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all = append(c.all, one)
		c.cond.Broadcast()
	})
	return c
}

// await returns when a change came that is one.
func (c *changes) await(is func(router.Change) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for _, one := range c.all {
			if is(one) {
				return
			}
		}
		c.cond.Wait()
	}
}

// peer answers questions and keeps them.
type peer struct {
	mu      sync.Mutex
	action  string
	values  string
	asked   []string
	schemas []string
}

func (p *peer) Elicit(_ context.Context, message string, schema json.RawMessage) (string, json.RawMessage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, message)
	p.schemas = append(p.schemas, string(schema))
	return p.action, json.RawMessage(p.values), nil
}

func (p *peer) questions() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}
