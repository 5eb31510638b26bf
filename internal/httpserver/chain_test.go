package httpserver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

type seen struct {
	method, route string
	status        int
}

// chain returns a server with a few routes, its log and what it observed.
func chain(t *testing.T, change func(*Config)) (*Server, *bytes.Buffer, *[]seen) {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	var mu sync.Mutex
	all := new([]seen)
	s := New(cfg, Options{
		Log: zerolog.New(zerolog.SyncWriter(&log)),
		Observe: func(method, route string, status int, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			*all = append(*all, seen{method, route, status})
		},
	})
	s.Router().Get("/hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, RequestID(r.Context()))
	})
	s.Router().Post("/echo", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			Refuse(w, http.StatusRequestEntityTooLarge, "body_too_large", err.Error())
			return
		}
		_, _ = w.Write(b)
	})
	s.Router().Get("/panic", func(http.ResponseWriter, *http.Request) { panic("boom") })
	return s, &log, all
}

func do(s http.Handler, method, target string, body io.Reader, set func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, body)
	r.Host = "127.0.0.1:8080"
	if set != nil {
		set(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// errorOf reads an answer in the form of an API error.
func errorOf(t *testing.T, w *httptest.ResponseRecorder) (code, message string) {
	t.Helper()
	var e struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("not an error in JSON: %d %q: %v", w.Code, w.Body, err)
	}
	return e.Error.Code, e.Error.Message
}

func TestHostGuard(t *testing.T) {
	s, _, _ := chain(t, func(c *Config) { c.AllowedHosts = []string{"LLM.example.org", "10.0.0.5:9000"} })
	for host, want := range map[string]int{
		"127.0.0.1:8080":       200,
		"127.8.9.1":            200,
		"localhost":            200,
		"LocalHost:1":          200,
		"[::1]:8080":           200,
		"[::ffff:127.0.0.1]:1": 200,
		"llm.example.org":      200,
		"llm.example.org:443":  200,
		"10.0.0.5:9000":        200,
		"10.0.0.5:9001":        403,
		"10.0.0.5":             403,
		"evil.example":         403,
		"evil.example:8080":    403,
		"localhost.evil.com":   403,
		"127.0.0.1.evil.com":   403,
		"localhost@evil.com":   403,
		"":                     403,
		"0.0.0.0:8080":         403,
	} {
		for _, path := range []string{"/hello/x", "/nowhere"} {
			w := do(s, "GET", path, nil, func(r *http.Request) { r.Host = host })
			allowed := w.Code != 403
			if allowed != (want == 200) {
				t.Errorf("Host %q on %s: %d", host, path, w.Code)
			}
			if !allowed {
				if code, msg := errorOf(t, w); code != "host_not_allowed" || !strings.Contains(msg, "server.allowed_hosts") {
					t.Errorf("Host %q: %s: %s", host, code, msg)
				}
			}
		}
	}
}

func TestOriginGuardAndCORS(t *testing.T) {
	s, _, _ := chain(t, func(c *Config) { c.AllowedOrigins = []string{"https://chat.example.org"} })
	for origin, ok := range map[string]bool{
		"http://localhost:3000":         true,
		"http://127.0.0.1":              true,
		"http://[::1]:5173":             true,
		"https://chat.example.org":      true,
		"https://chat.example.org:8443": false,
		"http://chat.example.org":       false,
		"https://evil.example":          false,
		"null":                          false,
		"":                              false,
		"file://":                       false,
		"http://localhost.evil.com":     false,
		"http://localhost@evil.com":     false,
		"http://localhost/path":         false,
	} {
		w := do(s, "GET", "/hello/x", nil, func(r *http.Request) { r.Header.Set("Origin", origin) })
		if (w.Code == 200) != ok {
			t.Errorf("Origin %q: %d", origin, w.Code)
		}
		want := ""
		if ok {
			want = origin
		}
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("Origin %q: allowed %q", origin, got)
		}
		pre := do(s, "OPTIONS", "/echo", nil, func(r *http.Request) {
			r.Header.Set("Origin", origin)
			r.Header.Set("Access-Control-Request-Method", "POST")
			r.Header.Set("Access-Control-Request-Headers", "content-type,x-stainless-os")
		})
		if (pre.Code == 204) != ok || (ok && pre.Header().Get("Access-Control-Allow-Headers") != "content-type,x-stainless-os") {
			t.Errorf("preflight of %q: %d %v", origin, pre.Code, pre.Header())
		}
	}
	if w := do(s, "GET", "/hello/x", nil, nil); w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("no Origin: %d %v", w.Code, w.Header())
	}
	if w := do(s, "GET", "/hello/x", nil, func(r *http.Request) {
		r.Header["Origin"] = []string{"http://localhost", "https://evil.example"}
	}); w.Code != 403 {
		t.Errorf("two Origins: %d", w.Code)
	}
}

func TestAllowSwapsTheLists(t *testing.T) {
	s, _, _ := chain(t, nil)
	get := func() int {
		return do(s, "GET", "/hello/x", nil, func(r *http.Request) {
			r.Host = "new.example"
			r.Header.Set("Origin", "https://new.example")
		}).Code
	}
	if got := get(); got != 403 {
		t.Fatalf("before: %d", got)
	}
	s.Allow([]string{"new.example"}, []string{"https://new.example"})
	if got := get(); got != 200 {
		t.Fatalf("after: %d", got)
	}
	s.Allow(nil, nil)
	if got := get(); got != 403 {
		t.Fatalf("taken back: %d", got)
	}
}

func TestRequestIDAndAccessLog(t *testing.T) {
	s, log, observed := chain(t, nil)
	for sent, kept := range map[string]bool{
		"abc-123_X.y:z":            true,
		"":                         false,
		"a b":                      false,
		"a\"b":                     false,
		strings.Repeat("x", 128):   true,
		strings.Repeat("x", 129):   false,
		"\x1b[31mred\x1b[0m":       false,
		"{\"level\":\"injected\"}": false,
	} {
		log.Reset()
		w := do(s, "GET", "/hello/me?secret=1", nil, func(r *http.Request) { r.Header.Set(RequestIDHeader, sent) })
		id := w.Header().Get(RequestIDHeader)
		if id == "" || (id == sent) != kept || w.Body.String() != id {
			t.Errorf("sent %q, answered %q, the handler saw %q", sent, id, w.Body)
		}
		var line map[string]any
		if err := json.Unmarshal(log.Bytes(), &line); err != nil {
			t.Fatalf("%q: %v", log, err)
		}
		if line["request_id"] != id || line["route"] != "/hello/{name}" || line["path"] != "/hello/me" || line["status"] != 200.0 {
			t.Errorf("log line %v", line)
		}
		if strings.Contains(log.String(), "secret") {
			t.Errorf("the query is in the log: %s", log)
		}
	}
	do(s, "BREW", "/hello/x", nil, nil)
	do(s, "GET", "/no/such/path", nil, nil)
	got := (*observed)[len(*observed)-2:]
	if got[0] != (seen{"other", "/hello/{name}", 405}) && got[0] != (seen{"other", "none", 405}) {
		t.Errorf("an odd method was observed as %+v", got[0])
	}
	if got[1].status != 404 || strings.Contains(got[1].route, "such") {
		t.Errorf("an unknown path was observed as %+v", got[1])
	}
}

func TestRefusals(t *testing.T) {
	s, log, _ := chain(t, func(c *Config) { c.MaxBody = 1 << 10 })
	big := strings.Repeat("x", 2<<10)
	for _, c := range []struct {
		name, method, path, body, code string
		chunked                        bool
		status                         int
	}{
		{name: "unknown path", method: "GET", path: "/nowhere", status: 404, code: "not_found"},
		{name: "wrong method", method: "DELETE", path: "/echo", status: 405, code: "method_not_allowed"},
		{name: "declared too large", method: "POST", path: "/echo", body: big, status: 413, code: "body_too_large"},
		{name: "turns out too large", method: "POST", path: "/echo", body: big, chunked: true, status: 413, code: "body_too_large"},
		{name: "panic", method: "GET", path: "/panic", status: 500, code: "internal_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := do(s, c.method, c.path, strings.NewReader(c.body), func(r *http.Request) {
				if c.chunked {
					r.ContentLength = -1
				}
			})
			if code, msg := errorOf(t, w); w.Code != c.status || code != c.code || strings.Contains(msg, "boom") {
				t.Errorf("%d %s: %s", w.Code, code, msg)
			}
		})
	}
	if !strings.Contains(log.String(), "boom") || !strings.Contains(log.String(), "stack") {
		t.Error("the panic is not in the log")
	}
	if w := do(s, "POST", "/echo", strings.NewReader("small"), nil); w.Body.String() != "small" {
		t.Errorf("a small body: %d %q", w.Code, w.Body)
	}
}

// deadlines is a connection that notes the write deadlines it is given: the
// zero time as false.
type deadlines struct {
	httptest.ResponseRecorder
	set []bool
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.set = append(d.set, !t.IsZero())
	return nil
}

// TestOneDeadlinePerWrite: a handler that sets deadlines itself is not given
// others; one that does not, or no longer, gets one for each write and flush.
func TestOneDeadlinePerWrite(t *testing.T) {
	for _, c := range []struct {
		name   string
		handle func(w io.Writer, rc *http.ResponseController)
		want   []bool // after the one that lifts what is left of the request before
	}{
		{"the handler sets none", func(w io.Writer, rc *http.ResponseController) {
			_, _ = w.Write([]byte("a"))
			_ = rc.Flush()
		}, []bool{true, true}},
		{"the handler sets its own", func(w io.Writer, rc *http.ResponseController) {
			for range 2 {
				_ = rc.SetWriteDeadline(time.Now().Add(time.Hour))
				_, _ = w.Write([]byte("a"))
				_ = rc.Flush()
			}
		}, []bool{true, true}},
		{"the handler lifts it", func(w io.Writer, rc *http.ResponseController) {
			_ = rc.SetWriteDeadline(time.Now().Add(time.Hour))
			_ = rc.SetWriteDeadline(time.Time{})
			_, _ = w.Write([]byte("a"))
		}, []bool{true, false, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := &deadlines{ResponseRecorder: *httptest.NewRecorder()}
			limits(1<<10, time.Minute, time.Minute)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c.handle(w, http.NewResponseController(w))
			})).ServeHTTP(conn, httptest.NewRequest("GET", "/", nil))
			if want := append([]bool{false}, c.want...); !slices.Equal(conn.set, want) {
				t.Errorf("deadlines %v, want %v", conn.set, want)
			}
		})
	}
}

// TestDeclaredTooLargeIsAnsweredAtOnce: a client that waits for a word before it
// sends its body is answered, and the connection ends.
func TestDeclaredTooLargeIsAnsweredAtOnce(t *testing.T) {
	s, _, _ := chain(t, func(c *Config) { c.MaxBody = 1 << 10 })
	web := httptest.NewServer(s)
	defer web.Close()
	conn, err := net.Dial("tcp", web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4096\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 413 || !resp.Close {
		t.Errorf("%d, closes %v, %v", resp.StatusCode, resp.Close, err)
	}
}
