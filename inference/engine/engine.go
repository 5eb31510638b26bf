package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"hearth/inference"
)

// shutdownRetry is when a client may try again after a shutdown: another server,
// or this one restarted, takes about that long.
const shutdownRetry = 5 * time.Second

// Engine schedules the requests of one model's context.
type Engine struct {
	b      Backend
	cfg    Config
	obs    Observer
	traits inference.Traits
	window int

	wake chan struct{} // a letter is in the mailbox
	gone chan struct{} // the loop has returned

	mu       sync.Mutex // guards what follows
	arrivals []*request
	cancels  []cancelled
	open     map[*request]struct{}
	waiting  int // requests that hold a place of the queue
	order    uint64
	draining bool
	closing  bool
	broken   error
	drained  chan struct{} // closed when draining and nothing is open
	service  time.Duration // how long requests take once admitted, smoothed
	stats    Stats
}

type cancelled struct {
	r     *request
	cause error
}

// New starts an engine on b, which it uses until Close has returned and does
// not close. The observer may be nil. A configuration out of its range is an
// *inference.InvalidError.
func New(b Backend, c Config, o Observer) (*Engine, error) {
	e, l, err := assemble(b, c, o)
	if err != nil {
		return nil, err
	}
	go e.run(l)
	return e, nil
}

// assemble makes an engine and its loop, which does not run yet.
func assemble(b Backend, c Config, o Observer) (*Engine, *loop, error) {
	if err := c.Validate(); err != nil {
		return nil, nil, fmt.Errorf("configure engine: %w", err)
	}
	t := b.Traits()
	if t.Cells < 2 || t.Sequences < 1 || t.Sequences > maxSequences || t.Batch < 1 || windowOf(t) < 2 {
		return nil, nil, fmt.Errorf("configure engine: %w", inference.Invalid("context",
			"must give each of 1 to %d sequences at least 2 cells and a batch of at least 1, has %d sequences, %d cells, batch %d", maxSequences, t.Sequences, t.Cells, t.Batch))
	}
	if o == nil {
		o = nobody{}
	}
	c = c.resolve(t)
	e := &Engine{
		b: b, cfg: c, obs: o, traits: t, window: windowOf(t),
		wake: make(chan struct{}, 1), gone: make(chan struct{}),
		open: map[*request]struct{}{}, drained: make(chan struct{}),
	}
	l := newLoop(b, c, o)
	l.mailed = e.mailed
	l.admitted, l.ended, l.publish = e.noteAdmitted, e.noteEnded, func() { e.publish(l) }
	if l.store != nil {
		l.store.OnReady(e.signal)
	}
	e.publish(l)
	return e, l, nil
}

// Submit hands in a request. The stream ends with ErrCancelled or ErrDeadline
// when ctx does. Submit refuses with an *inference.InvalidError, an
// *inference.OverflowError for what could never fit, and an
// *inference.RetryError for ErrBusy and ErrShutdown. It compiles the grammar,
// which may take a while, on the goroutine of the caller.
func (e *Engine) Submit(ctx context.Context, q *Request) (*Stream, error) {
	if err := q.validate(e.traits.Vocabulary, e.window, e.traits.Adapters); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	r := newRequest(q, e.window)
	if err := e.takePlace(r); err != nil {
		return nil, err
	}
	if err := e.makeSamplers(r); err != nil {
		e.givePlace(r)
		return nil, err
	}
	if err := e.post(ctx, r); err != nil {
		return nil, err
	}
	return r.stream, nil
}

// newRequest makes the engine's side of q.
func newRequest(q *Request, window int) *request {
	limit := window
	if q.MaxTokens > 0 {
		limit = len(q.Prompt) + q.MaxTokens
	}
	r := &request{
		Request: q, stream: newStream(), class: classOf(q.Priority), cached: -1,
		submitted: time.Now(),
	}
	for i := range max(q.Choices, 1) {
		c := &choice{req: r, index: i, limit: limit, text: newAssembler(q.Stop, q.Logprobs)}
		c.tokens = append(c.tokens, q.Prompt...)
		r.choices = append(r.choices, c)
	}
	r.open = len(r.choices)
	r.adapters, r.scope.adapters = adapterSet(q.Adapters)
	r.scope.tenant = q.Caller.Tenant
	return r
}

// takePlace gives r a place in the queue. It is taken before the samplers are
// made, so that a flood of grammars is refused early.
func (e *Engine) takePlace(r *request) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.broken != nil:
		return e.failure()
	case e.draining || e.closing:
		return &inference.RetryError{Err: inference.ErrShutdown, After: shutdownRetry}
	case r.probe:
	case e.waiting >= e.cfg.Queue:
		return &inference.RetryError{
			Err:   fmt.Errorf("%w: %d requests wait to be computed, and at most %d may: try again later", inference.ErrBusy, e.waiting, e.cfg.Queue),
			After: e.retryAfter(),
		}
	default:
		e.waiting++
	}
	e.open[r] = struct{}{}
	return nil
}

// givePlace takes back takePlace for a request that never reached the loop.
func (e *Engine) givePlace(r *request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !r.probe {
		e.waiting--
	}
	e.strike(r)
}

// strike takes r off the open requests; the last one ends a drain.
func (e *Engine) strike(r *request) {
	delete(e.open, r)
	if e.draining && len(e.open) == 0 {
		select {
		case <-e.drained:
		default:
			close(e.drained)
		}
	}
}

// retryAfter guesses when a place will be free, from how long requests take.
func (e *Engine) retryAfter() time.Duration {
	d := e.service * time.Duration(e.waiting) / time.Duration(e.cfg.Sequences)
	return min(max(d, time.Second), time.Minute).Round(time.Second)
}

// tenants makes numbers of tenants' names, others in each process.
var tenants = maphash.MakeSeed()

// forced is what is done about text that the grammar of r leaves no choice about.
func (e *Engine) forced(r *request) inference.ForcedText {
	if r.Grammar == nil {
		return inference.ForcedOff
	}
	return cmp.Or(r.Forced, e.cfg.Forced.Mode)
}

// foresee is how many tokens of it are guessed at most behind one token.
func (e *Engine) foresee(r *request) int {
	if e.forced(r) == inference.ForcedOff {
		return 0
	}
	return min(e.cfg.Forced.Tokens, mostForeseen)
}

// makeSamplers makes one sampler for each choice.
func (e *Engine) makeSamplers(r *request) error {
	seed := randomSeed()
	if r.Sampling.Seed != nil {
		seed = *r.Sampling.Seed
	}
	for i, c := range r.choices {
		s, err := e.b.NewSampler(&inference.SamplerSpec{
			Sampling: r.Sampling, Seed: seed + uint32(i), Grammar: r.Grammar,
			Logprobs: r.Logprobs, TopLogprobs: r.TopLogprobs,
			Foresee: e.foresee(r), Append: e.forced(r) == inference.ForcedAppend,
			Scope:   maphash.String(tenants, r.Caller.Tenant),
			History: r.Prompt[max(len(r.Prompt)-r.Sampling.LookBack(), 0):],
		})
		if err != nil {
			for _, c := range r.choices[:i] {
				closeSampler(c)
			}
			return fmt.Errorf("create sampler: %w", err)
		}
		c.sampler = s
	}
	return nil
}

// post hands r to the loop and sets the watches that can end it early.
func (e *Engine) post(ctx context.Context, r *request) error {
	r.stream.cancel = func(err error) { e.cancel(r, err) }
	quit := func(err error) {
		if r.stream.finish(err) {
			e.cancel(r, err)
		}
	}
	deadline := r.Deadline
	if deadline.IsZero() && e.cfg.Deadline > 0 {
		deadline = r.submitted.Add(e.cfg.Deadline)
	}
	e.mu.Lock()
	closed := e.closing || e.broken != nil
	if !closed {
		// Under the lock: a watch that fires at once must find r posted.
		var timer *time.Timer
		if !deadline.IsZero() {
			timer = time.AfterFunc(time.Until(deadline), func() { quit(inference.ErrDeadline) })
		}
		unwatch := context.AfterFunc(ctx, func() { quit(contextError(ctx)) })
		r.release = func() {
			unwatch()
			if timer != nil {
				timer.Stop()
			}
		}
		e.order++
		r.order = e.order
		e.arrivals = append(e.arrivals, r)
		e.b.Hold(true)
	}
	e.mu.Unlock()
	if closed {
		for _, c := range r.choices {
			closeSampler(c)
		}
		e.givePlace(r)
		return &inference.RetryError{Err: inference.ErrShutdown, After: shutdownRetry}
	}
	e.signal()
	return nil
}

// contextError names the end of ctx as a client sees it.
func contextError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return inference.ErrDeadline
	}
	return inference.ErrCancelled
}

func (e *Engine) cancel(r *request, cause error) {
	e.mu.Lock()
	e.cancels = append(e.cancels, cancelled{r, cause})
	e.b.Hold(true)
	e.mu.Unlock()
	e.signal()
}

func (e *Engine) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run is the loop's goroutine.
func (e *Engine) run(l *loop) {
	defer close(e.gone)
	defer func() {
		if p := recover(); p != nil {
			e.breakDown(p)
		}
	}()
	for e.turn(l) {
	}
	l.shutDown()
	e.publish(l)
}

// turn empties the mailbox, does one step, and sleeps if there was nothing to
// do. After a step that went ahead the mailbox waits. It is false when the engine
// is closing.
func (e *Engine) turn(l *loop) bool {
	if !l.ahead && !e.collect(l) {
		return false
	}
	worked := l.step()
	e.publish(l)
	if !worked {
		<-e.wake
	}
	return true
}

// mailed reports whether there is a letter in the mailbox.
func (e *Engine) mailed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.arrivals) > 0 || len(e.cancels) > 0 || e.closing
}

// collect takes the letters out of the mailbox.
func (e *Engine) collect(l *loop) bool {
	e.mu.Lock()
	arrivals, cancels := e.arrivals, e.cancels
	closing := e.closing
	e.arrivals, e.cancels = nil, nil
	e.b.Hold(false)
	e.mu.Unlock()
	for _, r := range arrivals {
		l.enqueue(r)
	}
	for _, c := range cancels {
		l.abandon(c.r, c.cause)
	}
	return !closing
}
