package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/internal/audit"
	"hearth/internal/config"
	"hearth/internal/telemetry"
	"hearth/internal/testkit"
	"hearth/mcpserver/router"
)

// passing passes requests on and notes what they asked and how they were answered.
type passing struct {
	to http.Handler

	mu  sync.Mutex
	log []string
}

func (p *passing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asked := "plain"
	if r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Modified-Since") != "" {
		asked = "conditional"
	}
	note := httptest.NewRecorder()
	p.to.ServeHTTP(note, r)
	p.mu.Lock()
	p.log = append(p.log, fmt.Sprintf("%s %d", asked, note.Code))
	p.mu.Unlock()
	for key, values := range note.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(note.Code)
	_, _ = w.Write(note.Body.Bytes()) // the client may be gone
}

// take returns what was noted since the last time.
func (p *passing) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := strings.Join(p.log, ", ")
	p.log = nil
	return out
}

// TestStaleResultsAreAskedFor: a result of an HTTP service whose time in the cache is
// over is asked for by what the service said of its version, and given again where
// that still is so: with nginx, which makes ETag and Last-Modified of a file, and with
// net/http, which knows the time alone.
func TestStaleResultsAreAskedFor(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "thing.json")
	write := func(text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	nginx := testkit.Nginx(t, folder, "location = /secret.json { alias "+file+"; add_header Cache-Control no-store; }\nlocation = /many { return 304; }")
	files := http.FileServer(http.Dir(folder))
	for name, service := range map[string]http.Handler{
		"nginx": httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: nginx}),
		"net/http": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/secret.json":
				w.Header().Set("Cache-Control", "no-store")
				http.ServeFile(w, r, file)
			case "/many":
				w.WriteHeader(http.StatusNotModified)
			default:
				files.ServeHTTP(w, r)
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			first := time.Now().Add(-time.Hour)
			write(`{"n": 1}`, first)
			seen := &passing{to: service}
			s := httptest.NewServer(seen)
			defer s.Close()
			cfg := defaultConfig()
			if err := config.Decode("test.yaml", []byte(strings.ReplaceAll(staleConfig, "SERVICE", s.URL)), &cfg); err != nil {
				t.Fatal(err)
			}
			document := filepath.Join(t.TempDir(), "openapi.yaml")
			if err := os.WriteFile(document, []byte(staleDocument), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg.Connectors[1].OpenAPI.Document = document
			kept, err := audit.Open(cfg.Audit, zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			defer kept.Close()
			metrics := telemetry.NewMetrics("test")
			r, err := newRouter(t.Context(), &cfg, nil, kept, metrics, zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := closeRouter(t.Context(), r); err != nil {
					t.Error(err)
				}
			}()
			call := func(tool string) string {
				t.Helper()
				got, err := r.Call(t.Context(), &router.Request{Caller: inference.DefaultCaller, Tool: tool, Arguments: json.RawMessage(`{}`)})
				if err != nil {
					return err.Error()
				}
				return got.Content[0].Text + string(got.Structured)
			}
			for _, tool := range []string{"own__thing", "api__thing"} {
				write(`{"n":1}`, first)
				for _, want := range []struct {
					text, seen string
					change     bool
				}{
					{`{"n":1}{"n":1}`, "plain 200", false},
					{`{"n":1}{"n":1}`, "conditional 304", false},
					{`{"n":1}{"n":1}`, "conditional 304", false},
					{`{"n":22}{"n":22}`, "conditional 200", true},
					{`{"n":22}{"n":22}`, "conditional 304", false},
				} {
					if want.change {
						write(`{"n":22}`, first.Add(time.Minute))
					}
					if got := call(tool); got != want.text {
						t.Errorf("%s gave %s, want %s", tool, got, want.text)
					}
					if got := seen.take(); got != want.seen {
						t.Errorf("%s: the service saw %q, want %q", tool, got, want.seen)
					}
				}
			}
			// While its time is not over nobody asks.
			call("own__fresh")
			call("own__fresh")
			// What the service does not want to be kept is not, and what has no condition is
			// not answered by one.
			call("own__secret")
			call("own__secret")
			call("own__post")
			call("own__post")
			post := map[string]string{"nginx": "plain 405", "net/http": "plain 200"}[name] // what they do with it for a file
			if got, want := seen.take(), strings.Join([]string{"plain 200", "plain 200", "plain 200", post, post}, ", "); got != want {
				t.Errorf("the service saw %q, want %q", got, want)
			}
			// A service that says 304 to who did not ask gets nowhere.
			if got := call("own__many"); !strings.Contains(got, "304") {
				t.Errorf("unasked: %s", got)
			}
			w := httptest.NewRecorder()
			metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			var got []string
			for line := range strings.Lines(w.Body.String()) {
				if strings.HasPrefix(line, "hearth_tool_cache") {
					got = append(got, strings.TrimSpace(line))
				}
			}
			if d := cmp.Diff([]string{
				`hearth_tool_cache_hits_total{connector="own",tool="fresh"} 1`,
				`hearth_tool_cache_revalidated_total{connector="api",tool="thing"} 3`,
				`hearth_tool_cache_revalidated_total{connector="own",tool="thing"} 3`,
			}, got); d != "" {
				t.Error(d)
			}
		})
	}
}

const staleConfig = `connectors:
  - name: own
    tools:
      - {name: thing, description: t, effect: read, http: {url: "SERVICE/thing.json"}}
      - {name: fresh, description: t, effect: read, http: {url: "SERVICE/thing.json"}}
      - {name: secret, description: t, effect: read, http: {url: "SERVICE/secret.json"}}
      - {name: post, description: t, effect: read, http: {url: "SERVICE/thing.json", method: POST}}
      - {name: many, description: t, effect: read, http: {url: "SERVICE/many"}}
    cache: {thing: 1ns, secret: 1h, post: 1ns, many: 1h, fresh: 1h}
  - name: api
    openapi: {document: later, base_url: "SERVICE"}
    cache: {thing: 1ns}
`

const staleDocument = `openapi: 3.1.0
info: {title: t, version: "1"}
paths:
  /thing.json:
    get: {operationId: thing, responses: {"200": {description: ok}}}
`
