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
	for i := range 10 * messagesInAll {
		if _, err := io.WriteString(to, "{}\n"); err != nil {
			t.Fatal(err)
		}
		if wait := p.owe(10, 1); wait != 0 {
			t.Fatalf("answer %d waits for %v", i, wait)
		}
	}
	for _, c := range []struct {
		name   string
		bucket *bucket
		atOnce int
	}{{"a burst", p.burst, messagesAtOnce}, {"all", p.messages, messagesInAll}} {
		c.bucket.rate = 0 // so that no time is counted
		c.bucket.has = c.bucket.max
		for i := range c.atOnce {
			if wait := c.bucket.owe(1); wait != 0 {
				t.Fatalf("%s: message %d waits for %v", c.name, i, wait)
			}
		}
		c.bucket.rate = 10
		if wait := p.owe(10, 1); wait < shortestWait {
			t.Errorf("%s: what comes after that waits for %v", c.name, wait)
		}
	}
}

// TestPaceOverHTTP: a stream of events pays for its lines, a document does not.
func TestPaceOverHTTP(t *testing.T) {
	lines := strings.Repeat(strings.Repeat("data: 1\n", 2*linesOfEvent)+"\n", 30) + strings.Repeat("data: 1\n\n", 30)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		_, _ = io.WriteString(w, lines)
	}))
	defer server.Close()
	for kind, want := range map[string]float64{"text/event-stream": 30*(2*linesOfEvent+1.)/linesOfEvent + 30, "application/json": 0} {
		cfg := Config{URL: server.URL, MessageBytes: 1 << 20}
		d, err := newDoor(&cfg)
		if err != nil {
			t.Fatal(err)
		}
		d.pace.messages.rate, d.pace.burst.rate = 0, 1e9 // so that only what is counted changes it
		resp, err := d.client().Get(server.URL + "?type=" + kind)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != lines {
			t.Errorf("%s: read %d bytes, %v", kind, len(got), err)
		}
		resp.Body.Close()
		if got := messagesInAll - d.pace.messages.has; math.Abs(got-want) > 1e-6 {
			t.Errorf("%s: %d bytes count as %g messages, want %g", kind, len(lines), got, want)
		}
		d.close()
	}
}
