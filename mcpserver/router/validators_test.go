package router

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth/inference"
)

// versioned is a connector of a service whose answers have versions.
type versioned struct {
	*fakeConnector
	version string // of the answer; empty: it has none
	notKept bool
	lies    bool // says that nothing changed, whatever it was asked
	asked   []string
}

func newVersioned(version string) *versioned {
	f := &versioned{fakeConnector: offers("get"), version: version}
	f.fakeConnector.tools[0].Output = json.RawMessage(`{"type":"object","required":["version"]}`)
	f.run = func(_ context.Context, c *Call) (*Result, error) {
		known := "nothing"
		if c.Known != nil {
			known = c.Known.ETag
		}
		f.asked = append(f.asked, known)
		if f.lies || c.Known != nil && known == f.version {
			return &Result{Unchanged: true}, nil
		}
		r := Text("version " + f.version + ", secret")
		r.Structured, r.NotKept = json.RawMessage(`{"version":"`+f.version+`"}`), f.notKept
		if f.version != "" {
			r.Validators = &Validators{ETag: f.version}
		}
		return r, nil
	}
	return f
}

// counting counts what came of the cache.
type counting struct {
	noObserver
	hits, stillGood int
}

func (c *counting) ToolCacheHit(_, _ string)    { c.hits++ }
func (c *counting) ToolRevalidated(_, _ string) { c.stillGood++ }

// TestRevalidation: a result whose time is over is asked for by its validators, and
// given again, with a new time, where they hold.
func TestRevalidation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Redact = []string{"secret"} })
		seen := &counting{}
		w.observe = seen
		f := newVersioned("1")
		w.add(t, "api", f, Options{Cache: map[string]time.Duration{"get": time.Minute}})
		// ask calls as who, and wants the answer and what the service was asked about; ""
		// where it was not asked.
		ask := func(who, want, asked string) {
			t.Helper()
			f.asked = nil
			r, err := w.Call(t.Context(), &Request{Caller: inference.Caller{Principal: who}, Tool: "api__get"})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Content[0].Text; got != want+", [redacted]" || string(r.Structured) != `{"version":"`+strings.TrimPrefix(want, "version ")+`"}` {
				t.Errorf("got %q, %s", got, r.Structured)
			}
			if got := strings.Join(f.asked, " "); got != asked {
				t.Errorf("the service was asked %q, want %q", got, asked)
			}
			if rec := w.journal.outcomeOf(t); rec.Outcome != "ok" || rec.Cached != (asked == "") || rec.ResultBytes == 0 {
				t.Errorf("recorded as %+v", rec)
			}
		}
		ask("ann", "version 1", "nothing")
		ask("ann", "version 1", "")
		ask("bob", "version 1", "nothing") // what another one was told is no version of his
		time.Sleep(time.Minute)
		ask("ann", "version 1", "1")
		ask("ann", "version 1", "") // it has a new life
		time.Sleep(59 * time.Second)
		ask("ann", "version 1", "")
		time.Sleep(time.Second)
		f.version = "2"
		ask("ann", "version 2", "1")
		ask("ann", "version 2", "")
		time.Sleep(time.Hour)
		ask("ann", "version 2", "2")
		if want := (counting{hits: 4, stillGood: 2}); *seen != want {
			t.Errorf("counted %+v, want %+v", *seen, want)
		}

		// What has no version is called for, and so is what may not be kept, also where an
		// earlier answer could be.
		time.Sleep(time.Minute)
		f.version = ""
		ask("ann", "version ", "2")
		time.Sleep(time.Minute)
		f.version = "3"
		ask("ann", "version 3", "nothing")
		time.Sleep(time.Minute)
		f.version, f.notKept = "4", true
		ask("ann", "version 4", "3")
		ask("ann", "version 4", "nothing")
		f.notKept = false

		// A call that a person approves is made as if nothing were known.
		ask("ann", "version 4", "nothing")
		time.Sleep(time.Minute)
		q := &Request{Caller: inference.Caller{Principal: "ann"}, Tool: "api__get", Ask: true}
		_, err := w.Call(t.Context(), q)
		var waits *ApprovalError
		if !errors.As(err, &waits) {
			t.Fatal(err)
		}
		if _, err := w.Approvals().Decide(waits.ID, true); err != nil {
			t.Fatal(err)
		}
		f.asked = nil
		if _, err := w.Call(t.Context(), q); err != nil || strings.Join(f.asked, " ") != "nothing" {
			t.Errorf("asked %q, %v", f.asked, err)
		}

		// A connector that says so of nothing has failed.
		f.lies = true
		if _, err := w.Call(t.Context(), &Request{Caller: inference.Caller{Principal: "eve"}, Tool: "api__get"}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}

// TestRevalidatedTaint: a result that was asked for again taints a conversation as it
// did before.
func TestRevalidatedTaint(t *testing.T) {
	w := newWorld(t, nil)
	f := newVersioned("1")
	f.tools[0].Effects.Untrusted = true
	w.add(t, "api", f, Options{Cache: map[string]time.Duration{"get": time.Nanosecond}})
	send := offers("send")
	send.tools[0].Effects.Outside = true
	w.add(t, "mail", send, Options{Allow: []string{"send"}})
	for _, talk := range []string{"first", "second"} {
		in := func(tool string) error {
			_, err := w.Call(t.Context(), &Request{Caller: inference.DefaultCaller, Conversation: talk, Tool: tool})
			return err
		}
		if err := in("mail__send"); err != nil {
			t.Errorf("%s: before: %v", talk, err)
		}
		if err := in("api__get"); err != nil {
			t.Errorf("%s: %v", talk, err)
		}
		if err := in("mail__send"); !errors.Is(err, inference.ErrApproval) {
			t.Errorf("%s: after: %v", talk, err)
		}
	}
	if got := strings.Join(f.asked, " "); got != "nothing 1" {
		t.Errorf("the service was asked %q", got)
	}
}

// TestValidators: what of an answer is kept to ask by, and which requests ask.
func TestValidators(t *testing.T) {
	const date = "Mon, 02 Jan 2006 15:04:05 GMT"
	get := httptest.NewRequest("GET", "/", nil)
	led := httptest.NewRequest("GET", "/", nil)
	led.Response = &http.Response{StatusCode: 302}
	long := strings.Repeat("x", maxValidator+1)
	for name, c := range map[string]struct {
		request *http.Request
		status  int
		header  http.Header
		want    *Validators
		notKept bool
	}{
		"both":            {get, 200, http.Header{"Etag": {`W/"1"`}, "Last-Modified": {date}}, &Validators{`W/"1"`, date}, false},
		"an ETag":         {get, 200, http.Header{"Etag": {`"1"`}}, &Validators{ETag: `"1"`}, false},
		"a date":          {get, 200, http.Header{"Last-Modified": {date}}, &Validators{LastModified: date}, false},
		"HEAD":            {httptest.NewRequest("HEAD", "/", nil), 200, http.Header{"Etag": {`"1"`}}, &Validators{ETag: `"1"`}, false},
		"none":            {get, 200, nil, nil, false},
		"POST":            {httptest.NewRequest("POST", "/", nil), 200, http.Header{"Etag": {`"1"`}}, nil, false},
		"led elsewhere":   {led, 200, http.Header{"Etag": {`"1"`}}, nil, false},
		"a part":          {get, 206, http.Header{"Etag": {`"1"`}}, nil, false},
		"too long":        {get, 200, http.Header{"Etag": {long}}, nil, false},
		"not to be kept":  {get, 200, http.Header{"Etag": {`"1"`}, "Cache-Control": {"private, No-Store"}}, &Validators{ETag: `"1"`}, true},
		"to be asked for": {get, 200, http.Header{"Etag": {`"1"`}, "Cache-Control": {"no-cache, max-age=0"}}, &Validators{ETag: `"1"`}, false},
	} {
		r := Text("x")
		r.Of(&http.Response{StatusCode: c.status, Header: c.header, Request: c.request})
		if d := cmp.Diff(c.want, r.Validators); d != "" || r.NotKept != c.notKept {
			t.Errorf("%s: not kept %t, %s", name, r.NotKept, d)
		}
	}
	known := &Validators{`"1"`, date}
	for name, c := range map[string]struct {
		v       *Validators
		request *http.Request
		own     string
		asks    bool
	}{
		"GET":                    {known, get, "", true},
		"HEAD":                   {known, httptest.NewRequest("HEAD", "/", nil), "", true},
		"nothing known":          {nil, get, "", false},
		"POST":                   {known, httptest.NewRequest("POST", "/", nil), "", false},
		"led elsewhere":          {known, led, "", false},
		"a condition of its own": {known, get, "If-Match", false},
		"a range":                {known, get, "Range", false},
	} {
		r := c.request.Clone(t.Context())
		r.Response = c.request.Response
		if c.own != "" {
			r.Header.Set(c.own, `"7"`)
		}
		c.v.Ask(r)
		if got := c.v.Asked(&http.Response{StatusCode: 304, Request: r}); got != c.asks {
			t.Errorf("%s: asked %t: %v", name, got, r.Header)
		}
		if c.asks && (r.Header.Get("If-None-Match") != `"1"` || r.Header.Get("If-Modified-Since") != date) {
			t.Errorf("%s: %v", name, r.Header)
		}
	}
}
