package mcpserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"hearth/inference"
)

// stdioGrace is how long calls may go on when the input has ended: a client
// that writes its requests and closes its end still gets the answers, one that
// died does not keep the model busy for long.
const stdioGrace = time.Minute

var errInputEnded = fmt.Errorf("the input ended more than %v ago: %w", stdioGrace, inference.ErrCancelled)

// ServeStdio serves one client that writes a message a line to in and reads
// messages from out. It returns nil when in ends and the calls that it began
// are answered, the cause when ctx ends, or the error of reading or writing. A
// goroutine that waits in in.Read ends when that returns.
func (s *Server) ServeStdio(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &stdioConn{server: s, out: out, running: newRunning(s.config.MaxCallsPerSession), fail: cancel, over: make(chan struct{}), questions: newQuestions()}
	c.outlet = s.hub.open()
	defer c.outlet.close()
	// A failed write ends the connection, and with it this.
	c.calls.Go(func() { _ = c.outlet.deliver(ctx, c.over, c.write, nil, nil) })

	c.learned = sync.OnceValue(func() <-chan struct{} { return c.learn(ctx) })

	lines := make(chan line)
	go readLines(ctx, in, int(s.config.MaxBodyBytes), lines)
	err := c.serve(ctx, lines)
	close(c.over)
	if err == nil {
		late := time.AfterFunc(stdioGrace, func() { cancel(errInputEnded) })
		defer late.Stop()
	} else {
		cancel(err)
	}
	c.calls.Wait()
	switch cause := context.Cause(ctx); {
	case err != nil && ctx.Err() == nil:
		return err
	case cause == nil || errors.Is(cause, errInputEnded):
		return nil
	default:
		return cause
	}
}

// stdioConn is the connection to the one client.
type stdioConn struct {
	server  *Server
	running *running
	calls   sync.WaitGroup
	fail    context.CancelCauseFunc
	outlet  *outlet       // what the client is to hear of changes
	over    chan struct{} // closed when the input has ended

	learned func() <-chan struct{} // closed when lists need not wait for connectors any more

	questions *questions // what the client was asked, in the middle of calls
	level     logLevel

	mu  sync.Mutex
	out io.Writer
}

// line is a message, or why there is none.
type line struct {
	data    []byte
	tooLong bool
	err     error // the last line: io.EOF or what reading failed with
}

// readLines sends every line of in, until ctx ends or in does. No line takes
// more memory than limit.
func readLines(ctx context.Context, in io.Reader, limit int, lines chan<- line) {
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		var next line
		for {
			part, err := r.ReadSlice('\n')
			if len(next.data)+len(part) > limit+1 { // the line break is not the message's
				next.data, next.tooLong = nil, true
			}
			if !next.tooLong {
				next.data = append(next.data, part...)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				next.err = err
				break
			}
		}
		next.data = bytes.TrimSpace(next.data)
		select {
		case lines <- next:
		case <-ctx.Done():
			return
		}
		if next.err != nil {
			return
		}
	}
}

// serve takes messages until the input ends (nil), ctx ends or reading fails.
func (c *stdioConn) serve(ctx context.Context, lines <-chan line) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case l := <-lines:
			if l.tooLong {
				c.refuse("", mcp.INVALID_REQUEST, fmt.Sprintf("the message has more than %d bytes, the most that is read here (server.max_body): send less at once", c.server.config.MaxBodyBytes))
			} else if len(l.data) > 0 {
				c.take(ctx, l.data)
			}
			if errors.Is(l.err, io.EOF) {
				return nil
			}
			if l.err != nil {
				return fmt.Errorf("read a message: %w", l.err)
			}
		}
	}
}

// take begins to handle one message. Calls are filed, and cancelled, in the
// order of the messages, so a cancellation always finds the call it names.
func (c *stdioConn) take(ctx context.Context, data []byte) {
	msg, err := decode(data)
	if err != nil {
		var pe *protocolError
		errors.As(err, &pe)
		c.refuse(pe.id, pe.code, pe.message)
		return
	}
	if msg.kind != kindRequest {
		if msg.cancels != "" {
			c.running.cancel(msg.cancels)
		}
		if msg.kind == kindResponse {
			c.questions.answered(msg)
		}
		return
	}
	k := newCall(msg, nil)
	k.emit, k.conn, k.until = c.write, c, c.over
	ctx, cancel := context.WithCancelCause(ctx)
	if err := c.running.begin(msg.id, cancel); err != nil {
		cancel(nil)
		k.failure = failed(err)
		c.server.tell(ctx, k)
		_ = c.write(k.failure.response(msg.id)) // a failed write ends the connection
		return
	}
	c.calls.Go(func() {
		defer cancel(nil)
		c.handle(ctx, k)
	})
}

func (c *stdioConn) handle(ctx context.Context, k *call) {
	if lists(k.msg.method) {
		select {
		case <-c.learned():
		case <-ctx.Done():
		}
	}
	m := c.server.mcp
	response := m.HandleMessage(m.WithContext(withCall(ctx, k), k), k.msg.raw)
	c.running.end(k.msg.id) // before the answer: with it the id is free again
	cause := error(nil)
	if ctx.Err() != nil {
		cause = cancelCause(ctx)
		k.failure = failed(cause)
	}
	c.server.tell(ctx, k)
	if errors.Is(cause, inference.ErrCancelled) {
		return // a cancelled call is not answered
	}
	data, err := json.Marshal(response)
	if err != nil {
		c.server.log.Error().Err(err).Str("method", k.msg.method).Msg("mcp response cannot be encoded")
		k.failure = failed(err)
	}
	if data, err = k.finish(data); err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.msg.method == string(mcp.MethodInitialize) && k.failure == nil {
		c.outlet.want(allLists) // what comes of it waits for the lock, behind the answer
	}
	_ = c.put(data) // a failed write ends the connection
}

func (c *stdioConn) refuse(id string, code int, text string) {
	f := failure{code: code, message: text}
	_ = c.write(f.response(id)) // a failed write ends the connection
}

// write writes one message. A client that cannot be written to is gone.
func (c *stdioConn) write(data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(data)
}

// put writes one message. The lock is held.
func (c *stdioConn) put(data []byte) error {
	if _, err := c.out.Write(append(data[:len(data):len(data)], '\n')); err != nil {
		err = fmt.Errorf("write a message: %w", err)
		c.fail(err)
		return err
	}
	return nil
}

// cancelCause returns why ctx ended, as a client may read it.
func cancelCause(ctx context.Context) error {
	cause := context.Cause(ctx)
	if inference.Classify(cause).HTTP == 500 {
		return inference.ErrCancelled
	}
	return cause
}
