package httpserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/rs/zerolog"
	"github.com/rs/zerolog/hlog"
)

// RequestIDHeader carries the id of a request, in and out.
const RequestIDHeader = "X-Request-Id"

// requestID takes the client's id if it is a sane one, else makes one. It is
// put where others look for it: the header of request and answer, chi's key in
// the context, the fields of the request's log.
func requestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(RequestIDHeader)
		if !saneID(id) {
			id = rand.Text()
			r.Header.Set(RequestIDHeader, id)
		}
		w.Header().Set(RequestIDHeader, id)
		zerolog.Ctx(r.Context()).UpdateContext(func(c zerolog.Context) zerolog.Context { return c.Str("request_id", id) })
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), middleware.RequestIDKey, id)))
	})
}

// saneID accepts ids that are harmless in logs: up to 128 letters, digits and -_.:
func saneID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}

// RequestID returns the id of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string { return middleware.GetReqID(ctx) }

// accessLog writes one line for each request when it is over and hands method,
// route, status and duration to observe.
func accessLog(observe func(method, route string, status int, d time.Duration)) func(http.Handler) http.Handler {
	return hlog.AccessHandler(func(r *http.Request, status, size int, d time.Duration) {
		route := chi.RouteContext(r.Context()).RoutePattern()
		if route == "" {
			route = "none"
		}
		method := r.Method
		if !knownMethods[method] {
			method = "other" // a client must not make labels
		}
		if status == 0 {
			status = http.StatusOK
		}
		if observe != nil {
			observe(method, route, status, d)
		}
		hlog.FromRequest(r).Info().Str("method", method).Str("path", r.URL.Path).Str("route", route).
			Int("status", status).Int("bytes", size).Dur("duration_ms", d).Str("remote", r.RemoteAddr).Msg("http")
	})
}

var knownMethods = map[string]bool{"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "OPTIONS": true}

// recoverer turns a panic of a handler into a 500 and a line in the log.
func recoverer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v) // asked for: the server cuts the connection
			}
			hlog.FromRequest(r).Error().Str("panic", fmt.Sprint(v)).Str("stack", string(debug.Stack())).Msg("a handler panicked")
			// If the answer had begun this adds nothing to it that a client
			// could take for its end.
			Refuse(w, http.StatusInternalServerError, "internal_error", "internal error; the server's log has the details under this request's id")
		}()
		next.ServeHTTP(w, r)
	})
}

// limits bounds the body, the time it takes to arrive, and each write. Streams
// may last as long as they like: the body's deadline ends with the body, and
// every write has a new one.
func limits(maxBody int64, bodyTimeout, writeTimeout time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w = newTimedWriter(w, writeTimeout)
			if r.ContentLength > maxBody {
				// Nothing of it is read. The route says so in its own dialect, and
				// keeps a record where it keeps one of everything.
				w.Header().Set("Connection", "close")
				r.Body = tooLarge{limit: maxBody}
			} else if r.ContentLength != 0 {
				rc := http.NewResponseController(w)
				if err := rc.SetReadDeadline(time.Now().Add(bodyTimeout)); err == nil {
					r.Body = &timedBody{ReadCloser: r.Body, done: func() { _ = rc.SetReadDeadline(time.Time{}) }}
				}
				r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			}
			next.ServeHTTP(w, r)
		})
	}
}

// timedWriter gives each write a deadline of its own, so that a client that
// stops reading does not hold a handler for ever. A handler that sets a deadline
// itself is left to it until it lifts it again: one per write is enough.
type timedWriter struct {
	http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
	own     bool // the handler has set a deadline
}

func newTimedWriter(w http.ResponseWriter, timeout time.Duration) *timedWriter {
	t := &timedWriter{ResponseWriter: w, rc: http.NewResponseController(w), timeout: timeout}
	// The connection may still have the deadline of the request before.
	_ = t.rc.SetWriteDeadline(time.Time{}) // not every writer has deadlines
	return t
}

// SetWriteDeadline takes the handler's deadline; http.ResponseController calls
// it. The zero time lifts it.
func (t *timedWriter) SetWriteDeadline(deadline time.Time) error {
	t.own = !deadline.IsZero()
	return t.rc.SetWriteDeadline(deadline)
}

func (t *timedWriter) renew() {
	if !t.own {
		_ = t.rc.SetWriteDeadline(time.Now().Add(t.timeout))
	}
}

// Write writes under the handler's deadline or a new one.
func (t *timedWriter) Write(p []byte) (int, error) {
	t.renew()
	return t.ResponseWriter.Write(p)
}

// FlushError flushes likewise; http.ResponseController calls it.
func (t *timedWriter) FlushError() error {
	t.renew()
	return t.rc.Flush()
}

// Flush is FlushError for those who look for http.Flusher.
func (t *timedWriter) Flush() { _ = t.FlushError() }

// Unwrap lets an http.ResponseController reach the connection.
func (t *timedWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// timedBody lifts the read deadline when the body is complete, else the
// connection would be cut in the middle of a long answer.
type timedBody struct {
	io.ReadCloser
	done func()
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.done()
	}
	return n, err
}

// tooLarge is a body that was declared larger than the limit.
type tooLarge struct{ limit int64 }

func (b tooLarge) Read([]byte) (int, error) { return 0, &http.MaxBytesError{Limit: b.limit} }
func (tooLarge) Close() error               { return nil }

// Refuse answers with an error in the form that clients of the API know.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	kind := "invalid_request_error"
	if status >= 500 {
		kind = "server_error"
	}
	body, err := json.Marshal(map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": code}})
	if err != nil {
		panic(err) // strings always marshal
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
