package mcpserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/rs/zerolog"
)

// maxSessionIDBytes bounds the Mcp-Session-Id header that is looked at.
const maxSessionIDBytes = 256

// endpoint is the HTTP side: it lets through to mcp-go only what the strict
// decoder accepted from an origin and a session that may, and it writes what
// mcp-go answers. mcp-go never holds the connection, so nothing that it does in
// other goroutines can come between the progress of a call and its result.
type endpoint struct {
	transport *server.StreamableHTTPServer
	sessions  *sessions
	hub       *hub
	origins   origins
	maxBody   int64
	log       zerolog.Logger
	tell      func(context.Context, *call)
	callTool  func(context.Context, *call, http.Header) []byte
}

func newEndpoint(s *Server) (*endpoint, error) {
	m, c := s.mcp, &s.config
	allowed, err := newOrigins(c.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	e := &endpoint{
		hub:      s.hub,
		sessions: &sessions{mcp: m, hub: s.hub, maxCalls: c.MaxCallsPerSession, byID: map[string]*session{}},
		origins:  allowed,
		maxBody:  c.MaxBodyBytes,
		log:      c.Log,
		tell:     s.tell,
		callTool: s.callTool,
	}
	e.transport = server.NewStreamableHTTPServer(m,
		server.WithSessionIdManagerResolver(e.sessions),
		server.WithDisableStreaming(true),
		server.WithHTTPContextFunc(func(ctx context.Context, _ *http.Request) context.Context {
			return m.WithContext(ctx, callFrom(ctx))
		}),
		server.WithStreamableHTTPLogger(slogger(c.Log)),
	)
	return e, nil
}

// ServeHTTP implements http.Handler.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !e.origins.allow(r) {
		e.log.Warn().Str("origin", fmt.Sprintf("%.200s", r.Header.Get("Origin"))).Msg("mcp request from a foreign origin refused")
		refuse(w, http.StatusForbidden, "", mcp.INVALID_REQUEST, "this Origin may not use the server; the operator can add it to the allowed origins")
		return
	}
	switch r.Method {
	case http.MethodPost:
		e.post(w, r)
	case http.MethodDelete:
		e.delete(w, r)
	case http.MethodGet:
		e.get(w, r)
	default:
		w.Header().Set("Allow", "POST, DELETE")
		refuse(w, http.StatusMethodNotAllowed, "", mcp.INVALID_REQUEST, r.Method+" has no meaning here: send messages by POST, end a session by DELETE")
	}
}

func (e *endpoint) post(w http.ResponseWriter, r *http.Request) {
	if !isJSON(r.Header.Get("Content-Type")) {
		refuse(w, http.StatusUnsupportedMediaType, "", mcp.INVALID_REQUEST, "Content-Type must be application/json")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, e.maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			refuse(w, http.StatusRequestEntityTooLarge, "", mcp.INVALID_REQUEST, fmt.Sprintf("the message has more than %d bytes, the most that is read here (server.max_body): send less at once", e.maxBody))
			return
		}
		refuse(w, http.StatusBadRequest, "", mcp.PARSE_ERROR, "the message ended early")
		return
	}
	msg, err := decode(body)
	if err != nil {
		var pe *protocolError
		errors.As(err, &pe)
		refuse(w, pe.status, pe.id, pe.code, pe.message)
		return
	}
	modern := mcp.IsModernProtocol(msg.version) || mcp.IsModernProtocol(r.Header.Get(mcp.HeaderProtocolVersion))
	var s *session
	if id, ok := sessionID(r); ok && !modern && msg.method != string(mcp.MethodInitialize) {
		if s, err = e.sessions.find(id, callerOf(r.Context())); err != nil {
			e.tell(r.Context(), newCall(msg, nil))
			refuse(w, http.StatusNotFound, msg.id, mcp.INVALID_REQUEST, err.Error())
			return
		}
	}
	e.handle(w, r, newCall(msg, s), modern)
}

// isJSON reads a Content-Type.
func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == "application/json"
}

// handle passes one message to mcp-go, or a call to its tool, and writes the answer.
func (e *endpoint) handle(w http.ResponseWriter, r *http.Request, c *call, modern bool) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	reply := newReply(w, r)
	if reply.accepts {
		c.emit, c.tick = reply.event, reply.comment
	}
	ended := func() {}
	switch c.msg.kind {
	case kindNotification:
		// Without a session a cancellation names nobody's call for certain:
		// there the client closes the stream of the call instead.
		if c.msg.cancels != "" && c.session != nil {
			c.session.running.cancel(c.msg.cancels)
		}
	case kindRequest:
		if c.session != nil {
			if err := c.session.running.begin(c.msg.id, cancel); err != nil {
				c.failure = failed(err)
				e.tell(ctx, c)
				reply.result(c.failure.status(modern), nil, c.failure.response(c.msg.id))
				return
			}
			ended = sync.OnceFunc(func() { c.session.running.end(c.msg.id) })
			defer ended()
		}
	case kindResponse:
		if c.session != nil {
			c.session.questions.answered(c.msg)
			w.WriteHeader(http.StatusAccepted)
			return
		}
		// Without a session nobody was asked; mcp-go says what becomes of it.
	}

	var answer recorder
	if c.direct(r, modern) {
		body := e.callTool(ctx, c, r.Header)
		if ctx.Err() == nil {
			answer.Header().Set("Content-Type", "application/json")
			_, _ = answer.Write(body) // into memory
		}
	} else {
		e.transport.Handle(&answer, &server.HTTPRequest{Method: r.Method, URL: r.URL, Header: r.Header, Body: c.msg.raw, Context: withCall(ctx, c)})
	}
	if c.msg.kind != kindRequest {
		reply.plain(&answer)
		return
	}
	if answer.status == 0 { // mcp-go is silent once the call was cancelled
		c.failure = failed(cancelCause(ctx))
		answer.status = http.StatusOK
	} else if answer.status >= http.StatusBadRequest && !answer.isJSON() {
		c.failure = &failure{code: mcp.INVALID_REQUEST, message: strings.TrimSpace(answer.body.String())}
		e.tell(ctx, c)
		reply.result(answer.status, answer.header, c.failure.response(c.msg.id))
		return
	}
	if c.failure != nil {
		answer.status = c.failure.status(modern)
		if c.msg.method == string(mcp.MethodInitialize) && c.session != nil {
			e.sessions.remove(ctx, c.session)
			answer.header.Del(mcp.HeaderSessionID)
		}
	}
	e.tell(ctx, c)
	body, err := c.finish(answer.body.Bytes())
	ended() // who has the answer may use the id again
	if err == nil {
		err = reply.result(answer.status, answer.header, body)
	}
	if err != nil {
		e.log.Debug().Err(err).Str("method", c.msg.method).Msg("mcp client is gone")
	}
}

// delete ends a session. mcp-go answers it for protocols that have none.
func (e *endpoint) delete(w http.ResponseWriter, r *http.Request) {
	c := newCall(&message{}, nil)
	if !mcp.IsModernProtocol(r.Header.Get(mcp.HeaderProtocolVersion)) {
		id, ok := sessionID(r)
		if !ok {
			refuse(w, http.StatusBadRequest, "", mcp.INVALID_REQUEST, "the header Mcp-Session-Id must name the session to end")
			return
		}
		s, err := e.sessions.find(id, callerOf(r.Context()))
		if err != nil {
			refuse(w, http.StatusNotFound, "", mcp.INVALID_REQUEST, err.Error())
			return
		}
		c.session = s
	}
	var answer recorder
	e.transport.Handle(&answer, &server.HTTPRequest{Method: r.Method, URL: r.URL, Header: r.Header, Context: withCall(r.Context(), c)})
	newReply(w, r).plain(&answer)
}

// sessionID returns the session that the request names, if it names one.
func sessionID(r *http.Request) (string, bool) {
	values := r.Header.Values(mcp.HeaderSessionID)
	if len(values) == 0 {
		return "", false
	}
	if len(values) > 1 || len(values[0]) > maxSessionIDBytes {
		return "", true // no session has this id
	}
	return values[0], true
}

// refuse answers a message that does not reach mcp-go.
func refuse(w http.ResponseWriter, status int, id string, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	f := failure{code: code, message: text}
	_, _ = w.Write(append(f.response(id), '\n'))
}

// recorder is all that mcp-go sees of the connection: one whole answer, which
// it cannot stream.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements server.HTTPResponseWriter.
func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}

// WriteHeader implements server.HTTPResponseWriter.
func (r *recorder) WriteHeader(status int) { r.status = status }

// Write implements server.HTTPResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.body.Write(p)
}

// Flush implements server.HTTPResponseWriter.
func (r *recorder) Flush() {}

// CanStream implements server.HTTPResponseWriter.
func (r *recorder) CanStream() bool { return false }

func (r *recorder) isJSON() bool {
	return strings.HasPrefix(r.Header().Get("Content-Type"), "application/json")
}
