package webfetch_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"hearth/internal/config"
	"hearth/internal/testkit"
	"hearth/mcpserver/connector/webfetch"
	"hearth/mcpserver/router"
)

func asToolError(err error, to **router.ToolError) bool { return errors.As(err, to) }

// packed compresses a text.
func packed(t *testing.T, coding, text string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "br":
		w = brotli.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	case "flate":
		w, _ = flate.NewWriter(&b, 6)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCompressedPages(t *testing.T) {
	page := "<title>Packed</title><p>text of the packed page</p>"
	bomb := "<p>begin</p>" + strings.Repeat(" ", 3<<20)
	more := map[string]string{"damaged/gzip": packed(t, "gzip", page)[:30], "nonsense/gzip": "no gzip at all"}
	for _, coding := range []string{"gzip", "br", "zlib", "flate"} {
		more["page/"+coding] = packed(t, coding, page)
		more["bomb/"+coding] = packed(t, coding, bomb)
	}
	addr := testkit.Nginx(t, site(t, more), `
    default_type text/html;
    location ~ /gzip$ { add_header Content-Encoding gzip; }
    location ~ /br$ { add_header Content-Encoding br; }
    location ~ /(zlib|flate)$ { add_header Content-Encoding deflate; }
    location = /twice { default_type text/html; add_header Content-Encoding "gzip, gzip"; return 200 "x"; }
`)
	f := newConnector(t, webfetch.Config{MaxBytes: 1 << 20}, addr)
	for _, coding := range []string{"gzip", "br", "zlib", "flate"} {
		text, err := fetch(t, f, args{"url": "http://" + addr + "/page/" + coding})
		if err != nil || !strings.Contains(text, "text of the packed page") {
			t.Errorf("%s: %q, %v", coding, text, err)
		}
		text, err = fetch(t, f, args{"url": "http://" + addr + "/bomb/" + coding})
		if err != nil || !strings.Contains(text, "longer than 1MiB; only that much of it was read") || !strings.Contains(text, "begin") {
			t.Errorf("bomb of %s: %q, %v", coding, text, err)
		}
	}
	for path, want := range map[string]string{"/damaged/gzip": "broke off", "/nonsense/gzip": "damaged", "/twice": "damaged"} {
		text, err := fetch(t, f, args{"url": "http://" + addr + path})
		if !strings.Contains(text+fmt.Sprint(err), want) {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a server inside was asked") }))
	defer inside.Close()
	addr := testkit.Nginx(t, site(t, nil), fmt.Sprintf(`
    location = /moved { return 301 /short.html; }
    location = /chain { return 302 /moved; }
    location = /loop { return 302 /loop; }
    location = /inside { return 302 %[1]s/; }
    location = /metadata { return 307 http://169.254.169.254/latest/; }
    location = /file { return 302 file:///etc/passwd; }
    location = /denied { return 302 http://denied.test/; }
    location = /todisallowed { return 302 /private/x; }
    location = /robots.txt { return 200 "User-agent: *\nDisallow: /private\n"; }
    location = /private/x { return 200 "private text"; }
`, inside.URL))
	port := inside.Listener.Addr().(*net.TCPAddr).Port
	f := newConnector(t, webfetch.Config{DenyHosts: []string{"denied.test"}, Ports: []int{80, port}}, addr)
	for _, path := range []string{"moved", "chain"} {
		text, err := fetch(t, f, args{"url": "http://" + addr + "/" + path})
		if err != nil || !strings.Contains(text, "Page: http://"+addr+"/short.html\n") || !strings.Contains(text, "4711") {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
	for path, want := range map[string]string{
		"loop": "redirected more than 5 times", "inside": "this machine, not the public internet", "metadata": "metadata service", "file": "only http and https",
		"denied": "the configuration denies it", "todisallowed": "robots.txt of " + addr + " does not allow", "private/x": "robots.txt",
	} {
		_, err := fetch(t, f, args{"url": "http://" + addr + "/" + path})
		var told *router.ToolError
		if !errors.As(err, &told) || !strings.Contains(told.Message, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, url := range []string{inside.URL, "http://localhost/", "http://169.254.169.254/", "file:///etc/passwd", "http://user:pass@example.com/", "http://2130706433/", "http://denied.test/"} {
		var told *router.ToolError
		if _, err := fetch(t, f, args{"url": url}); !errors.As(err, &told) || strings.Contains(told.Message, ":pass") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestHugeSlowAndFailingPages(t *testing.T) {
	huge := "<title>Huge</title><p>first words</p>" + strings.Repeat("<p>more and more text</p>\n", 200_000)
	addr := testkit.Nginx(t, site(t, map[string]string{"huge.html": huge, "huge.txt": huge, "slow.txt": strings.Repeat("slow text ", 10_000)}), `
    location = /slow.txt { limit_rate 4000; limit_rate_after 4000; }
    location = /500 { return 500; }
    location = /403 { return 403; }
    location = /429 { add_header Retry-After 17 always; return 429; }
    location = /503 { add_header Retry-After "Wed, 21 Oct 2099 07:28:00 GMT" always; return 503; }
    location = /444 { return 444; }
`)
	f := newConnector(t, webfetch.Config{MaxBytes: 100_000}, addr)
	for _, path := range []string{"huge.html", "huge.txt"} {
		text, err := fetch(t, f, args{"url": "http://" + addr + "/" + path})
		if err != nil || !strings.Contains(text, "longer than 100000B; only that much") || !strings.Contains(text, "first words") {
			t.Errorf("%s: %.300q, %v", path, text, err)
		}
	}
	hasty := newConnector(t, webfetch.Config{IgnoreRobots: true, Timeout: 1500 * time.Millisecond}, addr) // all of it takes 24 s
	text, err := fetch(t, hasty, args{"url": "http://" + addr + "/slow.txt"})
	if err != nil || !strings.Contains(text, "did not arrive whole in time; what follows are its first") || !strings.Contains(text, "slow text") {
		t.Errorf("slow: %.300q, %v", text, err)
	}
	patient := newConnector(t, webfetch.Config{}, addr)
	for path, want := range map[string]string{
		"500": "500 Internal Server Error", "403": "not open to everybody", "429": "try again after 17 seconds", "503": "try again after Wed, 21 Oct 2099", "444": "closed the connection",
	} {
		if _, err := fetch(t, patient, args{"url": "http://" + addr + "/" + path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// A host that takes the connection and says nothing.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	silent := newConnector(t, webfetch.Config{Timeout: 50 * time.Millisecond}, ln.Addr().String())
	if _, err := fetch(t, silent, args{"url": "http://" + ln.Addr().String() + "/"}); err == nil || !strings.Contains(err.Error(), "did not answer within 50ms") {
		t.Errorf("silent: %v", err)
	}
}

func TestRobotsOfHosts(t *testing.T) {
	for _, tt := range []struct {
		name, server string
		yes, no      string
		want         string
	}{
		{"none", "", "short.html", "", ""},
		{"for all", `location = /robots.txt { return 200 "User-agent: *\nDisallow: /list\n"; }`, "short.html", "list.html", "does not allow"},
		{"for us", `location = /robots.txt { return 200 "User-agent: *\nDisallow: /\nUser-agent: TestBot\nDisallow: /list\n"; }`, "short.html", "list.html", "does not allow"},
		{"forbidden", `location = /robots.txt { return 403; }`, "short.html", "", ""},
		{"failing", `location = /robots.txt { return 503; }`, "", "short.html", "cannot be read now"},
		{"moved", `location = /robots.txt { return 301 /r.txt; } location = /r.txt { return 200 "User-agent: *\nDisallow: /short\n"; }`, "list.html", "short.html", "does not allow"},
		{"moved in a circle", `location = /robots.txt { return 301 /robots.txt; }`, "short.html", "", ""},
		{"a page", `location = /robots.txt { default_type text/html; return 200 "<html><body>User-agent: *<br>Disallow: /</body></html>"; }`, "short.html", "", ""},
		{"too long", `location = /robots.txt { alias ROOT/big; }`, "list.html", "short.html", "does not allow"},
	} {
		root := site(t, map[string]string{"big": "User-agent: *\nDisallow: /short\n" + strings.Repeat("# filler\n", 200_000) + "Disallow: /list\n"})
		addr := testkit.Nginx(t, root, strings.ReplaceAll(tt.server, "ROOT", root))
		f := newConnector(t, webfetch.Config{UserAgent: "TestBot/1.0 (test)"}, addr)
		if tt.yes != "" {
			if _, err := fetch(t, f, args{"url": "http://" + addr + "/" + tt.yes}); err != nil {
				t.Errorf("%s: %s: %v", tt.name, tt.yes, err)
			}
		}
		if tt.no != "" {
			if _, err := fetch(t, f, args{"url": "http://" + addr + "/" + tt.no}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %s: %v", tt.name, tt.no, err)
			}
			own := newConnector(t, webfetch.Config{IgnoreRobots: true}, addr)
			if _, err := fetch(t, own, args{"url": "http://" + addr + "/" + tt.no}); err != nil {
				t.Errorf("%s, ignored: %v", tt.name, err)
			}
		}
	}
}

// recorder passes requests on to nginx and keeps what they were.
type recorder struct {
	mu   sync.Mutex
	seen []*http.Request
	h    http.Handler
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	r.seen = append(r.seen, q)
	r.mu.Unlock()
	r.h.ServeHTTP(w, q)
}

func (r *recorder) count(path string) (n int, last *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.seen {
		if q.URL.Path == path {
			n, last = n+1, q
		}
	}
	return n, last
}

func TestPagesAreKeptAsTheirHostLets(t *testing.T) {
	text := "first"
	rec := &recorder{h: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/etag", "/nocache":
			w.Header().Set("ETag", `"`+text+`"`)
			if r.URL.Path == "/nocache" {
				w.Header().Set("Cache-Control", "no-cache")
			}
			if r.Header.Get("If-None-Match") == `"`+text+`"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		case "/nostore":
			w.Header().Set("Cache-Control", "private, no-store")
		case "/old":
			w.Header().Set("Cache-Control", "max-age=0")
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		case "/robots.txt":
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, text)
	})}
	s := httptest.NewServer(rec)
	defer s.Close()
	f := newConnector(t, webfetch.Config{UserAgent: "Test/1"}, s.Listener.Addr().String())
	get := func(path string) string {
		got, err := fetch(t, f, args{"url": s.URL + path})
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(got, "\n\n")
		return body
	}
	for _, p := range []string{"/etag", "/nocache", "/nostore", "/old"} {
		get(p)
		get(p)
	}
	if n, _ := rec.count("/etag"); n != 1 {
		t.Errorf("a fresh page was asked for %d times", n)
	}
	if n, last := rec.count("/nocache"); n != 2 || last.Header.Get("If-None-Match") != `"first"` {
		t.Errorf("a page to be asked about: %d times, %v", n, last.Header)
	}
	if n, last := rec.count("/nostore"); n != 2 || last.Header.Get("If-None-Match") != "" {
		t.Errorf("a page not to be kept: %d times", n)
	}
	if n, last := rec.count("/old"); n != 2 || last.Header.Get("If-Modified-Since") != "Mon, 02 Jan 2006 15:04:05 GMT" {
		t.Errorf("an old page: %d times, %v", n, last.Header)
	}
	if n, last := rec.count("/robots.txt"); n != 1 || last.UserAgent() != "Test/1" || last.Header.Get("Cookie") != "" {
		t.Errorf("robots.txt: %d times", n)
	}
	for path, want := range map[string]bool{"/etag": false, "/nocache": false, "/nostore": true} {
		r, err := f.Run(t.Context(), &router.Call{Tool: "fetch", Arguments: []byte(`{"url":"` + s.URL + path + `"}`)})
		if err != nil || r.NotKept != want {
			t.Errorf("%s: a result not to be kept: %t, %v", path, r != nil && r.NotKept, err)
		}
	}
	text = "second"
	if got := get("/nocache"); got != "second" {
		t.Errorf("after a change: %q", got)
	}
	// Another tenant learns nothing from what was kept.
	if _, err := f.Run(t.Context(), &router.Call{Tool: "fetch", Tenant: "other", Arguments: []byte(`{"url":"` + s.URL + `/etag"}`)}); err != nil {
		t.Fatal(err)
	}
	if n, _ := rec.count("/etag"); n != 2 {
		t.Errorf("another tenant: asked %d times", n)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	for path, c := range map[string]webfetch.Config{
		"allow_hosts[0]":    {AllowHosts: []string{"http://x/"}},
		"deny_hosts[1]":     {DenyHosts: []string{"a.example", "10.0.0.0/99"}},
		"internal_hosts[0]": {InternalHosts: []string{"a b"}},
		"ports[0]":          {Ports: []int{0}},
		"user_agent":        {UserAgent: "a\nb"},
		"max_bytes":         {MaxBytes: 1 << 40},
		"length":            {Length: -1},
		"timeout":           {Timeout: time.Hour},
		"host_interval":     {HostInterval: time.Hour},
		"keep":              {Keep: 1000 * time.Hour},
	} {
		err := c.Check()
		var f *config.FieldError
		if !errors.As(err, &f) || f.Path != path {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := webfetch.New(c, testLogger()); err == nil {
			t.Errorf("%s: New took it", path)
		}
	}
	if err := (&webfetch.Config{}).Check(); err != nil {
		t.Error(err)
	}
	if err := (&webfetch.Config{UserAgent: "/1"}).Check(); err == nil {
		t.Error("a user agent without a name is taken")
	}
}

func TestSchemaIsGolden(t *testing.T) {
	f := newConnector(t, webfetch.Config{})
	tools := f.Tools()
	if len(tools) != 1 || !router.ToolName.MatchString(tools[0].Name) || !tools[0].Effects.ReadOnly() || !tools[0].Effects.Outside || !tools[0].Effects.Untrusted {
		t.Fatalf("%+v", tools)
	}
	got := goldenTool(t, tools[0])
	const golden = "testdata/fetch.json"
	if os.Getenv("HEARTH_UPDATE") != "" {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the tool is not what %s says (HEARTH_UPDATE=1 writes it): %v\n%s", golden, err, got)
	}
}
