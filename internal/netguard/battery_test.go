package netguard_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hearth/internal/netguard"
	"hearth/internal/testkit"
)

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
	port, reached := testkit.StartCanary(t)
	_, resolver := testkit.StartNameServer(t, testkit.InsideAnswer)
	g, err := netguard.New(netguard.Options{Policy: netguard.Policy{Ports: []int{80, 443, atoi(t, port)}}, Resolver: resolver})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	encodings := slices.Compact(slices.Sorted(slices.Values(testkit.Encodings)))
	t.Logf("%d encodings of addresses, %d URLs in all", len(encodings), len(encodings)+len(testkit.Inside))
	if len(encodings) < 60 {
		t.Errorf("%d encodings of addresses are too few", len(encodings))
	}
	for _, raw := range slices.Concat(encodings, testkit.Inside) {
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
	port, reached := testkit.StartCanary(t)
	_, resolver := testkit.StartNameServer(t, testkit.InsideAnswer)
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
