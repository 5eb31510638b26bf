package residency

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hearth/inference"
)

// Loaded is what a Loader returns.
type Loaded interface {
	inference.Model
	// Drain refuses new requests, lets those that run finish until ctx ends,
	// and cancels the rest.
	Drain(ctx context.Context)
	// Close frees the model. No call is in flight and none follows.
	Close() error
}

// Loader loads one model. It reports how far it is, from 0 to 1, and stops
// early when ctx ends.
type Loader func(ctx context.Context, progress func(float32)) (Loaded, error)

// Spec is one model to load.
type Spec struct {
	ID   string
	Path string
	Load Loader
}

// Residency implements [inference.Models].
type Residency struct {
	order  []*resident
	byID   map[string]*resident
	cancel context.CancelFunc
	loader sync.WaitGroup

	closing sync.Mutex // held during Close, taken before mu

	mu     sync.Mutex // guards closed and what changes in residents
	closed bool       // no new leases
}

var _ inference.Models = (*Residency)(nil)

// resident is one model. Its mutable fields are guarded by Residency.mu.
type resident struct {
	spec     Spec
	state    inference.ModelState
	progress float32
	err      error
	model    Loaded
	leases   int
	settled  chan struct{} // closed when the state is no longer loading
	idle     chan struct{} // closed when the last lease is back, made by Close
}

// New starts to load the models in the order of specs. onChange, which may be
// nil, is told each new state; it must not call back. Ids must differ.
func New(ctx context.Context, specs []Spec, onChange func(inference.ModelStatus)) (*Residency, error) {
	r := &Residency{byID: make(map[string]*resident, len(specs))}
	for _, s := range specs {
		if _, twice := r.byID[s.ID]; twice {
			return nil, fmt.Errorf("two models have the id %q: give one of them another id", s.ID)
		}
		m := &resident{spec: s, state: inference.ModelLoading, settled: make(chan struct{})}
		r.byID[s.ID] = m
		r.order = append(r.order, m)
	}
	if onChange == nil {
		onChange = func(inference.ModelStatus) {}
	}
	// Values of ctx are kept; only Close stops the loading.
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.loader.Go(func() {
		for _, m := range r.order {
			r.load(ctx, m, onChange)
		}
	})
	return r, nil
}

func (r *Residency) load(ctx context.Context, m *resident, onChange func(inference.ModelStatus)) {
	var model Loaded
	err := ctx.Err()
	if err == nil {
		model, err = m.spec.Load(ctx, func(p float32) {
			r.mu.Lock()
			defer r.mu.Unlock()
			m.progress = p
		})
	}
	r.mu.Lock()
	if err != nil {
		m.state, m.err = inference.ModelFailed, err
	} else {
		m.state, m.model, m.progress = inference.ModelReady, model, 1
	}
	close(m.settled)
	status := m.status()
	r.mu.Unlock()
	onChange(status)
}

func (m *resident) status() inference.ModelStatus {
	s := inference.ModelStatus{
		Info:  inference.ModelInfo{ID: m.spec.ID, Path: m.spec.Path},
		State: m.state, Progress: m.progress, Err: m.err,
	}
	if m.model != nil {
		s.Info = m.model.Info()
	}
	return s
}

// List returns the models in the configured order.
func (r *Residency) List() []inference.ModelStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]inference.ModelStatus, len(r.order))
	for i, m := range r.order {
		all[i] = m.status()
	}
	return all
}

func (r *Residency) find(id string) (*resident, error) {
	if id == "" && len(r.order) > 0 {
		return r.order[0], nil
	}
	if m := r.byID[id]; m != nil {
		return m, nil
	}
	e := &inference.ModelError{ID: id}
	for _, m := range r.order {
		e.Served = append(e.Served, m.spec.ID)
	}
	return nil, e
}

// Acquire leases a model. It does not wait: a model that still loads is
// ErrLoading with the time after which asking again is worthwhile; one that
// could not be loaded is ErrEngine; after Close it is ErrShutdown.
func (r *Residency) Acquire(_ context.Context, id string) (inference.Lease, error) {
	m, err := r.find(id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, &inference.RetryError{Err: inference.ErrShutdown}
	case m.state == inference.ModelLoading:
		return nil, &inference.RetryError{
			Err:   fmt.Errorf("%w: %s is loaded to %.0f %%", inference.ErrLoading, m.spec.ID, 100*m.progress),
			After: 2 * time.Second,
		}
	case m.state == inference.ModelFailed:
		return nil, fmt.Errorf("%w: the model %q could not be loaded; the server's log says why", inference.ErrEngine, m.spec.ID)
	}
	m.leases++
	return &lease{Model: m.model, release: sync.OnceFunc(func() { r.giveBack(m) })}, nil
}

// Wait waits until the model of that id is ready and returns nil, or returns
// why it is not: the error of its loading, or that of ctx.
func (r *Residency) Wait(ctx context.Context, id string) error {
	m, err := r.find(id)
	if err != nil {
		return err
	}
	select {
	case <-m.settled:
		r.mu.Lock()
		defer r.mu.Unlock()
		return m.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Residency) giveBack(m *resident) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.leases--
	if m.leases == 0 && m.idle != nil {
		close(m.idle)
	}
}

// Drain stops the loading, refuses new leases, and drains all models at once:
// running requests finish until ctx ends and are cancelled then.
func (r *Residency) Drain(ctx context.Context) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.loader.Wait()
	var wg sync.WaitGroup
	for _, m := range r.ready() {
		wg.Go(func() { m.model.Drain(ctx) })
	}
	wg.Wait()
}

func (r *Residency) ready() []*resident {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ready []*resident
	for _, m := range r.order {
		if m.model != nil {
			ready = append(ready, m)
		}
	}
	return ready
}

// Close drains what was not drained, waits for all leases, and closes the
// models, the last first. A model whose leases are not back when ctx ends stays
// open, and the error names it.
func (r *Residency) Close(ctx context.Context) error {
	r.closing.Lock()
	defer r.closing.Unlock()
	r.Drain(ctx)
	ready := r.ready()
	var errs []error
	for i := len(ready) - 1; i >= 0; i-- {
		m := ready[i]
		if err := r.waitIdle(ctx, m); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := m.model.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close model %s: %w", m.spec.ID, err))
		}
		r.mu.Lock()
		m.model, m.state, m.err = nil, inference.ModelFailed, inference.ErrShutdown
		r.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (r *Residency) waitIdle(ctx context.Context, m *resident) error {
	r.mu.Lock()
	if m.leases == 0 {
		r.mu.Unlock()
		return nil
	}
	if m.idle == nil {
		m.idle = make(chan struct{})
	}
	idle := m.idle
	r.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Errorf("model %s stays open, %d requests still use it: %w", m.spec.ID, m.leases, ctx.Err())
	}
}

// lease is a model without the right to drain or close it.
type lease struct {
	inference.Model
	release func()
}

func (l *lease) Release() { l.release() }

// Embed makes vectors, where the model does.
func (l *lease) Embed(ctx context.Context, r *inference.EmbedRequest) (*inference.Embeddings, error) {
	return inference.Embed(ctx, l.Model, r)
}

// Rerank scores documents, where the model does.
func (l *lease) Rerank(ctx context.Context, r *inference.RerankRequest) (*inference.Ranking, error) {
	return inference.Rerank(ctx, l.Model, r)
}
