package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"hearth/inference"
	"hearth/inference/engine"
)

// fakePulse is an engine whose clock stands still until the test moves it.
type fakePulse struct {
	mu     sync.Mutex
	stats  engine.Stats
	err    error
	probes int
	clock  *time.Time
}

func (p *fakePulse) Stats() engine.Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

func (p *fakePulse) Probe(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probes++
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("a probe without a deadline")
	}
	if p.err == nil {
		p.stats.LastToken = *p.clock
		p.stats.Steps++
	}
	return p.err
}

type fixedModels struct {
	inference.Models
	all []inference.ModelStatus
}

func (m fixedModels) List() []inference.ModelStatus { return m.all }

func status(id string, s inference.ModelState) inference.ModelStatus {
	return inference.ModelStatus{Info: inference.ModelInfo{ID: id}, State: s, Progress: 0.25}
}

// newWard returns a health that watches one ready model, with a clock of its own.
func newWard() (*health, *fakePulse, *time.Time) {
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := &fakePulse{clock: &clock}
	h := newHealth("v0")
	h.now = func() time.Time { return clock }
	h.draining = func() bool { return false }
	h.models = fixedModels{all: []inference.ModelStatus{status("m", inference.ModelReady)}}
	h.add("m", p)
	return h, p, &clock
}

func TestIdleEngineIsProbedSeldom(t *testing.T) {
	h, p, clock := newWard()
	for range 60 { // five minutes, asked every five seconds
		if err := h.check(t.Context(), "m"); err != nil {
			t.Fatal(err)
		}
		*clock = clock.Add(5 * time.Second)
	}
	if p.probes != 10 {
		t.Errorf("%d probes in five minutes, want one in 30 s", p.probes)
	}
}

func TestFrozenIdleEngine(t *testing.T) {
	h, p, clock := newWard()
	if err := h.check(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	p.err = context.DeadlineExceeded
	*clock = clock.Add(idleProbe)
	for range 3 {
		if err := h.check(t.Context(), "m"); err == nil {
			t.Error("a frozen loop is ready")
		}
		*clock = clock.Add(time.Second)
	}
	if p.probes != 2 {
		t.Errorf("%d probes, want 2: the result is kept", p.probes)
	}
	p.stats.LastToken = *clock // it woke up by itself
	if err := h.check(t.Context(), "m"); err != nil {
		t.Errorf("a token came, but %v", err)
	}
}

func TestFrozenBusyEngine(t *testing.T) {
	h, p, clock := newWard()
	p.stats = engine.Stats{Running: 1, Steps: 5, LastToken: *clock}
	if err := h.check(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	p.err = context.DeadlineExceeded
	*clock = clock.Add(busySilence)
	if err := h.check(t.Context(), "m"); err == nil {
		t.Error("a loop with work that took no step is ready")
	}
	p.stats.Steps++ // a long prompt: steps, but no token
	if err := h.check(t.Context(), "m"); err != nil {
		t.Errorf("a loop that computes a prompt: %v", err)
	}
}

func TestOneProbeAtATime(t *testing.T) {
	h, p, _ := newWard()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := h.check(t.Context(), "m"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p.probes != 1 {
		t.Errorf("%d probes for 16 callers", p.probes)
	}
}

func TestReadyz(t *testing.T) {
	ready, loading, failed := status("m", inference.ModelReady), status("l", inference.ModelLoading), status("f", inference.ModelFailed)
	for _, c := range []struct {
		name     string
		models   []inference.ModelStatus
		stuck    bool
		draining bool
		code     int
		status   string
		retry    string
		states   []string
	}{
		{name: "ready", models: []inference.ModelStatus{ready}, code: 200, status: "ready", states: []string{"ready"}},
		{name: "one of two loads", models: []inference.ModelStatus{ready, loading}, code: 503, status: "not ready", retry: "2", states: []string{"ready", "loading"}},
		{name: "one of two failed", models: []inference.ModelStatus{ready, failed}, code: 200, status: "ready", states: []string{"ready", "failed"}},
		{name: "all failed", models: []inference.ModelStatus{failed}, code: 503, status: "not ready", states: []string{"failed"}},
		{name: "stuck", models: []inference.ModelStatus{ready}, stuck: true, code: 503, status: "not ready", states: []string{"stuck"}},
		{name: "draining", models: []inference.ModelStatus{ready}, draining: true, code: 503, status: "draining", states: []string{"ready"}},
		{name: "none", code: 503, status: "not ready"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, p, _ := newWard()
			h.models = fixedModels{all: c.models}
			h.draining = func() bool { return c.draining }
			if c.stuck {
				p.err = errors.New("secret of the engine")
			}
			w := httptest.NewRecorder()
			h.ready(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			var got struct {
				Status string
				Models []modelHealth
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("%s: %v", w.Body, err)
			}
			if w.Code != c.code || got.Status != c.status || w.Header().Get("Retry-After") != c.retry {
				t.Errorf("%d %q, Retry-After %q", w.Code, got.Status, w.Header().Get("Retry-After"))
			}
			var states []string
			for _, m := range got.Models {
				states = append(states, m.State)
				if m.Error == "secret of the engine" {
					t.Error("the engine's error is shown")
				}
			}
			if len(states) != len(c.states) {
				t.Fatalf("states %v, want %v", states, c.states)
			}
			for i := range states {
				if states[i] != c.states[i] {
					t.Errorf("states %v, want %v", states, c.states)
				}
			}
		})
	}
}

func TestHealthzSaysWhoAnswers(t *testing.T) {
	h, _, _ := newWard()
	srv := httptest.NewServer(http.HandlerFunc(h.live))
	defer srv.Close()
	r, err := newRemote(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.isHearth(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, map[string]string{}) }))
	defer other.Close()
	if r, err = newRemote(other.URL); err != nil {
		t.Fatal(err)
	}
	if err := r.isHearth(t.Context(), time.Minute); err == nil {
		t.Error("another server is taken for Hearth")
	}
}
