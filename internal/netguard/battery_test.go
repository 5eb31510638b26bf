package netguard_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"hearth/internal/netguard"
)

// battery are URLs of things inside, in every spelling that ever got past a
// check. PORT is where a server of this machine listens that must see none of them.
var battery = []string{
	// this machine
	"http://127.0.0.1:PORT/", "http://127.0.0.2:PORT/", "http://127.1.2.3:PORT/", "http://127.255.255.254:PORT/",
	"http://localhost:PORT/", "http://LOCALHOST:PORT/", "http://sub.localhost:PORT/", "http://0.0.0.0:PORT/", "http://0.1.2.3:PORT/",
	"http://[::1]:PORT/", "http://[::]:PORT/", "http://[0:0:0:0:0:0:0:1]:PORT/", "http://[0000:0000:0000:0000:0000:0000:0000:0001]:PORT/",
	// other spellings of IPv4
	"http://2130706433:PORT/", "http://017700000001:PORT/", "http://0x7f000001:PORT/", "http://0x7F000001:PORT/",
	"http://0177.0.0.1:PORT/", "http://0x7f.0.0.1:PORT/", "http://0x7f.1:PORT/", "http://127.1:PORT/", "http://127.0.1:PORT/",
	"http://0:PORT/", "http://00000177.0.0.01:PORT/", "http://127.0.0.1.:PORT/", "http://127.0.0.1..:PORT/", "http://127.0.0.0x1:PORT/",
	"http://127.0.0.00000001:PORT/", "http://4294967297:PORT/", "http://127.0.0.257:PORT/", "http://localhost.:PORT/",
	"http://127.00.00.01:PORT/", "http://256.256.256.256:PORT/", "http://0x:PORT/",
	// Unicode and percent
	"http://１２７.０.０.１:PORT/", "http://127。0。0。1:PORT/", "http://127．0．0．1:PORT/", "http://①②⑦.⓪.⓪.①:PORT/",
	"http://ｌｏｃａｌｈｏｓｔ:PORT/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/", "http://%31%32%37.0.0.1:PORT/", "http://127%2e0%2e0%2e1:PORT/",
	"http://%6c%6f%63%61%6c%68%6f%73%74:PORT/", "http://loc%61lhost:PORT/", "http://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1:PORT/",
	"http://127.0.0.1%00.example.com:PORT/", "http://localh\u00adost:PORT/", "http://loc\u200balhost:PORT/",
	// who is the host?
	"http://example.com@127.0.0.1:PORT/", "http://user:pass@127.0.0.1:PORT/", "http://127.0.0.1:PORT@localhost:PORT/",
	"http://example.com%40127.0.0.1:PORT/", "http://example.com\\@127.0.0.1:PORT/", "http:\\\\127.0.0.1:PORT/", "http:///127.0.0.1:PORT/",
	"http:127.0.0.1:PORT/", "//127.0.0.1:PORT/", "http://127.0.0.1:PORT#@example.com/", "http://127.0.0.1:PORT?@example.com/",
	"http://[::1]@127.0.0.1:PORT/", "http://[127.0.0.1]:PORT/", "http://::1:PORT/", "http://[::1:PORT/",
	" http://127.0.0.1:PORT/", "http://127.0.0.1:PORT/ HTTP/1.1\r\nX: y", "http://127.0.0.1\t:PORT/", "http://127.0.0.1:0PORT/", "http://127.0.0.1:+PORT/",
	// IPv4 inside of IPv6
	"http://[::ffff:127.0.0.1]:PORT/", "http://[::ffff:7f00:1]:PORT/", "http://[0:0:0:0:0:ffff:7f00:0001]:PORT/", "http://[::127.0.0.1]:PORT/",
	"http://[::7f00:1]:PORT/", "http://[::ffff:0:127.0.0.1]:PORT/", "http://[64:ff9b::127.0.0.1]:PORT/", "http://[64:ff9b::7f00:1]:PORT/",
	"http://[64:ff9b:1::7f00:1]:PORT/", "http://[2002:7f00:1::]:PORT/", "http://[2002:7f00:0001::1]:PORT/", "http://[2001:0:7f00:1::]:PORT/",
	"http://[2001:0000:4136:e378:8000:63bf:80ff:fffe]:PORT/", "http://[fe80::5efe:127.0.0.1]:PORT/", "http://[2a00:1450::5efe:7f00:1]:PORT/", "http://[2a00:1450::200:5efe:7f00:1]:PORT/",
	"http://[::ffff:169.254.169.254]/", "http://[::ffff:10.0.0.1]:PORT/", "http://[::ffff:8.8.8.8]:PORT/",
	// zones
	"http://[fe80::1%25lo]:PORT/", "http://[::1%25lo]:PORT/", "http://[fe80::1%lo]:PORT/",
	// networks inside
	"http://10.0.0.1/", "http://10.255.255.255/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.0.1/", "http://192.168.255.255/",
	"http://100.64.0.1/", "http://100.127.255.255/", "http://169.254.0.1/", "http://192.0.0.1/", "http://192.0.2.1/", "http://198.18.0.1/",
	"http://198.19.255.255/", "http://198.51.100.1/", "http://203.0.113.1/", "http://192.88.99.1/", "http://224.0.0.1/", "http://239.255.255.255/",
	"http://240.0.0.1/", "http://255.255.255.255/", "http://[fc00::1]/", "http://[fd12:3456:789a::1]/", "http://[fe80::1]/", "http://[febf::1]/", "http://[fec0::1]/",
	"http://[ff02::1]/", "http://[2001:db8::1]/", "http://[3fff::1]/", "http://[2001:2::1]/", "http://[100::1]/", "http://[5f00::1]/",
	// metadata of clouds
	"http://169.254.169.254/latest/meta-data/", "http://169.254.170.2/", "http://168.63.129.16/", "http://100.100.100.200/", "http://192.0.0.192/",
	"http://[fd00:ec2::254]/", "http://[fd20:ce::254]/", "http://metadata.google.internal/", "http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/",
	// names that lead inside, and other schemes and ports
	"http://loopback.test:PORT/", "http://loopback6.test:PORT/", "http://mapped.test:PORT/", "http://private.test:PORT/", "http://ula.test:PORT/", "http://nat64.test:PORT/",
	"http://6to4.test:PORT/", "http://multicast.test:PORT/", "http://unspecified.test:PORT/", "http://both.test:PORT/", "http://metadata.test/", "http://azure.test/",
	"ftp://127.0.0.1:PORT/", "file:///etc/passwd", "gopher://127.0.0.1:PORT/_x", "unix:///run/x.sock", "jar:http://127.0.0.1:PORT!/", "data:text/html,x", "javascript:alert(1)",
	"http://93.184.215.14:22/", "http://93.184.215.14:6379/", "http://93.184.215.14:0/", "http://93.184.215.14:65536/",
}

// inside is what names lead to in these tests.
var inside = map[string][]string{
	"loopback.test": {"127.0.0.1"}, "loopback6.test": {"::1"}, "mapped.test": {"::ffff:127.0.0.1"}, "private.test": {"10.0.0.1", "192.168.1.1"},
	"ula.test": {"fd00::1"}, "nat64.test": {"64:ff9b::7f00:1"}, "6to4.test": {"2002:7f00:1::"}, "multicast.test": {"224.0.0.1", "ff02::1"},
	"unspecified.test": {"0.0.0.0", "::"}, "both.test": {"127.0.0.1", "::1"}, "metadata.test": {"169.254.169.254"}, "azure.test": {"168.63.129.16"},
	"metadata.google.internal": {"169.254.169.254"}, "localhost": {"127.0.0.1"}, "sub.localhost": {"127.0.0.1"},
}

func insideAnswer(name string, _ int) []netip.Addr {
	var out []netip.Addr
	for _, a := range inside[name] {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// startCanary listens on one port of all addresses of this machine, IPv4 and
// IPv6, and counts the connections that reach it.
func startCanary(t *testing.T) (port string, reached *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", ":0") // both families, where the machine has both
	if err != nil {
		t.Fatal(err)
	}
	reached = new(atomic.Int64)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("inside")) }),
	}
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			reached.Add(1)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port), reached
}

// hasIPv6 says that the machine has a loopback address of IPv6.
func hasIPv6() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		ln.Close()
	}
	return err == nil
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNothingInsideIsReached(t *testing.T) {
	port, reached := startCanary(t)
	_, resolver := startNameServer(t, insideAnswer)
	g, err := netguard.New(netguard.Options{Policy: netguard.Policy{Ports: []int{80, 443, atoi(t, port)}}, Resolver: resolver})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if len(battery) < 60 {
		t.Fatalf("the battery has %d URLs", len(battery))
	}
	for _, raw := range battery {
		raw = strings.ReplaceAll(raw, "PORT", port)
		if _, err := g.CheckURL(raw); err == nil {
			// Only a name passes this far: what it leads to is decided when connecting.
			u, err := url.Parse(raw)
			if err != nil {
				t.Errorf("%q: CheckURL took what url.Parse does not", raw)
				continue
			}
			if _, err := netip.ParseAddr(u.Hostname()); err == nil {
				t.Errorf("%q: CheckURL took an address inside", raw)
			}
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, raw, nil)
		if err != nil {
			continue // net/http itself refuses it; a caller that parses by hand has CheckURL
		}
		resp, err := g.Client().Do(r)
		if err == nil {
			resp.Body.Close()
			t.Errorf("%q was reached", raw)
			continue
		}
		if !errors.Is(err, netguard.ErrForbidden) {
			t.Errorf("%q: the error is not ErrForbidden: %v", raw, err)
		}
		if text := netguard.Explain(err); text == "" || strings.Contains(text, "the request failed") {
			t.Errorf("%q: nothing is explained: %q", raw, text)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections reached the server inside", n)
	}
	// The server can be reached: without the guard these same URLs are served.
	open := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Resolver: resolver}).DialContext, DisableKeepAlives: true}}
	for _, raw := range []string{"http://127.0.0.1:PORT/", "http://[::1]:PORT/", "http://[::ffff:7f00:1]:PORT/", "http://loopback.test:PORT/", "http://0.0.0.0:PORT/", "http://127。0。0。1:PORT/"} {
		if strings.Contains(raw, "[::1]") && !hasIPv6() {
			continue
		}
		resp, err := open.Get(strings.ReplaceAll(raw, "PORT", port))
		if err != nil {
			t.Errorf("without the guard: %v", err)
			continue
		}
		resp.Body.Close()
	}
	if reached.Load() == 0 {
		t.Error("the server inside counts nothing: the test above shows nothing")
	}
}

func TestPublicAddressesPass(t *testing.T) {
	g, err := netguard.New(netguard.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{
		"http://93.184.215.14/", "https://1.1.1.1/", "https://8.8.8.8:443/x?y=z#f", "https://[2606:4700:4700::1111]/", "https://[2A00:1450:4001:80f::200e]:443/",
		"https://example.com/", "https://EXAMPLE.com/a%20b", "http://xn--bcher-kva.example/", "https://bücher.example/", "https://a_b.example.com/", "https://1and1.com/", "https://9.example/", "https://0x7f.example/",
		"http://172.15.255.255/", "http://172.32.0.1/", "http://100.63.255.255/", "http://100.128.0.1/", "http://11.0.0.1/", "http://223.255.255.254/",
	} {
		u, err := g.CheckURL(raw)
		if err != nil {
			t.Errorf("%q: %v", raw, err)
		} else if u.Fragment != "" {
			t.Errorf("%q keeps its fragment", raw)
		}
	}
}

func TestADialerForOtherProtocolsChecksToo(t *testing.T) {
	port, reached := startCanary(t)
	_, resolver := startNameServer(t, insideAnswer)
	g, err := netguard.New(netguard.Options{Policy: netguard.Policy{Ports: []int{atoi(t, port)}}, Resolver: resolver})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{
		"127.0.0.1:" + port, "[::1]:" + port, "localhost:" + port, "loopback.test:" + port, "[::ffff:127.0.0.1]:" + port, "[fe80::1%lo]:" + port, "2130706433:" + port, "127.0.0.1", ":" + port, "127.0.0.1:x",
	} {
		if c, err := g.DialContext(t.Context(), "tcp", to); !errors.Is(err, netguard.ErrForbidden) {
			if c != nil {
				c.Close()
			}
			t.Errorf("%s: %v", to, err)
		}
	}
	for _, network := range []string{"udp", "unix", "ip4:icmp", ""} {
		if _, err := g.DialContext(context.Background(), network, "93.184.215.14:80"); !errors.Is(err, netguard.ErrForbidden) {
			t.Errorf("network %q: %v", network, err)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections reached the server inside", n)
	}
}
