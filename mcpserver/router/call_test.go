package router

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth/inference"
)

func TestArguments(t *testing.T) {
	w := newWorld(t, nil)
	c := &fakeConnector{tools: []Tool{{Name: "get", Input: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer","maximum":9}},"required":["n"],"additionalProperties":false}`)}}}
	w.add(t, "db", c, Options{})
	for _, a := range []struct{ given, got, says string }{
		{`{"n":3}`, `{"n":3}`, ""},
		{` {"n" : 3e0 } `, `{"n":3e0}`, ""},
		{``, "", "n: is required"},
		{`null`, "", "n: is required"},
		{`{"n":10}`, "", "n: must be at most 9, got 10"},
		{`{"n":1,"m":2}`, "", "m: is not an argument of this tool"},
		{`[1]`, "", "must be a JSON object"},
		{`{"n":1`, "", "not valid JSON"},
		{`{"n":1}{}`, "", "more than one value"},
		{`{"n":1e9999999}`, "", "a number has more than"}, // which the library cannot compare
	} {
		before := c.made()
		result, err := w.call(t.Context(), "db__get", a.given)
		if a.says != "" {
			if !errors.Is(err, inference.ErrInvalid) || !strings.Contains(err.Error(), a.says) || c.made() != before {
				t.Errorf("%s: %v, %d calls", a.given, err, c.made()-before)
			}
			continue
		}
		if err != nil || result.Content[0].Text != a.got {
			t.Errorf("%s: %+v, %v", a.given, result, err)
		}
	}
}

func TestOutcomes(t *testing.T) {
	secret := errors.New("password=hunter2")
	for _, c := range []struct {
		name    string
		run     func(context.Context, *Call) (*Result, error)
		isError bool
		says    string
		err     error
		outcome string
	}{
		{"done", func(context.Context, *Call) (*Result, error) { return Text("fine"), nil }, false, "fine", nil, "ok"},
		{"a result that is an error", func(context.Context, *Call) (*Result, error) {
			return &Result{Content: Text("no such table").Content, IsError: true}, nil
		}, true, "no such table", nil, "tool_error"},
		{"a tool error", func(context.Context, *Call) (*Result, error) { return nil, &ToolError{"no such table"} }, true, "no such table", nil, "tool_error"},
		{"a failure", func(context.Context, *Call) (*Result, error) { return nil, secret }, false, "db failed", ErrUnavailable, "unavailable"},
		{"a panic", func(context.Context, *Call) (*Result, error) { panic(secret) }, false, "db failed", ErrUnavailable, "unavailable"},
		{"nothing", func(context.Context, *Call) (*Result, error) { return nil, nil }, false, "db failed", ErrUnavailable, "unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			f := offers("get")
			f.run = c.run
			w.add(t, "db", f, Options{})
			result, err := w.call(t.Context(), "db__get", "{}")
			if !errors.Is(err, c.err) {
				t.Fatalf("got %v, want %v", err, c.err)
			}
			if err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("clients read %q", err)
			}
			if err == nil && (result.IsError != c.isError || result.Content[0].Text != c.says) {
				t.Errorf("got %+v", result)
			}
			r := w.journal.outcomeOf(t)
			if r.Outcome != c.outcome || len(w.journal.intents) != 1 || w.journal.intents[0].Call != r.Call || r.Tool != "db__get" || r.Rule != "it only reads" {
				t.Errorf("recorded %+v after %+v", r, w.journal.intents)
			}
		})
	}
}

// TestNothingRunsUnrecorded: where the record of a call cannot be kept, the tool
// does not run.
func TestNothingRunsUnrecorded(t *testing.T) {
	w := newWorld(t, nil)
	w.journal.err = errors.New("disk full")
	f := offers("get")
	w.add(t, "db", f, Options{})
	if _, err := w.call(t.Context(), "db__get", "{}"); err == nil || f.made() != 0 {
		t.Errorf("%v, and it ran %d times", err, f.made())
	}
	w.journal.err = nil
	f.run = func(context.Context, *Call) (*Result, error) {
		w.journal.mu.Lock()
		defer w.journal.mu.Unlock()
		if len(w.journal.intents) != 2 || len(w.journal.outcomes) != 1 {
			t.Errorf("while it runs there are %d and %d records", len(w.journal.intents), len(w.journal.outcomes))
		}
		return Text(""), nil
	}
	if _, err := w.call(t.Context(), "db__get", "{}"); err != nil {
		t.Error(err)
	}
}

func TestOutputSchema(t *testing.T) {
	for structured, ok := range map[string]bool{`{"n":1}`: true, `{"n":"x"}`: false, ``: false} {
		w := newWorld(t, nil)
		f := &fakeConnector{tools: []Tool{{Name: "get", Input: anything, Output: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}`)}}}
		f.run = func(context.Context, *Call) (*Result, error) {
			return &Result{Structured: json.RawMessage(structured)}, nil
		}
		w.add(t, "db", f, Options{})
		result, err := w.call(t.Context(), "db__get", "{}")
		if err != nil || result.IsError == ok || !ok && result.Structured != nil {
			t.Errorf("%q: %+v, %v", structured, result, err)
		}
	}
}

// TestDeadline: who asked is answered in time also by a connector that ignores it,
// whose place stays taken until it is done.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		f := offers("get")
		release := make(chan struct{})
		f.run = func(context.Context, *Call) (*Result, error) { <-release; return Text("late"), nil }
		w.add(t, "db", f, Options{Limits: Limits{Timeout: 3 * time.Second, Concurrent: 1}})
		began := time.Now()
		if _, err := w.call(t.Context(), "db__get", "{}"); !errors.Is(err, inference.ErrDeadline) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := w.call(t.Context(), "db__get", "{}"); !errors.Is(err, inference.ErrDeadline) || !strings.Contains(err.Error(), "wait for one of its 1 calls") || f.made() != 1 {
			t.Errorf("the second call: %v, %d ran", err, f.made())
		}
		close(release)
		if result, err := w.call(t.Context(), "db__get", "{}"); err != nil || result.Content[0].Text != "late" {
			t.Errorf("afterwards: %+v, %v", result, err)
		}
	})
}

func TestWhoLeavesEndsTheCall(t *testing.T) {
	w := newWorld(t, nil)
	f := offers("get")
	running, ended := make(chan struct{}), make(chan error, 1)
	f.run = func(ctx context.Context, _ *Call) (*Result, error) {
		close(running)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}
	w.add(t, "db", f, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-running; cancel() }()
	if _, err := w.call(ctx, "db__get", "{}"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the connector saw %v", err)
	}
	if w.journal.outcomeOf(t).Outcome != "cancelled" {
		t.Errorf("recorded %+v", w.journal.outcomeOf(t))
	}
}

func TestProgressEndsWithTheCall(t *testing.T) {
	w := newWorld(t, nil)
	f := offers("get")
	var late func(Progress)
	f.run = func(_ context.Context, c *Call) (*Result, error) {
		c.Progress(Progress{Progress: 1})
		late = c.Progress
		return Text(""), nil
	}
	w.add(t, "db", f, Options{})
	var mu sync.Mutex
	heard := 0
	_, err := w.Call(t.Context(), &Request{Tool: "db__get", Progress: func(Progress) { mu.Lock(); defer mu.Unlock(); heard++ }})
	if err != nil {
		t.Fatal(err)
	}
	late(Progress{Progress: 2})
	if heard != 1 {
		t.Errorf("heard %d times", heard)
	}
}

// TestBreaker: after failures in a row a connector is left alone, then tried once,
// and its failures do nothing to others.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		bad, good := offers("get"), offers("get")
		var fail error = errors.New("connection refused")
		bad.run = func(context.Context, *Call) (*Result, error) { return Text(""), fail }
		w.add(t, "bad", bad, Options{})
		w.add(t, "good", good, Options{})
		try := func() error { _, err := w.call(t.Context(), "bad__get", "{}"); return err }
		// What the tool could not do is no failure of the connector.
		fail = &ToolError{"no such row"}
		for range 2 * breakerFailures {
			if err := try(); err != nil {
				t.Fatal(err)
			}
		}
		fail = errors.New("connection refused")
		before := bad.made()
		for range 10 {
			if err := try(); !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
		}
		if got := bad.made() - before; got != breakerFailures {
			t.Errorf("%d calls reached it, want %d", got, breakerFailures)
		}
		var retry *inference.RetryError
		if err := try(); !errors.As(err, &retry) || retry.After <= 0 || retry.After > breakerFirst {
			t.Errorf("got %v", err)
		}
		if _, err := w.call(t.Context(), "good__get", "{}"); err != nil {
			t.Errorf("another connector: %v", err)
		}
		// The pause doubles with each failed probe.
		for _, pause := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			time.Sleep(pause - time.Nanosecond)
			before := bad.made()
			_ = try()
			time.Sleep(time.Nanosecond)
			_ = try()
			_ = try()
			if got := bad.made() - before; got != 1 {
				t.Errorf("after %v it was called %d times, want 1", pause, got)
			}
		}
		time.Sleep(8 * time.Second)
		fail = nil
		for range 3 {
			if err := try(); err != nil {
				t.Errorf("once it works: %v", err)
			}
		}
	})
}

// TestBreakerHearsOfItsOwn: who leaves says nothing of the connector, and a call that
// began before the breaker opened is not taken for the probe.
func TestBreakerHearsOfItsOwn(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(b *breaker, at time.Time)
		opens bool
	}{
		{"failures in a row", func(b *breaker, at time.Time) {
			for range breakerFailures {
				b.report(at, false, true)
			}
		}, true},
		{"with clients that leave between them", func(b *breaker, at time.Time) {
			for range breakerFailures {
				b.report(at, false, true)
				b.forgo(false)
			}
		}, true},
		{"with successes between them", func(b *breaker, at time.Time) {
			for range breakerFailures {
				b.report(at, false, true)
				b.report(at, false, false)
			}
		}, false},
		{"a late success of a call from before", func(b *breaker, at time.Time) {
			for range breakerFailures {
				b.report(at, false, true)
			}
			b.report(at, false, false)
		}, true},
	} {
		b, at := &breaker{}, time.Unix(1, 0)
		if c.do(b, at); b.isOpen() != c.opens {
			t.Errorf("%s: open %v", c.name, b.isOpen())
		}
	}
	b, at := &breaker{}, time.Unix(1, 0)
	for range breakerFailures {
		b.report(at, false, true)
	}
	at = at.Add(breakerFirst)
	probe, err := b.allow(at)
	if err != nil || !probe {
		t.Fatalf("the probe: %v, %v", probe, err)
	}
	until := b.until
	b.report(at, false, true) // from before
	if _, err := b.allow(at); err == nil || b.until != until {
		t.Errorf("a late failure ended the probe or the pause: %v", err)
	}
	b.forgo(true) // who made the probe left
	if probe, err := b.allow(at); err != nil || !probe || !b.isOpen() {
		t.Errorf("after a probe that left: %v, %v, open %v", probe, err, b.isOpen())
	}
	b.report(at, true, false)
	if b.isOpen() {
		t.Error("a probe that works leaves it open")
	}
}

// TestDeadlineOfWhoCalls is not the connector's failure, nor its timeout.
func TestDeadlineOfWhoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		f := offers("get")
		f.run = func(ctx context.Context, _ *Call) (*Result, error) { <-ctx.Done(); return nil, ctx.Err() }
		w.add(t, "db", f, Options{})
		for range 2 * breakerFailures {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, inference.ErrDeadline)
			_, err := w.call(ctx, "db__get", "{}")
			cancel()
			if !errors.Is(err, inference.ErrDeadline) || errors.Is(err, errTimeout) {
				t.Fatalf("got %v", err)
			}
		}
		for range breakerFailures {
			if _, err := w.call(t.Context(), "db__get", "{}"); !errors.Is(err, errTimeout) {
				t.Fatalf("got %v", err)
			}
		}
		if _, err := w.call(t.Context(), "db__get", "{}"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a connector that hangs is called on: %v", err)
		}
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Calls = 2; c.Rate = Rate{6, time.Minute} })
		f := offers("get")
		release := make(chan struct{})
		f.run = func(context.Context, *Call) (*Result, error) { <-release; return Text(""), nil }
		w.add(t, "db", f, Options{Limits: Limits{Rate: Rate{1, time.Second}}})
		as := func(who string) error {
			_, err := w.Call(t.Context(), &Request{Caller: inference.Caller{Principal: who}, Tool: "db__get"})
			return err
		}
		var wg sync.WaitGroup
		begin := func(who string) {
			wg.Go(func() {
				if err := as(who); err != nil {
					t.Errorf("%s: %v", who, err)
				}
			})
			synctest.Wait()
		}
		begin("ann")
		if err := as("ann"); !errors.Is(err, inference.ErrBusy) || !strings.Contains(err.Error(), "you called too often: the next call may come in 10s") {
			t.Errorf("ann's rate: %v", err)
		}
		if err := as("bob"); !errors.Is(err, inference.ErrBusy) || !strings.Contains(err.Error(), "db is called too often: the next call may come in 1s") {
			t.Errorf("the connector's rate: %v", err)
		}
		time.Sleep(10 * time.Second)
		begin("ann")
		time.Sleep(10 * time.Second)
		if err := as("ann"); !errors.Is(err, inference.ErrBusy) || !strings.Contains(err.Error(), "2 calls of yours run already") {
			t.Errorf("ann's calls: %v", err)
		}
		begin("bob")
		close(release)
		wg.Wait()
	})
}

func TestClose(t *testing.T) {
	w := newWorld(t, nil)
	f := offers("get")
	w.add(t, "db", f, Options{})
	for range 2 {
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if f.closed != 1 {
		t.Errorf("closed %d times", f.closed)
	}
	if _, err := w.call(t.Context(), "db__get", "{}"); !errors.Is(err, inference.ErrShutdown) {
		t.Errorf("a call afterwards: %v", err)
	}
}
