package netguard

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// carried are the headers that go along to another origin: they say what is
// wanted, not who asks.
var carried = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "Range": true, "User-Agent": true,
}

// checkRedirect decides whether a redirect is followed. What it follows,
// RoundTrip checks like any request.
func (g *Guard) checkRedirect(r *http.Request, via []*http.Request) error {
	r.Header.Del("Referer") // it would tell the other side the query
	if g.o.MaxRedirects < 0 {
		return http.ErrUseLastResponse
	}
	if len(via) > g.o.MaxRedirects {
		return &limitError{ErrRedirect, fmt.Sprintf("the host redirected more than %d times", g.o.MaxRedirects)}
	}
	if err := g.check(r.URL); err != nil {
		return err
	}
	left := !sameOrigin(via[0].URL, r.URL)
	for _, v := range via[1:] {
		// Back at the first origin by way of another, the path is that other's choice.
		left = left || !sameOrigin(via[0].URL, v.URL)
	}
	if left {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return &limitError{ErrRedirect, "the host redirected a request with content to another host, which is not followed"}
		}
		for name := range r.Header {
			if !carried[name] {
				r.Header.Del(name)
			}
		}
	}
	if g.o.OnRedirect != nil {
		return g.o.OnRedirect(r)
	}
	return nil
}

// sameOrigin compares scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
