package netguard_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hearth/internal/netguard"
	"hearth/internal/testkit"
)

// serveOn serves on an address of this machine and returns its port.
func serveOn(t *testing.T, ip string, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = ln
	s.Start()
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

func newGuard(t *testing.T, o netguard.Options) *netguard.Guard {
	t.Helper()
	g, err := netguard.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// 127.0.0.2 stands for the public internet below: it is allowed, 127.0.0.1 is not.
const outside = "127.0.0.2"

// A name server answers with an address that may be reached the first time, and
// with one inside ever after. A check apart from the connection would be passed.
func TestRebindingReachesNothing(t *testing.T) {
	port, reached := testkit.StartCanary(t) // listens on both addresses
	servers, resolver := testkit.StartNameServer(t, func(name string, n int) []netip.Addr {
		switch {
		case name == "rebind.test" && n == 0:
			return []netip.Addr{netip.MustParseAddr(outside)}
		case name == "rebind.test":
			return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
		}
		return nil
	})
	g := newGuard(t, netguard.Options{Policy: netguard.Policy{Allow: []string{outside}, Ports: []int{atoi(t, port)}}, Resolver: resolver})
	get := func() error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://rebind.test:"+port+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Close = true // each request connects anew
		resp, err := g.Client().Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := get(); err != nil {
		t.Fatalf("the first request, whose address is allowed: %v", err)
	}
	if n := reached.Load(); n != 1 {
		t.Fatalf("%d connections after the first request", n)
	}
	for range 5 {
		err := get()
		if !errors.Is(err, netguard.ErrForbidden) {
			t.Fatalf("after the name moved inside: %v", err)
		}
		if text := netguard.Explain(err); !strings.Contains(text, "rebind.test") || strings.Contains(text, "127.0.0.1") {
			t.Errorf("the explanation does not name the host, or names what it leads to: %q", text)
		}
	}
	if n := reached.Load(); n != 1 {
		t.Errorf("%d connections reached the server, one was allowed", n)
	}
	if n := servers.Count("rebind.test"); n < 6 {
		t.Errorf("the name server was asked %d times: the requests did not resolve anew", n)
	}
}

// Of several addresses of a name those that are allowed are tried.
func TestForbiddenAddressesOfANameArePassedOver(t *testing.T) {
	port, reached := testkit.StartCanary(t)
	_, resolver := testkit.StartNameServer(t, func(string, int) []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr(outside), netip.MustParseAddr("10.0.0.1")}
	})
	g := newGuard(t, netguard.Options{Policy: netguard.Policy{Allow: []string{outside}, Ports: []int{atoi(t, port)}}, Resolver: resolver})
	c, err := g.DialContext(t.Context(), "tcp", "mixed.test:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.RemoteAddr().(*net.TCPAddr).IP.String(); got != outside || reached.Load() > 1 {
		t.Errorf("connected to %s", got)
	}
}

func TestANameThatIsAllowedMayLeadInside(t *testing.T) {
	port, _ := testkit.StartCanary(t)
	_, resolver := testkit.StartNameServer(t, testkit.InsideAnswer)
	g := newGuard(t, netguard.Options{Policy: netguard.Policy{Allow: []string{"loopback.test:" + port, "metadata.test:*", "multicast.test:*", "azure.test:*", "unspecified.test:*"}}, Resolver: resolver})
	resp, err := g.Client().Get("http://loopback.test:" + port + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for _, host := range []string{"metadata.test", "multicast.test", "azure.test", "unspecified.test", "loopback6.test"} {
		if _, err := g.Client().Get("http://" + host + "/"); !errors.Is(err, netguard.ErrForbidden) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestRedirectsInsideAreNotFollowed(t *testing.T) {
	port, reached := testkit.StartCanary(t)
	_, resolver := testkit.StartNameServer(t, testkit.InsideAnswer)
	n := 0
	out := serveOn(t, outside, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader([]int{301, 302, 303, 307, 308}[n%5])
		n++
	})
	g := newGuard(t, netguard.Options{Policy: netguard.Policy{Allow: []string{outside + ":" + out}, Ports: []int{80, atoi(t, port)}}, Resolver: resolver})
	for _, to := range []string{
		"http://127.0.0.1:PORT/", "http://localhost:PORT/", "http://[::1]:PORT/", "http://loopback.test:PORT/", "//127.0.0.1:PORT/", "http://2130706433:PORT/",
		"http://0x7f.1:PORT/", "http://[::ffff:127.0.0.1]:PORT/", "http://169.254.169.254/", "http://user:pass@127.0.0.1:PORT/", "file:///etc/passwd", "gopher://127.0.0.1:PORT/",
		"/?to=http://127.0.0.1:PORT/", "http://127。0。0。1:PORT/",
	} {
		to = strings.ReplaceAll(to, "PORT", port)
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+outside+":"+out+"/", nil)
		r.URL.RawQuery = "to=" + strings.NewReplacer(":", "%3A", "/", "%2F", "?", "%3F", "=", "%3D").Replace(to)
		resp, err := g.Client().Do(r)
		if err == nil {
			resp.Body.Close()
			t.Errorf("redirected to %s: %s", to, resp.Status)
		} else if !errors.Is(err, netguard.ErrForbidden) {
			t.Errorf("redirected to %s: %v", to, err)
		}
	}
	if r := reached.Load(); r != 0 {
		t.Errorf("%d connections reached the server inside", r)
	}
}

func TestCredentialsStayAtTheirOrigin(t *testing.T) {
	var second http.Header
	b := serveOn(t, outside, func(_ http.ResponseWriter, r *http.Request) { second = r.Header })
	var home http.Header
	a := serveOn(t, outside, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/home", http.StatusFound)
		case "/other":
			http.Redirect(w, r, "http://"+outside+":"+b+"/", http.StatusTemporaryRedirect)
		case "/home":
			home = r.Header
		}
	})
	g := newGuard(t, netguard.Options{Policy: netguard.Policy{Allow: []string{outside + ":*"}}})
	send := func(method, path string, body io.Reader) error {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+outside+":"+a+path+"?key=secret", body)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []string{"Authorization", "Cookie", "X-Api-Key", "X-Subscription-Token", "Proxy-Authorization"} {
			r.Header.Set(h, "secret")
		}
		r.Header.Set("Accept", "text/html")
		resp, err := g.Client().Do(r)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := send(http.MethodGet, "/same", nil); err != nil || home.Get("X-Api-Key") != "secret" || home.Get("Authorization") != "secret" {
		t.Errorf("at the same origin: %v, %v", err, home)
	}
	if err := send(http.MethodGet, "/other", nil); err != nil {
		t.Error(err)
	}
	if text := fmt.Sprint(second); second == nil || strings.Contains(text, "secret") || second.Get("Accept") != "text/html" {
		t.Errorf("the other origin got %v", second)
	}
	second = nil
	if err := send(http.MethodPost, "/other", strings.NewReader("secret")); !errors.Is(err, netguard.ErrRedirect) || second != nil {
		t.Errorf("a body to another origin: %v, %v", err, second)
	}
}

func TestRedirectsAreCounted(t *testing.T) {
	var port string
	var asked atomic.Int64
	port = serveOn(t, outside, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, fmt.Sprintf("http://%s:%s/%d", outside, port, asked.Load()), http.StatusFound)
	})
	allow := netguard.Policy{Allow: []string{outside + ":*"}}
	for _, tt := range []struct {
		max  int
		want int64
	}{{3, 4}, {0, 6}} {
		asked.Store(0)
		g := newGuard(t, netguard.Options{Policy: allow, MaxRedirects: tt.max})
		_, err := g.Client().Get("http://" + outside + ":" + port + "/")
		if !errors.Is(err, netguard.ErrRedirect) || asked.Load() != tt.want || !strings.Contains(netguard.Explain(err), "redirected more than") {
			t.Errorf("at most %d: %d requests, %v", tt.max, asked.Load(), err)
		}
	}
	resp, err := newGuard(t, netguard.Options{Policy: allow, MaxRedirects: -1}).Client().Get("http://" + outside + ":" + port + "/")
	if err != nil || resp.StatusCode != http.StatusFound {
		t.Fatalf("none followed: %v", err)
	}
	resp.Body.Close()
	stop := errors.New("stop")
	_, err = newGuard(t, netguard.Options{Policy: allow, OnRedirect: func(*http.Request) error { return stop }}).Client().Get("http://" + outside + ":" + port + "/")
	if !errors.Is(err, stop) {
		t.Errorf("OnRedirect: %v", err)
	}
}

func TestResponsesAreBounded(t *testing.T) {
	release := make(chan struct{})
	port := serveOn(t, outside, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/exact":
			_, _ = w.Write(make([]byte, 1000))
		case "/more":
			_, _ = w.Write(make([]byte, 1001))
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(make([]byte, 1<<20))
			_ = z.Close()
		case "/header":
			w.Header().Set("X-Big", strings.Repeat("a", 8000))
		case "/silent":
			_, _ = w.Write([]byte("a"))
			_ = http.NewResponseController(w).Flush()
			<-release
		case "/never":
			<-release
		case "/agent":
			_, _ = io.WriteString(w, r.UserAgent())
		}
	})
	t.Cleanup(func() { close(release) })
	bounds := netguard.Options{Policy: netguard.Policy{Allow: []string{outside + ":*"}}, MaxBody: 1000, MaxHeader: 4000, UserAgent: "test/1"}
	patient := newGuard(t, bounds)
	bounds.IdleTimeout, bounds.HeaderTimeout = 400*time.Millisecond, 400*time.Millisecond
	hasty := newGuard(t, bounds)
	for path, want := range map[string]struct {
		n    int
		kind error
		text string
	}{
		"/exact":   {1000, nil, ""},
		"/more":    {1000, netguard.ErrTooLarge, "1000 bytes"},
		"/endless": {1000, netguard.ErrTooLarge, "1000 bytes"},
		"/bomb":    {1000, netguard.ErrTooLarge, "1000 bytes"},
		"/silent":  {1, netguard.ErrTimeout, "400ms"},
		"/header":  {0, errAny, "headers of the response are too large"},
		"/never":   {0, errAny, "did not answer in time"},
		"/agent":   {6, nil, ""},
	} {
		data, err := func() ([]byte, error) {
			g := patient
			if path == "/never" || path == "/silent" {
				g = hasty
			}
			resp, err := g.Client().Get("http://" + outside + ":" + port + path)
			if err != nil {
				return nil, err
			}
			defer resp.Body.Close()
			return io.ReadAll(resp.Body)
		}()
		if len(data) != want.n || (want.kind == nil) != (err == nil) || (want.kind != errAny && !errors.Is(err, want.kind)) {
			t.Errorf("%s: %d bytes, %v", path, len(data), err)
		}
		if text := netguard.Explain(err); !strings.Contains(text, want.text) {
			t.Errorf("%s: explained as %q", path, text)
		}
	}
}

var errAny = errors.New("any")

func TestAStreamHasNoBounds(t *testing.T) {
	port := serveOn(t, outside, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 11<<20)) })
	g := newGuard(t, netguard.Options{Policy: netguard.Policy{Allow: []string{outside + ":*"}}, MaxBody: -1, IdleTimeout: -1})
	resp, err := g.Client().Get("http://" + outside + ":" + port + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != 11<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestTheEnvironmentNamesNoProxy(t *testing.T) {
	var proxied atomic.Int64
	proxy := serveOn(t, "127.0.0.1", func(http.ResponseWriter, *http.Request) { proxied.Add(1) })
	for _, k := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(k, "http://127.0.0.1:"+proxy)
	}
	port := serveOn(t, outside, func(http.ResponseWriter, *http.Request) {})
	g := newGuard(t, netguard.Options{Policy: netguard.Policy{Allow: []string{outside + ":*"}}})
	resp, err := g.Client().Get("http://" + outside + ":" + port + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if proxied.Load() != 0 {
		t.Error("a request went by the proxy of the environment")
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	t.Cleanup(s.Close)
	policy, err := netguard.Origins(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = newGuard(t, netguard.Options{Policy: policy}).Client().Get(s.URL)
	if got := netguard.Explain(err); !strings.Contains(got, "certificate") {
		t.Errorf("an unknown authority: %q, %v", got, err)
	}
	pool := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	resp, err := newGuard(t, netguard.Options{Policy: policy, RootCAs: pool}).Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestExplainTellsNoSecrets(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	_, resolver := testkit.StartNameServer(t, testkit.InsideAnswer)
	g := newGuard(t, netguard.Options{Policy: netguard.Policy{Allow: []string{outside + ":*"}}, Resolver: resolver})
	for _, tt := range []struct{ url, want string }{
		{"http://" + addr + "/?key=s3cret", "refused the connection"},
		{"http://nothere.test/?key=s3cret", "no host of that name"},
		{"http://private.test/?key=s3cret", "private network"},
		{"http://u:s3cret@example.com/", "user name"},
	} {
		_, err := g.Client().Get(tt.url)
		got := netguard.Explain(err)
		if err == nil || !strings.Contains(got, tt.want) || strings.Contains(got, "s3cret") || strings.Contains(got, "10.0.0.1") || strings.Contains(got, "192.168") {
			t.Errorf("%s: %q (%v)", tt.url, got, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	_, err = g.Client().Do(r)
	if got := netguard.Explain(err); got != "the request was canceled" {
		t.Errorf("%q", got)
	}
	if netguard.Explain(nil) != "" || netguard.Explain(errAny) == "" {
		t.Error("Explain of no error, or of any")
	}
}

func TestSilenceBeforeTheResponseEnds(t *testing.T) {
	ln, err := net.Listen("tcp", outside+":0") // takes connections, by its kernel, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	stuck := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	g := newGuard(t, netguard.Options{
		Policy: netguard.Policy{Allow: []string{outside + ":*"}}, Resolver: stuck, DialTimeout: 50 * time.Millisecond, TLSTimeout: 50 * time.Millisecond,
	})
	for url, want := range map[string]string{
		"https://" + ln.Addr().String() + "/": "did not answer in time", "http://slow.test/": "could not be resolved",
	} {
		_, err := g.Client().Get(url)
		if got := netguard.Explain(err); err == nil || !strings.Contains(got, want) && !strings.Contains(got, "in time") {
			t.Errorf("%s: %q, %v", url, got, err)
		}
	}
}

// TestAServerThatIsNotReadWaits: the kernel takes no more than ReceiveBuffer from it.
func TestAServerThatIsNotReadWaits(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	policy, err := netguard.Origins("http://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	windows := map[int]int{}
	for _, size := range []int{0, 96 << 10} {
		g, err := netguard.New(netguard.Options{Policy: policy, ReceiveBuffer: size})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := g.DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			windows[size], err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
		}); err != nil || windows[size] == 0 {
			t.Fatal(err)
		}
		conn.Close()
		g.Close()
	}
	// The kernel doubles it, for what it needs itself.
	if windows[96<<10] != 192<<10 || windows[0] == 192<<10 {
		t.Errorf("windows of %v", windows)
	}
}
