package embed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hearth/inference"
)

// Backend computes. The Worker's goroutine alone calls Embed; Abort may be
// called by any.
type Backend interface {
	Traits() inference.EmbedTraits
	// Embed returns as many numbers for each input as Traits says. An aborted
	// call returns inference.ErrAborted.
	Embed(inputs [][]int32) ([][]float32, error)
	// Abort stops the call that is running, if one is; one that begins later is
	// not touched.
	Abort()
}

// retryAfter is what a caller is told who finds the queue full.
const retryAfter = time.Second

// Worker computes the inputs of concurrent requests in batches.
type Worker struct {
	backend Backend
	cfg     Config
	traits  inference.EmbedTraits
	observe Observer
	stopped chan struct{} // the goroutine has ended

	mu       sync.Mutex
	wake     *sync.Cond // something waits, or closed
	idle     *sync.Cond // open has become 0
	queue    queue
	batch    []item // being computed
	open     map[*request]bool
	draining bool
	closed   bool
	stats    Stats
}

// Stats is a snapshot of a worker.
type Stats struct {
	Queued  int       // inputs that wait
	Running int       // inputs that are being computed
	Batches uint64    // that were computed
	Last    time.Time // when the last one was; zero: never
}

// Stats returns a snapshot. It does not wait for the batch in flight.
func (w *Worker) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Queued, s.Running = w.queue.size, len(w.batch)
	return s
}

// Probe has one token computed and waits for it.
func (w *Worker) Probe(ctx context.Context) error {
	if _, err := w.Embed(ctx, "probe", [][]int32{{0}}); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}

// New starts a worker. observer may be nil. The backend is the worker's until
// Close returns.
func New(backend Backend, cfg Config, observer Observer) (*Worker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("embed: %w", err)
	}
	if observer == nil {
		observer = nobody{}
	}
	w := &Worker{
		backend: backend, cfg: cfg, traits: backend.Traits(), observe: observer,
		stopped: make(chan struct{}), open: map[*request]bool{},
	}
	w.wake, w.idle = sync.NewCond(&w.mu), sync.NewCond(&w.mu)
	go w.run()
	return w, nil
}

// Traits is what the backend can do.
func (w *Worker) Traits() inference.EmbedTraits { return w.traits }

// Embed returns what the backend computes for each input. It refuses with
// ErrBusy when too many inputs wait, and with ErrShutdown while it drains;
// inputs must obey Traits. It ends with ctx.
func (w *Worker) Embed(ctx context.Context, principal string, inputs [][]int32) ([][]float32, error) {
	if err := w.check(inputs); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, ended(err)
	}
	r := &request{principal: principal, inputs: inputs, vectors: make([][]float32, len(inputs)), done: make(chan struct{}), left: len(inputs)}
	if err := w.submit(r); err != nil {
		return nil, err
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		w.cancel(r, ended(ctx.Err()))
		<-r.done
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.vectors, nil
}

// check refuses what the backend would.
func (w *Worker) check(inputs [][]int32) error {
	if len(inputs) == 0 || len(inputs) > inference.MaxEmbedInputs {
		return inference.Invalid("", "a request has 1 to %d inputs, got %d", inference.MaxEmbedInputs, len(inputs))
	}
	for i, in := range inputs {
		if len(in) == 0 || len(in) > w.traits.MaxTokens {
			return inference.Invalid("", "an input has 1 to %d tokens, input %d has %d", w.traits.MaxTokens, i, len(in))
		}
		for _, t := range in {
			if t < 0 || int(t) >= w.traits.Vocabulary {
				return inference.Invalid("", "token %d of input %d is not in the vocabulary (0..%d)", t, i, w.traits.Vocabulary-1)
			}
		}
	}
	return nil
}

// ended is the error of a request whose context has ended.
func ended(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w before the embeddings were computed", inference.ErrDeadline)
	}
	return inference.ErrCancelled
}

func (w *Worker) submit(r *request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.draining {
		return &inference.RetryError{Err: inference.ErrShutdown}
	}
	if w.queue.size+len(r.inputs) > w.cfg.Queue {
		return &inference.RetryError{
			Err:   fmt.Errorf("%w: %d inputs wait to be embedded, and at most %d may: try again later", inference.ErrBusy, w.queue.size, w.cfg.Queue),
			After: retryAfter,
		}
	}
	w.open[r] = true
	w.queue.push(r)
	w.observe.EmbedQueued(w.queue.size)
	w.wake.Signal()
	return nil
}

// cancel ends r with err, unless it has ended.
func (w *Worker) cancel(r *request, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end(r, err)
	w.abandon()
}

// end ends r once. The caller holds mu.
func (w *Worker) end(r *request, err error) {
	if r.over {
		return
	}
	r.over, r.err = true, err
	if r.next < len(r.inputs) {
		w.queue.remove(r)
		w.observe.EmbedQueued(w.queue.size)
	}
	delete(w.open, r)
	close(r.done)
	if len(w.open) == 0 {
		w.idle.Broadcast()
	}
}

// abandon stops the batch in flight where nobody waits for it. The caller holds
// mu.
func (w *Worker) abandon() {
	for _, i := range w.batch {
		if !i.r.over {
			return
		}
	}
	if len(w.batch) > 0 {
		w.backend.Abort()
	}
}

// run computes batches until the worker is closed.
func (w *Worker) run() {
	defer close(w.stopped)
	var inputs [][]int32
	for w.gather() {
		inputs = inputs[:0]
		tokens := 0
		for _, i := range w.batch {
			inputs = append(inputs, i.tokens())
			tokens += len(i.tokens())
		}
		began := time.Now()
		vectors, err := w.backend.Embed(inputs)
		if err == nil {
			w.observe.EmbedBatch(len(inputs), tokens, time.Since(began))
		}
		w.deliver(vectors, err)
	}
}

// gather waits for inputs and makes a batch of them; false: the worker is closed.
func (w *Worker) gather() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.queue.size == 0 && !w.closed {
		w.wake.Wait()
	}
	if w.closed {
		return false
	}
	fill := min(w.cfg.Fill, w.traits.Batch)
	tokens := 0
	for len(w.batch) < w.traits.Sequences {
		next, ok := w.queue.head()
		if !ok || len(w.batch) > 0 && tokens+len(next.tokens()) > fill {
			break
		}
		tokens += len(next.tokens())
		w.batch = append(w.batch, next)
		w.queue.take()
	}
	w.observe.EmbedQueued(w.queue.size)
	return true
}

// deliver gives out what the batch became.
func (w *Worker) deliver(vectors [][]float32, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && !errors.Is(err, inference.ErrEngine) {
		err = fmt.Errorf("%w: %w", inference.ErrEngine, err)
	}
	if err == nil {
		w.stats.Batches++
		w.stats.Last = time.Now()
	}
	for k, i := range w.batch {
		switch {
		case i.r.over:
		case err != nil:
			w.end(i.r, err)
		default:
			i.r.vectors[i.index] = vectors[k]
			if i.r.left--; i.r.left == 0 {
				w.end(i.r, nil)
			}
		}
	}
	clear(w.batch)
	w.batch = w.batch[:0]
}

// Drain refuses new requests and waits for the others until ctx ends; those that
// are left then end with ErrShutdown.
func (w *Worker) Drain(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.endAll()
	})
	defer stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
	for len(w.open) > 0 {
		w.idle.Wait()
	}
}

// endAll ends every request. The caller holds mu.
func (w *Worker) endAll() {
	w.draining = true
	for r := range w.open {
		w.end(r, &inference.RetryError{Err: inference.ErrShutdown})
	}
	w.abandon()
}

// Close ends what is left with ErrShutdown and the goroutine, and waits for it.
// A second Close does nothing.
func (w *Worker) Close() {
	w.mu.Lock()
	w.closed = true
	w.endAll()
	w.wake.Signal()
	w.mu.Unlock()
	<-w.stopped
}
