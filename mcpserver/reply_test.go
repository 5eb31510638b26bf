package mcpserver

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hearth/inference"
)

// stuckWriter is a connection whose client stopped reading after some writes:
// a write then fails when its deadline passes.
type stuckWriter struct {
	*httptest.ResponseRecorder
	left     int
	deadline time.Time
}

func (w *stuckWriter) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	if w.left == 0 {
		time.Sleep(time.Until(w.deadline)) // synctest's clock
		return 0, os.ErrDeadlineExceeded
	}
	w.left--
	return w.ResponseRecorder.Write(p)
}

// TestStuckClientIsGivenUp: a client that reads no more holds its slot until
// the deadline of one write and no longer.
func TestStuckClientIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := saying(numbered(1000)...)
		s := newEagerServer(t, f)
		w := &stuckWriter{ResponseRecorder: httptest.NewRecorder(), left: 3}
		r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(strings.TrimSpace(toolCall("1", "x"))))
		r.Header.Set("Content-Type", "application/json")
		start := time.Now()
		s.Handler().ServeHTTP(w, r)
		if took := time.Since(start); took != writeTimeout {
			t.Errorf("given up after %v", took)
		}
		if f.open.Load() != 0 || f.leases.Load() != 0 {
			t.Error("the slot is not free")
		}
		if !w.deadline.IsZero() {
			t.Error("the deadline stays on the connection")
		}
	})
}

// TestSessionExpires: a session is forgotten when nothing used it for long, and
// not while it works.
func TestSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newServer(t, saying()).endpoint.sessions
		caller := inference.DefaultCaller
		idle, err := l.create(t.Context(), caller)
		if err != nil {
			t.Fatal(err)
		}
		busy, _ := l.create(t.Context(), caller)
		if err := busy.running.begin("1", func(error) {}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(sessionIdle)
			if _, err := l.find(idle.id, caller); err != nil {
				t.Fatalf("a session in use expired: %v", err)
			}
		}
		time.Sleep(sessionIdle + 1)
		if _, err := l.find(idle.id, caller); err == nil {
			t.Error("an unused session is still there")
		}
		if _, err := l.find(busy.id, caller); err != nil {
			t.Errorf("a session at work expired: %v", err)
		}
	})
}

// TestFailedInitializeLeavesNoSession: neither in the server nor in the answer.
func TestFailedInitializeLeavesNoSession(t *testing.T) {
	s := newServer(t, saying())
	p := &peer{t: t, url: serve(t, s), client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	r := p.post(t.Context(), `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":7}}`, nil)
	if m := read(t, r)[0]; m.Error == nil || m.Error.Code != -32602 || !strings.Contains(m.Error.Message, "protocolVersion") {
		t.Errorf("got %+v", m.Error)
	}
	if r.Header.Get("Mcp-Session-Id") != "" || len(s.endpoint.sessions.byID) != 0 {
		t.Errorf("session %q, %d held", r.Header.Get("Mcp-Session-Id"), len(s.endpoint.sessions.byID))
	}
}
