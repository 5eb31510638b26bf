package mcpserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"hearth/inference"
)

const (
	// maxSessions is how many sessions one caller may hold; one more ends that
	// caller's session that was idle for longest.
	maxSessions = 1024
	// sessionIdle is how long an unused session is remembered.
	sessionIdle = 24 * time.Hour
)

var errUnknownSession = errors.New("there is no such session: it was ended, it expired or it never was; initialize a new one")

// running is the set of calls that a session or a stdio connection has in
// flight, by the canonical id of the request. It is safe for concurrent use.
type running struct {
	max   int
	mu    sync.Mutex
	calls map[string]context.CancelCauseFunc
}

func newRunning(limit int) *running {
	return &running{max: limit, calls: map[string]context.CancelCauseFunc{}}
}

// begin files a call. It refuses an id that is in use, because a cancellation
// could not tell the two apart, and a call beyond the limit.
func (r *running) begin(id string, cancel context.CancelCauseFunc) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.calls[id]; ok {
		return inference.Invalid("id", "%s is the id of a call that still runs: give every request an id of its own", id)
	}
	if len(r.calls) >= r.max {
		return &inference.RetryError{Err: fmt.Errorf("%d calls run here already, wait for one of them to end: %w", r.max, inference.ErrBusy)}
	}
	r.calls[id] = cancel
	return nil
}

func (r *running) end(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, id)
}

// cancel ends the call with that id, if there is one.
func (r *running) cancel(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel, ok := r.calls[id]; ok {
		cancel(inference.ErrCancelled)
	}
}

func (r *running) cancelAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, cancel := range r.calls {
		cancel(inference.ErrCancelled)
	}
}

func (r *running) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls) == 0
}

// session is what initialize starts in protocols before 2026-07-28. It is
// registered with mcp-go, so that mcp-go keeps no transport state of its own
// for it, and it receives no broadcasts: changes go through its outlet.
type session struct {
	id      string
	caller  inference.Caller
	running *running
	outlet  *outlet   // what it is to hear of changes
	used    time.Time // guarded by sessions.mu

	questions *questions // what it was asked, in the middle of calls
	level     logLevel
}

// idle reports whether no call runs and no stream is open.
func (s *session) idle() bool {
	return s.running.idle() && !s.outlet.attached()
}

// Initialize, Initialized, NotificationChannel and SessionID make a session the
// ClientSession that mcp-go asks for.
func (s *session) Initialize() {}

// Initialized reports that the session may be used.
func (s *session) Initialized() bool { return true }

// NotificationChannel is nil: nothing can be sent outside of a call.
func (s *session) NotificationChannel() chan<- mcp.JSONRPCNotification { return nil }

// SessionID returns the random id that the client holds.
func (s *session) SessionID() string { return s.id }

// sessions are all sessions there are. An id is a handle, never a credential:
// it opens nothing to a caller other than the one that initialized it. It is
// safe for concurrent use.
type sessions struct {
	mcp      *server.MCPServer
	hub      *hub
	maxCalls int
	mu       sync.Mutex
	byID     map[string]*session
}

// create starts a session for caller.
func (l *sessions) create(ctx context.Context, caller inference.Caller) (*session, error) {
	s := &session{id: rand.Text(), caller: caller, running: newRunning(l.maxCalls), questions: newQuestions(), used: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.makeRoom(ctx, caller); err != nil {
		return nil, err
	}
	if err := l.mcp.RegisterSession(ctx, s); err != nil {
		return nil, fmt.Errorf("register session: %w", err)
	}
	s.outlet = l.hub.open()
	s.outlet.want(allLists)
	l.byID[s.id] = s
	return s, nil
}

// makeRoom forgets expired sessions, and the caller's oldest idle one if the
// caller has as many as it may have.
func (l *sessions) makeRoom(ctx context.Context, caller inference.Caller) error {
	var (
		held   int
		oldest *session
		limit  = time.Now().Add(-sessionIdle)
	)
	for _, s := range l.byID {
		idle := s.idle()
		if idle && s.used.Before(limit) {
			l.forget(ctx, s)
			continue
		}
		if !s.caller.Is(caller) {
			continue
		}
		held++
		if idle && (oldest == nil || s.used.Before(oldest.used)) {
			oldest = s
		}
	}
	switch {
	case held < maxSessions:
		return nil
	case oldest == nil:
		return &inference.RetryError{Err: fmt.Errorf("all %d sessions of this caller are at work: %w", maxSessions, inference.ErrBusy)}
	default:
		l.forget(ctx, oldest)
		return nil
	}
}

// find returns the session, if it is the caller's.
func (l *sessions) find(id string, caller inference.Caller) (*session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.byID[id]
	if !ok || !s.caller.Is(caller) {
		return nil, errUnknownSession
	}
	now := time.Now()
	if s.idle() && now.Sub(s.used) > sessionIdle {
		l.forget(context.Background(), s)
		return nil, errUnknownSession
	}
	s.used = now
	return s, nil
}

// remove ends a session and cancels what it still runs.
func (l *sessions) remove(ctx context.Context, s *session) {
	l.mu.Lock()
	l.forget(ctx, s)
	l.mu.Unlock()
	s.running.cancelAll()
}

// close forgets all sessions.
func (l *sessions) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.byID {
		l.forget(context.Background(), s)
	}
}

func (l *sessions) forget(ctx context.Context, s *session) {
	delete(l.byID, s.id)
	l.mcp.UnregisterSession(ctx, s.id)
	s.outlet.close()
}

// ResolveSessionIdManager makes sessions the policy that mcp-go asks.
func (l *sessions) ResolveSessionIdManager(r *http.Request) server.SessionIdManager {
	return &sessionManager{sessions: l, ctx: r.Context()}
}

// sessionManager answers mcp-go for one HTTP request. The handler has looked up
// the session before, so it only repeats what is known.
type sessionManager struct {
	sessions *sessions
	ctx      context.Context
}

// Generate starts a session. "" tells mcp-go that there is none.
func (m *sessionManager) Generate() string {
	c := callFrom(m.ctx)
	s, err := m.sessions.create(m.ctx, callerOf(m.ctx))
	if err != nil {
		c.failure = failed(err)
		return ""
	}
	c.session = s
	return s.id
}

// Validate accepts the session that the handler found, and none at all: a
// single request needs no session.
func (m *sessionManager) Validate(id string) (terminated bool, err error) {
	if c := callFrom(m.ctx); id == "" && c.session == nil || c.session != nil && c.session.id == id {
		return false, nil
	}
	return false, errUnknownSession
}

// Terminate ends the session that the handler found.
func (m *sessionManager) Terminate(id string) (notAllowed bool, err error) {
	c := callFrom(m.ctx)
	if c.session == nil || c.session.id != id {
		return false, errUnknownSession
	}
	m.sessions.remove(m.ctx, c.session)
	return false, nil
}
