package inflight

import (
	"context"
	"sync"
	"time"
)

// Calls are the calls in flight of one owner.
type Calls struct {
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// New returns Calls of which none runs.
func New() *Calls {
	c := &Calls{}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Begin counts a call that may take timeout. Its context ends with ctx, after timeout
// and with Close; done says that the call has ended. After Close the error is
// context.Canceled.
func (c *Calls) Begin(ctx context.Context, timeout time.Duration) (call context.Context, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, context.Canceled
	}
	c.running.Add(1)
	call, cancel := context.WithTimeout(ctx, timeout)
	stop := context.AfterFunc(c.ctx, cancel)
	return call, func() {
		stop()
		cancel()
		c.running.Done()
	}, nil
}

// Closed says whether Close was called.
func (c *Calls) Closed() bool { return c.ctx.Err() != nil }

// Close ends the calls in flight, and waits for them until ctx ends. The error is
// that of ctx.
func (c *Calls) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	ended := make(chan struct{})
	go func() {
		c.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
