package mcpserver

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// ledger keeps what the router records, or refuses to.
type ledger struct {
	mu     sync.Mutex
	full   bool
	events []string
}

func (l *ledger) Intent(_ context.Context, r *router.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full {
		return errors.New("the disk is full")
	}
	l.events = append(l.events, "intent "+r.Tool)
	return nil
}

func (l *ledger) Outcome(r *router.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, r.Tool+" "+r.Outcome)
}

// TestOwnToolsPassTheRouter: what the router does to every call it does to calls of
// Hearth's own tools.
func TestOwnToolsPassTheRouter(t *testing.T) {
	const text = "my number is 555-0100, dear"
	chat := `"name":"chat","arguments":{"prompt":"a"}`
	hourly := router.Rate{}
	if err := hourly.UnmarshalText([]byte("1/h")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		options router.Options
		policy  func(*router.Config)
		full    bool
		text    string   // that the model says; empty: text
		calls   []string // params of tools/call, one after the other
		want    string   // in the answer to the last
		events  string   // of the ledger
		asked   int      // requests that reached the model
		listed  int
	}{
		"as it comes": {
			calls: []string{chat}, want: text, events: "intent chat, chat ok", asked: 1, listed: 6,
		},
		"denied": {
			options: router.Options{Deny: []string{"ch*"}}, calls: []string{chat}, want: "there is no tool", listed: 5,
		},
		"wrong arguments leave no record": {
			calls: []string{`"name":"chat","arguments":{"prompt":7}`}, want: "prompt: must be of type string", listed: 6,
		},
		"rate of the tools": {
			options: router.Options{Limits: router.Limits{Rate: hourly}}, calls: []string{chat, chat},
			want: "builtin is called too often", events: "intent chat, chat ok, chat queue_full", asked: 1, listed: 6,
		},
		"rate of the caller": {
			policy: func(c *router.Config) { c.Rate = hourly }, calls: []string{chat, chat},
			want: "you called too often", events: "intent chat, chat ok, chat queue_full", asked: 1, listed: 6,
		},
		"no record, no call": {
			full: true, calls: []string{chat}, want: "isError", events: "chat internal_error", listed: 6,
		},
		"redacted": {
			policy: func(c *router.Config) { c.Redact = []string{`\d{3}-\d{4}`} }, calls: []string{chat},
			want: "my number is [redacted], dear", events: "intent chat, chat ok", asked: 1, listed: 6,
		},
		"cut": {
			options: router.Options{Limits: router.Limits{ResultBytes: 1 << 10}}, text: strings.Repeat("long ", 400), calls: []string{chat},
			want: router.ResultScheme, events: "intent chat, chat ok", asked: 1, listed: 6,
		},
		"given again": {
			options: router.Options{Cache: map[string]time.Duration{"chat": time.Hour}}, calls: []string{chat, chat},
			want: text, events: "intent chat, chat ok, chat ok", asked: 1, listed: 6,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, version := range []string{legacy, modern} {
				f, j := saying(cmp.Or(c.text, text)), &ledger{full: c.full}
				policy := router.DefaultConfig()
				if c.policy != nil {
					c.policy(&policy)
				}
				r := newRouter(t, policy, j)
				own, err := NewTools(ToolsConfig{Models: f, Log: zerolog.Nop()})
				if err != nil {
					t.Fatal(err)
				}
				if err := r.AddOwn(own, c.options); err != nil {
					t.Fatal(err)
				}
				s, err := New(Config{Models: f, Router: r, Log: zerolog.Nop(), Version: "1"})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(s.Close)
				p := connect(t, serve(t, s), version)
				if _, listed := p.call("1", "tools/list", "", ""); strings.Count(string(listed.Result), `"inputSchema"`) != c.listed {
					t.Errorf("%s: listed %s, want %d tools", version, listed.Result, c.listed)
				}
				var answer rpc
				for _, params := range c.calls {
					_, answer = p.call("2", "tools/call", params, "")
				}
				said := string(answer.Result)
				if answer.Error != nil {
					said += answer.Error.Message
				}
				if !strings.Contains(said, c.want) {
					t.Errorf("%s: answered %s, want %q in it", version, said, c.want)
				}
				if got := strings.Join(j.events, ", "); got != c.events {
					t.Errorf("%s: recorded %q, want %q", version, got, c.events)
				}
				if len(f.chats) != c.asked {
					t.Errorf("%s: the model was asked %d times, want %d", version, len(f.chats), c.asked)
				}
			}
		})
	}
}

// TestProgressIsNotLeaked: a pattern could stand across two pieces of the text, so
// where results are redacted progress has none.
func TestProgressIsNotLeaked(t *testing.T) {
	policy := router.DefaultConfig()
	policy.Redact = []string{"555-0100"}
	s := newEagerServer(t, saying("555", "-01", "00"), func(c *Config) { c.Router = newRouter(t, policy, nil) })
	p := connect(t, serve(t, s), modern)
	notes, r := p.call("1", "tools/call", `"name":"chat","arguments":{"prompt":"a"}`, `"progressToken":"p"`)
	if len(notes) == 0 || !strings.Contains(string(r.Result), "[redacted]") {
		t.Fatalf("%d notifications, %s", len(notes), r.Result)
	}
	for _, n := range notes {
		if n.Params.Message != "" {
			t.Errorf("told %q", n.Params.Message)
		}
	}
}

// TestModelsAreNotOfferedOwnTools: nor do labels name them.
func TestModelsAreNotOfferedOwnTools(t *testing.T) {
	r := newRouter(t, router.DefaultConfig(), nil)
	own, err := NewTools(ToolsConfig{Models: saying(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.AddOwn(own, router.Options{}); err != nil {
		t.Fatal(err)
	}
	if labels := r.Labels(); len(labels) != 0 {
		t.Errorf("labels %q", labels)
	}
	for _, e := range r.List(t.Context(), inference.DefaultCaller) {
		if !e.Own {
			t.Errorf("%s is not marked as Hearth's own", e.Name)
		}
	}
}
