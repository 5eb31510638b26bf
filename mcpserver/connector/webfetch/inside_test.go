package webfetch_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"hearth/internal/testkit"
	"hearth/mcpserver/connector/webfetch"
	"hearth/mcpserver/router"
)

// names is what resolves the names of the test that runs; nil: the system's servers.
var names atomic.Pointer[net.Resolver]

// init sets the resolver once for all tests: connections that a test has given up read
// it after its end.
func init() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if r := names.Load(); r != nil {
			return r.Dial(ctx, network, address)
		}
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}
}

// resolving has the names of this test resolved by answer, and by nobody else.
func resolving(t *testing.T, answer func(name string, n int) []netip.Addr) *testkit.NameServer {
	t.Helper()
	servers, resolver := testkit.StartNameServer(t, answer)
	names.Store(resolver)
	t.Cleanup(func() { names.Store(nil) })
	return servers
}

// TestNothingInsideIsFetched asks the tool for every URL that leads inside, and for a
// page outside that redirects there.
func TestNothingInsideIsFetched(t *testing.T) {
	port, reached := testkit.StartCanary(t)
	resolving(t, testkit.InsideAnswer)
	all := slices.Concat(testkit.Encodings, testkit.Inside)
	for i := range all {
		all[i] = strings.ReplaceAll(all[i], "PORT", port)
	}
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("n"))
		if err != nil {
			http.NotFound(w, r) // robots.txt
			return
		}
		w.Header().Set("Location", all[n])
		w.WriteHeader(http.StatusFound)
	}))
	defer outside.Close()
	inside, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	f := newConnector(t, webfetch.Config{Ports: []int{80, 443, inside}}, outside.Listener.Addr().String())
	refused := func(what, url string) {
		t.Helper()
		text, err := fetch(t, f, args{"url": url})
		var told *router.ToolError
		if !errors.As(err, &told) || told.Message == "" {
			t.Errorf("%s %q: %q, %v", what, url, text, err)
		}
	}
	for i, url := range all {
		refused("asked for", url)
		if !strings.ContainsAny(url, "\r\n\t") && !strings.HasPrefix(url, " ") { // no header has these
			refused("led to "+url+" by", fmt.Sprintf("%s/?n=%d", outside.URL, i))
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections reached the server inside", n)
	}
}

// TestRebindingNameIsNotFetched: a name that led to an address which may be reached,
// and leads inside ever after.
func TestRebindingNameIsNotFetched(t *testing.T) {
	const outside = "127.0.0.2" // stands for the public internet: it is allowed, 127.0.0.1 is not
	port, reached := testkit.StartCanary(t)
	servers := resolving(t, func(name string, n int) []netip.Addr {
		switch {
		case name != "rebind.test":
			return nil
		case n == 0:
			return []netip.Addr{netip.MustParseAddr(outside)}
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
	})
	inside, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	f := newConnector(t, webfetch.Config{Ports: []int{inside}, IgnoreRobots: true, Keep: -1}, outside)
	url := "http://rebind.test:" + port + "/"
	if text, err := fetch(t, f, args{"url": url}); err != nil || !strings.Contains(text, "inside") {
		t.Fatalf("the first time: %q, %v", text, err)
	}
	for range 5 {
		var told *router.ToolError
		if text, err := fetch(t, f, args{"url": url}); !errors.As(err, &told) || !strings.Contains(told.Message, "rebind.test") || strings.Contains(told.Message, "127.0.0.1") {
			t.Errorf("%q, %v", text, err)
		}
	}
	if n := reached.Load(); n != 1 {
		t.Errorf("%d connections reached the server, one was allowed", n)
	}
	if n := servers.Count("rebind.test"); n < 6 {
		t.Errorf("the name server was asked %d times", n)
	}
}
