package mcpserver

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"hearth/inference"
)

// work is something that a connector does for a client: a call of a tool, or the
// filling in of a prompt. It runs on a goroutine of its own, and what it tells and
// asks meanwhile is written by the goroutine of the message that attends it. In
// protocol 2026-07-28 the answers to what it asks come with another message: until
// then nobody attends it, and it waits.
type work struct {
	key    string // what it is, and for whom: a message must match to attend it
	queue  *progressQueue
	peer   *asker // nil: the client cannot be asked
	done   chan struct{}
	cancel context.CancelCauseFunc

	// Set before done is closed.
	result any
	err    error

	asked *asking // what it waits for while nobody attends it
}

// start begins work. It ends at the latest when ctx does, or, with later set, when
// nobody has come back for it at its own deadline.
func (s *Server) start(ctx context.Context, key string, p *asker, later bool, do func(context.Context, *work) (any, error)) *work {
	if later {
		ctx = context.WithoutCancel(ctx)
	}
	w := &work{key: key, peer: p, queue: &progressQueue{ready: make(chan struct{}, 1)}, done: make(chan struct{})}
	ctx, w.cancel = context.WithCancelCause(ctx)
	s.hub.ending.Go(func() {
		defer w.cancel(nil)
		w.result, w.err = do(ctx, w)
		close(w.done)
		s.parked.remove(w)
	})
	return w
}

// attend writes what w tells and asks until it is done. With a state the client is to
// come again with the answers.
func (s *Server) attend(ctx context.Context, c *call, w *work) (required *mcp.MultiRoundTripResult, err error) {
	var asks chan *asking
	if w.peer != nil {
		asks = w.peer.asks
	}
	var ids []string
	if q := c.questions(); q != nil {
		defer func() { q.drop(ids) }()
	}
	give := func(err error) error { // the client is gone
		w.cancel(err)
		<-w.done
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil, give(cancelCause(ctx))
		case <-w.queue.ready:
			if err := w.queue.write(c); err != nil {
				return nil, give(errors.Join(inference.ErrCancelled, err))
			}
		case a := <-asks:
			if !server.IsModernRequest(ctx) {
				more, err := a.send(c)
				ids = append(ids, more...)
				if err != nil {
					return nil, give(err)
				}
				continue
			}
			if err := w.queue.write(c); err != nil {
				return nil, give(errors.Join(inference.ErrCancelled, err))
			}
			w.asked = a
			state := s.parked.put(w)
			r, err := a.required(state)
			if err != nil {
				s.parked.remove(w)
				return nil, give(err)
			}
			return &r, nil
		case <-w.done:
			if err := w.queue.write(c); err != nil {
				return nil, errors.Join(inference.ErrCancelled, err)
			}
			return nil, nil
		}
	}
}

// again returns the work that a client comes back for with the state that it was
// given, and hands it the answers.
func (s *Server) again(state, key string, given mcp.InputResponses) (*work, error) {
	w := s.parked.take(state, key)
	if w == nil {
		return nil, inference.Invalid("params.requestState", "is not one that was given for this request, or what waited for it has ended: make the request anew, without it")
	}
	got := responses(given)
	for name := range w.asked.questions {
		w.asked.answer(name, got[name], nil)
	}
	w.asked = nil
	return w, nil
}

// parked is work that waits for its client to come back, by its state. A state is
// random and good for one message. It is safe for concurrent use.
type parked struct {
	mu     sync.Mutex
	all    map[string]*work
	closed bool
}

func newParked() *parked { return &parked{all: map[string]*work{}} }

func (p *parked) put(w *work) (state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state = rand.Text()
	select {
	case <-w.done: // it is over: nobody finds it
	default:
		p.all[state] = w
		if p.closed {
			w.cancel(inference.ErrShutdown)
		}
	}
	return state
}

func (p *parked) take(state, key string) *work {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.all[state]
	if w == nil || w.key != key {
		return nil
	}
	delete(p.all, state)
	return w
}

func (p *parked) remove(w *work) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for state, one := range p.all {
		if one == w {
			delete(p.all, state)
		}
	}
}

// close ends all that waits, and what is yet to wait.
func (p *parked) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, w := range p.all {
		w.cancel(inference.ErrShutdown)
	}
}
