package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// Agent wraps models so that their answers may use tools. Its methods are those
// of inference.Models.
type Agent struct {
	inference.Models
	tools  Tools
	config Config
	log    zerolog.Logger
	finder *finder
}

// New returns the models with tools around them.
func New(models inference.Models, tools Tools, c Config, log zerolog.Logger) (*Agent, error) {
	if models == nil || tools == nil {
		return nil, errors.New("agent: the models and the tools are required")
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	return &Agent{Models: models, tools: tools, config: c, log: log, finder: newFinder(models, c.EmbeddingModel, log)}, nil
}

// Acquire leases a model.
func (a *Agent) Acquire(ctx context.Context, id string) (inference.Lease, error) {
	l, err := a.Models.Acquire(ctx, id)
	if err != nil {
		return nil, err
	}
	return &lease{Lease: l, agent: a}, nil
}

// lease is a model that may use tools.
type lease struct {
	inference.Lease
	agent *Agent

	mu    sync.Mutex
	open  []*stream
	turns sync.WaitGroup
}

// Release ends the requests that still run, waits for them, and gives the lease
// back.
func (l *lease) Release() {
	l.mu.Lock()
	open := l.open
	l.open = nil
	l.mu.Unlock()
	for _, s := range open {
		_ = s.Close()
	}
	l.turns.Wait()
	l.Lease.Release()
}

// Embed passes the request on.
func (l *lease) Embed(ctx context.Context, r *inference.EmbedRequest) (*inference.Embeddings, error) {
	return inference.Embed(ctx, l.Lease, r)
}

// Rerank passes the request on.
func (l *lease) Rerank(ctx context.Context, r *inference.RerankRequest) (*inference.Ranking, error) {
	return inference.Rerank(ctx, l.Lease, r)
}

// CountChat counts with the definitions of the hosted tools.
func (l *lease) CountChat(r *inference.ChatRequest) (int, error) {
	if len(r.Hosted) == 0 {
		return l.Lease.CountChat(r)
	}
	o, err := l.offer(context.Background(), r)
	if err != nil {
		return 0, err
	}
	return l.Lease.CountChat(o.request(r))
}

// Chat starts the assistant's next message, for which the server may run tools.
// An error means that nothing was started.
func (l *lease) Chat(ctx context.Context, r *inference.ChatRequest) (inference.Stream, error) {
	if len(r.Hosted) == 0 {
		if len(r.Approved) > 0 {
			return nil, inference.Invalid("input", "approves a call, but the request names no tools of type mcp: send the same tools again")
		}
		return l.Lease.Chat(ctx, r)
	}
	if r.N > 1 {
		return nil, inference.Invalid("n", "must be 1 where the server runs tools, got %d", r.N)
	}
	o, err := l.offer(ctx, r)
	if err != nil {
		return nil, err
	}
	conversation, within := router.ConversationFrom(ctx)
	if !within {
		conversation = "turn-" + rand.Text()
	}
	t := &turn{
		lease: l, offer: o, config: l.agent.config, log: l.agent.log,
		request: o.request(r), conversation: conversation, untrusted: holdsData(r.Messages), seen: map[string]int{}, results: map[string]string{}, left: r.MaxTokens,
	}
	if most := t.config.Tokens; most > 0 && (t.left == 0 || t.left > most) {
		t.left = most
	}
	t.request.MaxTokens = t.left
	if t.pending, err = t.unanswered(r); err != nil {
		return nil, err
	}
	var first inference.Stream
	if len(t.pending) == 0 {
		if first, err = l.Lease.Chat(ctx, t.request); err != nil {
			return nil, err
		}
	}
	return l.start(ctx, t, first), nil
}

// start runs t on a goroutine of its own.
func (l *lease) start(ctx context.Context, t *turn, first inference.Stream) *stream {
	var cancel context.CancelFunc
	if t.config.Timeout > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, t.config.Timeout, inference.ErrDeadline)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	s := newStream(cancel)
	t.out = s
	l.mu.Lock()
	l.open = append(l.open, s)
	l.mu.Unlock()
	l.turns.Go(func() {
		defer cancel()
		err := t.run(ctx, first)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		s.end(err)
	})
	return s
}
