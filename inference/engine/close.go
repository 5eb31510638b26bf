package engine

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"hearth/inference"
)

// Drain refuses new requests with ErrShutdown and waits until those accepted
// have ended, or until ctx has: then it returns ctx.Err(), and what still runs
// goes on until Close.
func (e *Engine) Drain(ctx context.Context) error {
	e.mu.Lock()
	first := !e.draining
	e.draining = true
	if first && len(e.open) == 0 {
		close(e.drained)
	}
	e.mu.Unlock()
	select {
	case <-e.drained:
		return nil
	case <-e.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain: %w", ctx.Err())
	}
}

// Close ends every request with ErrShutdown and waits for the step in flight.
// When it has returned, the engine holds no sequence, no sampler and does not
// use the backend any more. It may be called more than once.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closing = true
	e.b.Hold(true)
	for r := range e.open {
		// At once, even if the backend does not return.
		r.stream.finish(inference.ErrShutdown)
	}
	e.mu.Unlock()
	e.signal()
	<-e.gone
	return nil
}

// Err is nil while the engine works. After a panic in the loop it says what
// happened, with the stack, for the log; every request is then refused.
func (e *Engine) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.broken
}

// failure is what a client of a broken engine gets.
func (e *Engine) failure() error {
	return fmt.Errorf("%w: it stopped after an internal fault", inference.ErrEngine)
}

// noteAdmitted frees the place in the queue of a request that starts.
func (e *Engine) noteAdmitted(r *request) {
	if r.probe {
		return
	}
	e.mu.Lock()
	e.waiting--
	e.mu.Unlock()
}

// noteEnded strikes off a request that is over.
func (e *Engine) noteEnded(r *request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !r.started && !r.probe {
		e.waiting--
	}
	if r.started && !r.probe {
		d := time.Since(r.admitted)
		if e.service == 0 {
			e.service = d
		}
		e.service += (d - e.service) / 8
	}
	e.strike(r)
}

// shutDown ends what is left and frees every sequence.
func (l *loop) shutDown() {
	for l.queue.size > 0 {
		l.fail(l.queue.candidates()[0].req, inference.ErrShutdown, "cancelled", false)
	}
	for _, s := range l.seqs {
		if s != nil && s.owner != nil {
			l.fail(s.owner.req, inference.ErrShutdown, "cancelled", false)
		}
	}
	l.keepAll()
	l.dropIdle()
}

// breakDown follows a panic of the loop: nothing is known about the backend any
// more, so it is left alone, and every request fails.
func (e *Engine) breakDown(p any) {
	e.mu.Lock()
	e.broken = fmt.Errorf("%w: panic: %v\n%s", inference.ErrEngine, p, debug.Stack())
	var open []*request
	for r := range e.open {
		open = append(open, r)
	}
	e.mu.Unlock()
	for _, r := range open {
		r.stream.finish(e.failure())
		e.bury(r)
	}
	e.mu.Lock()
	e.stats.Running, e.stats.Serving, e.stats.CellsUsed, e.stats.CellsReserved = 0, 0, 0, 0
	e.mu.Unlock()
}

// bury closes what a request holds, whatever state the panic left it in.
func (e *Engine) bury(r *request) {
	e.mu.Lock()
	e.strike(r)
	posted := r.order > 0
	if posted && !r.started && !r.probe {
		e.waiting--
	}
	e.mu.Unlock()
	if !posted || r.ended {
		return // if not posted, Submit still has it and will be refused
	}
	r.ended = true
	r.release()
	if !r.probe {
		e.obs.Done("error", len(r.Prompt), max(r.cached, 0), 0, time.Since(r.submitted))
	}
	for _, c := range r.choices {
		buryChoice(c)
	}
}

// buryChoice closes a sampler; one that panics must not keep the others open.
func buryChoice(c *choice) {
	defer func() { _ = recover() }()
	closeSampler(c)
}
