package netguard_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"code.dny.dev/ssrf"

	"hearth/internal/netguard"
	"hearth/internal/testkit"
)

// What CheckURL takes is http or https, has no user, and its host is a name or a
// public address in the one spelling that every program reads alike.
func FuzzCheckURL(f *testing.F) {
	for _, raw := range slices.Concat(testkit.Encodings, testkit.Inside) {
		f.Add(strings.ReplaceAll(raw, "PORT", "80"))
	}
	for _, raw := range []string{"https://example.com/a?b=c#d", "http://bücher.example/", "http://1.1.1.1:443/", "https://[2606:4700:4700::1111]/"} {
		f.Add(raw)
	}
	g, err := netguard.New(netguard.Options{})
	if err != nil {
		f.Fatal(err)
	}
	registry := ssrf.New()
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := g.CheckURL(raw)
		if err != nil {
			if netguard.Explain(err) == "" {
				t.Errorf("%q: refused without a word", raw)
			}
			return
		}
		if (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.Opaque != "" || u.Hostname() == "" {
			t.Errorf("%q became %v", raw, u)
		}
		again, err := g.CheckURL(u.String())
		if err != nil || again.Host != u.Host {
			t.Errorf("%q: %v is read again as %v, %v", raw, u, again, err)
		}
		host := u.Hostname()
		if a, err := netip.ParseAddr(host); err == nil {
			if registry.SafeAddr(a) != nil || a.Is4In6() || a.Zone() != "" {
				t.Errorf("%q: took the address %s", raw, a)
			}
			return
		}
		last := host[strings.LastIndexByte(host, '.')+1:]
		if last == "" || strings.Trim(last, "0123456789") == "" || strings.ContainsAny(host, "%@/\\ :") {
			t.Errorf("%q: took the name %q", raw, host)
		}
	})
}
