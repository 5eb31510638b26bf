package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"

	"hearth/inference"
	"hearth/inference/engine"
)

// A model is ready when it has sampled a token lately. What is older is asked
// for one: an idle engine at most once in idleProbe, one that has work as soon
// as it was silent for busySilence, unless it took a step since it was last
// looked at: a long prompt is computed without a token for a while.
const (
	idleProbe    = 30 * time.Second
	busySilence  = 4 * time.Second
	probeTimeout = 4 * time.Second
)

// pulse is what health needs of an engine.
type pulse interface {
	Stats() engine.Stats
	Probe(ctx context.Context) error
}

// health answers /healthz and /readyz.
type health struct {
	models   inference.Models
	draining func() bool
	version  string
	now      func() time.Time

	mu       sync.Mutex
	patients map[string]*patient
}

// patient is a model whose engine is asked. Its mutex lets one caller probe
// while the others wait for the result.
type patient struct {
	mu    sync.Mutex
	pulse pulse
	asked time.Time // when the last probe began
	steps uint64    // Stats.Steps when it was last looked at
	err   error     // what it found
}

func newHealth(version string) *health {
	return &health{version: version, now: time.Now, patients: map[string]*patient{}}
}

// add lets h watch the engine of a model that was loaded.
func (h *health) add(id string, p pulse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.patients[id] = &patient{pulse: p}
}

// check returns nil if the model generates tokens.
func (h *health) check(ctx context.Context, id string) error {
	h.mu.Lock()
	p := h.patients[id]
	h.mu.Unlock()
	if p == nil {
		return inference.ErrLoading
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.pulse.Stats()
	stepped := s.Steps != p.steps
	p.steps = s.Steps
	fresh := idleProbe
	if s.Running > 0 || s.Queued > 0 {
		fresh = busySilence
		if stepped {
			return nil
		}
	}
	now := h.now()
	if now.Sub(s.LastToken) < fresh {
		return nil
	}
	if now.Sub(p.asked) < fresh {
		return p.err
	}
	p.asked = now
	// The probe outlives the client that happened to ask for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	p.err = p.pulse.Probe(ctx)
	return p.err
}

// live answers /healthz: the process runs.
func (h *health) live(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "service": "hearth", "version": h.version})
}

// modelHealth is one model in the answer of /readyz.
type modelHealth struct {
	ID       string  `json:"id"`
	State    string  `json:"state"` // loading, ready, stuck, failed
	Progress float32 `json:"progress,omitempty"`
	Error    string  `json:"error,omitempty"`
}

// ready answers /readyz: 200 if every model that did not fail answers, and at
// least one does.
func (h *health) ready(w http.ResponseWriter, r *http.Request) {
	all := []modelHealth{}
	ok, retry := false, false
	good := true
	for _, s := range h.models.List() {
		m := modelHealth{ID: s.Info.ID, State: string(s.State)}
		switch s.State {
		case inference.ModelReady:
			if err := h.check(r.Context(), s.Info.ID); err != nil {
				m.State, m.Error, good = "stuck", "no token came when one was asked for", false
				break
			}
			ok = true
		case inference.ModelLoading:
			m.Progress, good, retry = s.Progress, false, true
		case inference.ModelFailed:
			m.Error = "it could not be loaded; the server's log says why"
		}
		all = append(all, m)
	}
	status, code := "ready", http.StatusOK
	switch {
	case h.draining():
		status, code = "draining", http.StatusServiceUnavailable
	case !ok || !good:
		status, code = "not ready", http.StatusServiceUnavailable
	}
	if code != http.StatusOK && retry {
		w.Header().Set("Retry-After", strconv.Itoa(2))
	}
	writeJSON(w, code, map[string]any{"status": status, "models": all})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if it fails
}
