package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// pingTimeout is how long a server that let a call run into its deadline gets to
// show that it is there.
const pingTimeout = 5 * time.Second

// calls are the calls in flight, by the token that their progress is told with.
type calls struct {
	mu   sync.Mutex
	next uint64
	by   map[string]*running
}

// running is one of them.
type running struct {
	call *router.Call
	// sampled says that a sampling led to the call.
	sampled bool
	last    float64
	end     context.CancelCauseFunc
}

func newCalls() *calls { return &calls{by: map[string]*running{}} }

func (c *calls) add(r *running) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	token := fmt.Sprintf("c%d", c.next)
	c.by[token] = r
	return token
}

func (c *calls) remove(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.by, token)
}

// end ends all calls, for what they need is refused.
func (c *calls) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.by {
		one.end(&refused{err})
	}
}

// refused is why calls that were let in cannot go on.
type refused struct{ error }

func (r *refused) Unwrap() error { return r.error }

// progress passes on what a server says about a call. Under the lock, so that
// nothing is told when the call has returned.
func (c *calls) progress(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
	token, ok := r.Params.ProgressToken.(string)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.by[token]
	if one == nil || r.Params.Progress <= one.last {
		return
	}
	one.last = r.Params.Progress
	one.call.Progress(router.Progress{Progress: r.Params.Progress, Total: max(0, r.Params.Total), Message: cut(r.Params.Message, maxMessageBytes)})
}

type callKey struct{}

// asking returns the call that a server asks something for. In the newer protocol
// that is the call whose result asks. In the older ones a server does not say; it
// is clear only where all calls in flight are of one principal.
func (c *calls) asking(ctx context.Context) *running {
	if one, ok := ctx.Value(callKey{}).(*running); ok {
		return one
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var found *running
	for _, one := range c.by {
		if found != nil && (found.call.Principal != one.call.Principal || found.call.Tenant != one.call.Tenant || found.call.Peer != one.call.Peer) {
			return nil
		}
		if found == nil || one.sampled {
			found = one
		}
	}
	return found
}

// Run calls a tool of the server.
func (u *Upstream) Run(ctx context.Context, c *router.Call) (*router.Result, error) {
	if _, err := u.theirs(c.Tool); err != nil {
		return nil, err
	}
	l, err := u.use(ctx)
	if err != nil {
		return nil, u.refusal(err)
	}
	defer l.leave()
	// What the session just learnt may have put the tool on hold.
	theirs, err := u.theirs(c.Tool)
	if err != nil {
		return nil, err
	}
	_, sampled := ctx.Value(samplingKey{}).(bool)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	one := &running{call: c, sampled: sampled, last: -1, end: end}
	token := u.calls.add(one)
	defer u.calls.remove(token)
	p := &mcp.CallToolParams{Name: theirs, Arguments: json.RawMessage(c.Arguments), Meta: mcp.Meta{}}
	if len(c.Arguments) == 0 {
		p.Arguments = json.RawMessage("{}")
	}
	p.SetProgressToken(token)
	r, err := l.session.CallTool(context.WithValue(ctx, callKey{}, one), p)
	if err != nil {
		return nil, u.failure(ctx, l, err)
	}
	return result(r)
}

// refusal puts into words for the model what only a person can mend.
func (u *Upstream) refusal(err error) error {
	if errors.Is(err, ErrLogin) {
		return &router.ToolError{Message: "the server " + u.label + " needs a login: run \"hearth tools login " + u.label + "\""}
	}
	return err
}

// failure says what a call's error means: what the server refused is for the
// model, what failed on the way there is the connector's.
func (u *Upstream) failure(ctx context.Context, l *live, err error) error {
	var no *refused
	if errors.As(context.Cause(ctx), &no) {
		return u.refusal(fmt.Errorf("go on with a call: %w", no.error))
	}
	if ctx.Err() != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			u.suspect(l)
		}
		return caused(ctx, ctx.Err())
	}
	var answer *jsonrpc.Error
	switch {
	case errors.Is(err, ErrLogin):
		return u.refusal(err)
	case errors.As(err, &answer) && answer.Code != codeUnsent && !errors.Is(err, mcp.ErrConnectionClosed):
		return &router.ToolError{Message: "the server answered with an error: " + cut(answer.Message, maxMessageBytes)}
	case errors.Is(err, mcp.ErrConnectionClosed), errors.Is(err, mcp.ErrSessionMissing), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		u.drop(l)
	}
	return fmt.Errorf("call the MCP server: %w", err)
}

// codeUnsent is the code of the SDK's own error for what its transport could not send,
// or does not know whether it did.
const codeUnsent = -32005

// suspect asks a server that did not answer in time whether it is there, and ends
// the session if not.
func (u *Upstream) suspect(l *live) {
	u.spawn(func() {
		ctx, cancel := context.WithTimeout(u.ctx, pingTimeout)
		defer cancel()
		var err error
		if l.process != nil || l.session.ID() != "" {
			err = l.session.Ping(ctx, nil)
		}
		var answer *jsonrpc.Error
		if err != nil && !errors.As(err, &answer) {
			u.log.Warn().Err(err).Msg("an MCP server does not answer and is given up")
			u.drop(l)
		}
	})
}

// maxMessageBytes bounds what a server says in passing.
const maxMessageBytes = 2 << 10

// cut makes a text valid and at most so long.
func cut(text string, n int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + " [cut]"
}

// caller says on whose behalf a call is made.
func (r *running) caller() inference.Caller {
	return inference.Caller{Principal: r.call.Principal, Tenant: r.call.Tenant}
}
