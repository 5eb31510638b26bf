package upstream

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// writer takes what is written.
type writer struct{ strings.Builder }

func (*writer) Close() error { return nil }

// TestPace: answers come at any rate, and what nobody asked for does not.
func TestPace(t *testing.T) {
	p := newPace()
	to := &sending{&writer{}, p}
	for i := range 10 * messagesAtOnce {
		if _, err := io.WriteString(to, "{}\n"); err != nil {
			t.Fatal(err)
		}
		if wait := p.owe(10, 1); wait != 0 {
			t.Fatalf("answer %d waits for %v", i, wait)
		}
	}
	late := 0
	for range 2 * messagesAtOnce {
		if p.owe(10, 1) > 0 {
			late++
		}
	}
	// Those at once, and what fills up meanwhile, come without a wait.
	if late == 0 || late > messagesAtOnce+1 {
		t.Errorf("of %d messages that nobody asked for %d wait", 2*messagesAtOnce, late)
	}
}

// TestPaceOverHTTP: a stream of events pays for its lines, a document does not.
func TestPaceOverHTTP(t *testing.T) {
	lines := strings.Repeat("data: 1\n", 100*linesOfEvent)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		_, _ = io.WriteString(w, lines)
	}))
	defer server.Close()
	for kind, want := range map[string]float64{"text/event-stream": 100, "application/json": 0} {
		cfg := Config{URL: server.URL, MessageBytes: 1 << 20}
		d, err := newDoor(&cfg)
		if err != nil {
			t.Fatal(err)
		}
		d.pace.messages.rate = 0 // so that only what is counted changes it
		resp, err := d.client().Get(server.URL + "?type=" + kind)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != lines {
			t.Errorf("%s: read %d bytes, %v", kind, len(got), err)
		}
		resp.Body.Close()
		if got := messagesAtOnce - d.pace.messages.has; math.Abs(got-want) > 1e-6 {
			t.Errorf("%s: %d lines count as %g messages, want %g", kind, 100*linesOfEvent, got, want)
		}
		d.close()
	}
}
