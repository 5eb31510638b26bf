package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"hearth/inference"
)

// maxBatch bounds the bytes that are gathered before a write.
const maxBatch = 32 << 10

// eventWriter writes server-sent events. It gathers what is ready and writes it
// at once; the response starts with the first write, so that an error before it
// still has its own status.
type eventWriter struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
	started bool
	buf     bytes.Buffer
	enc     *json.Encoder
}

func newEventWriter(w http.ResponseWriter, timeout time.Duration) *eventWriter {
	e := &eventWriter{w: w, rc: http.NewResponseController(w), timeout: timeout}
	e.enc = json.NewEncoder(&e.buf)
	e.enc.SetEscapeHTML(false)
	return e
}

// data adds an event; encoding/json ends it with one of its two line breaks.
func (e *eventWriter) data(v any) error {
	e.buf.WriteString("data: ")
	if err := e.enc.Encode(v); err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	e.buf.WriteByte('\n')
	return nil
}

// named adds an event with a name.
func (e *eventWriter) named(name string, v any) error {
	e.buf.WriteString("event: " + name + "\n")
	return e.data(v)
}

// flush sends what was added, under a deadline of its own.
func (e *eventWriter) flush() error {
	if e.buf.Len() == 0 {
		return nil
	}
	if !e.started {
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no") // proxies must pass events on at once
		e.started = true
	}
	if err := e.rc.SetWriteDeadline(time.Now().Add(e.timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := e.w.Write(e.buf.Bytes()); err != nil {
		return err
	}
	e.buf.Reset()
	if err := e.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// done lifts the deadline, which would outlive the response on a kept-alive
// connection.
func (e *eventWriter) done() { _ = e.rc.SetWriteDeadline(time.Time{}) }

// chunker turns events into the chunks of a dialect. It belongs to one stream,
// and may use the memory of a chunk again for the next.
type chunker interface {
	// chunks adds to e what ev means; nothing, if it has no place.
	chunks(e *eventWriter, ev *inference.Event) error
	// showsProgress says whether chunks makes something of progress.
	showsProgress() bool
	// end adds what a dialect writes behind the last event.
	end(e *eventWriter)
	// fail adds the error that a stream ends with which has begun.
	fail(e *eventWriter, body errorBody) error
}

// chatEnd is how chats and completions end.
type chatEnd struct{}

func (chatEnd) end(e *eventWriter) { e.buf.WriteString("data: [DONE]\n\n") }

func (chatEnd) fail(e *eventWriter, body errorBody) error {
	return e.data(errorEnvelope{Error: body})
}

// errClient marks a failure to write: the client is gone or too slow.
var errClient = errors.New("the client does not read")

// stream sends the events of s as they come.
func (a *API) stream(w http.ResponseWriter, r *http.Request, s inference.Stream, c chunker) {
	// The request's context ends when the client goes, also while a write waits.
	stop := context.AfterFunc(r.Context(), func() { _ = s.Close() })
	defer stop()
	defer s.Close()

	e := newEventWriter(w, a.cfg.WriteTimeout)
	err := a.pump(r.Context(), e, s, c)
	switch {
	case err == nil:
		e.done()
	case r.Context().Err() != nil || errors.Is(err, errClient):
		a.cfg.Log.Debug().Err(err).Str("request_id", requestID(r)).Msg("the client left a stream")
	case !e.started:
		a.fail(w, r, err)
	default:
		status := a.classify(r, err)
		if c.fail(e, body(&status)) == nil && e.flush() == nil {
			e.done()
		}
	}
}

// pump writes events until the last; nil: all is written.
func (a *API) pump(ctx context.Context, e *eventWriter, s inference.Stream, c chunker) error {
	wait := &patience{ctx: ctx, every: a.cfg.PingInterval}
	defer wait.end()
	var ev inference.Event // one for the whole stream, as chunks takes its address
	var err error
	for {
		ev, err = wait.next(e, s, c.showsProgress())
		for err == nil {
			if err := c.chunks(e, &ev); err != nil {
				return err
			}
			if e.buf.Len() >= maxBatch {
				break
			}
			// What is ready already goes into the same write. Where nothing is,
			// next waits; where the request was cancelled, next says so.
			if ev, err = s.Next(past); errors.Is(err, context.Canceled) {
				err = nil
				break
			}
		}
		last := errors.Is(err, io.EOF)
		if last {
			c.end(e)
			err = nil
		}
		if werr := clientError(e.flush()); werr != nil {
			return werr
		}
		if last || err != nil {
			return err
		}
	}
}

// patience waits for events and keeps the connection alive meanwhile. The
// context that ends a wait, with the timer in it, serves many events: a new one
// is made when its time has come, which is once an interval, not once an event.
type patience struct {
	ctx   context.Context // of the request
	every time.Duration   // silence that ends in a ping
	wait  context.Context // ends no later than a ping is due; nil before the first wait
	stop  context.CancelFunc
}

// until returns a context that ends at due or before.
func (p *patience) until(due time.Time) context.Context {
	if p.wait == nil || p.wait.Err() != nil {
		p.end()
		p.wait, p.stop = context.WithDeadlineCause(p.ctx, due, errPing)
	}
	return p.wait
}

// end stops the timer.
func (p *patience) end() {
	if p.stop != nil {
		p.stop()
	}
}

// next waits for an event. Progress of the prompt that is not shown writes
// nothing, so it does not put a ping off.
func (p *patience) next(e *eventWriter, s inference.Stream, shown bool) (inference.Event, error) {
	due := time.Now().Add(p.every)
	for {
		ev, err := s.Next(p.until(due))
		hidden := err == nil && ev.Kind == inference.EventProgress && !shown
		ended := errors.Is(err, context.DeadlineExceeded) && errors.Is(context.Cause(p.wait), errPing)
		if !hidden && !ended {
			return ev, err
		}
		if time.Now().Before(due) {
			continue // the wait began before the last write
		}
		e.buf.WriteString(": ping\n\n")
		if err := clientError(e.flush()); err != nil {
			return ev, err
		}
		due = time.Now().Add(p.every)
	}
}

var (
	errPing = errors.New("time for a ping")
	// past is a context that has ended: Next returns with it what is ready.
	past = func() context.Context {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return ctx
	}()
)

func clientError(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errClient, err)
}
