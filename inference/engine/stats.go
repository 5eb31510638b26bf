package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"hearth/inference"
)

// Stats is a snapshot of the engine, taken after its last step.
type Stats struct {
	Queued    int // requests that wait for admission
	Running   int // sequences being computed
	Serving   int // requests that they belong to; probes are not counted
	Sequences int // that may run at the same time
	// Of the cache, in cells: held by running requests, promised to them and not
	// filled yet, held by finished prefixes, and all there are.
	CellsUsed     int
	CellsReserved int
	CellsCached   int
	CellsTotal    int
	Prefixes      int    // finished prefixes that are kept
	Steps         uint64 // decodes that succeeded, and slices of what is computed aside
	Preempted     uint64 // times that a choice had to make way
	// LastToken is when a token was last sampled; zero: never.
	LastToken time.Time
	// Context is the number of tokens that one request may use.
	Context int
}

// Stats returns the latest snapshot. It does not wait for the loop.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Queued = e.waiting
	return s
}

// publish takes the snapshot and tells the observer what changed.
func (e *Engine) publish(l *loop) {
	s := Stats{
		Running: l.running, Serving: l.serving, Sequences: e.cfg.Sequences,
		CellsUsed: l.cells.live, CellsReserved: l.future,
		CellsCached: l.cells.used - l.cells.live, CellsTotal: l.t.Cells,
		Prefixes: l.idle, Steps: l.steps + l.aside.turns, Preempted: l.preempted,
		LastToken: l.lastToken, Context: e.window,
	}
	e.mu.Lock()
	s.Queued = e.waiting
	old := e.stats
	e.stats = s
	e.mu.Unlock()
	if s.Queued != old.Queued {
		e.obs.Queued(s.Queued)
	}
	if s.Serving != old.Serving {
		e.obs.Running(s.Serving)
	}
	if s.CellsUsed != old.CellsUsed || s.CellsReserved != old.CellsReserved || s.CellsCached != old.CellsCached || s.CellsTotal != old.CellsTotal {
		e.obs.Cells(s.CellsUsed, s.CellsReserved, s.CellsCached, s.CellsTotal)
	}
}

// Probe generates one real token with the lowest priority, and returns nil once
// it came: a frozen loop or a failing backend lets it fail or wait until ctx
// ends. It leaves nothing in the cache and is counted nowhere.
func (e *Engine) Probe(ctx context.Context) error {
	q := &Request{
		Caller: inference.Caller{Principal: "probe", Tenant: "probe"},
		Prompt: []int32{0}, MaxTokens: 1,
		Sampling: inference.Sampling{TopP: 1, RepeatPenalty: 1},
	}
	r := newRequest(q, e.window)
	r.class, r.probe = classProbe, true
	if err := e.takePlace(r); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if err := e.makeSamplers(r); err != nil {
		e.givePlace(r)
		return fmt.Errorf("probe: %w", err)
	}
	if err := e.post(ctx, r); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	for {
		_, err := r.stream.Next(context.Background())
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("probe: %w", err)
		}
	}
}
