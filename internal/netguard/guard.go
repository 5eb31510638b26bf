package netguard

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Options are the policy and the bounds of a Guard. Zero values take the default.
type Options struct {
	Policy Policy
	// DialTimeout bounds resolving a name and connecting. Default 10 s.
	DialTimeout time.Duration
	// TLSTimeout bounds a TLS handshake. Default 10 s.
	TLSTimeout time.Duration
	// HeaderTimeout bounds the time from the request until the headers of the
	// response are there. Default 30 s.
	HeaderTimeout time.Duration
	// IdleTimeout bounds the time between two pieces of a body. Default 30 s;
	// negative: none, for streams that may be silent.
	IdleTimeout time.Duration
	// ReceiveBuffer is how much the kernel takes from a server before it is read, in
	// bytes. Default: what the kernel thinks fit, which may be many megabytes.
	ReceiveBuffer int
	// MaxHeader bounds the headers of a response, in bytes. Default 64 KiB.
	MaxHeader int64
	// MaxBody bounds the body of a response, in bytes, after the decompression that
	// net/http does. A longer one is read up to the bound and ends in ErrTooLarge.
	// Default 10 MiB; negative: none, for streams.
	MaxBody int64
	// MaxRedirects bounds how many redirects are followed. Default 5; negative:
	// none is followed, the redirect itself is the response.
	MaxRedirects int
	// OnRedirect is asked before a redirect is followed, after the Guard's own
	// checks; an error ends the request with it. May be nil.
	OnRedirect func(*http.Request) error
	// UserAgent is sent where a request names none. Default "Hearth".
	UserAgent string
	// RootCAs are the authorities that are trusted. Default: those of the machine.
	RootCAs *x509.CertPool
	// Resolver resolves names. Default: the machine's.
	Resolver *net.Resolver
}

// Guard makes connections and HTTP requests within a policy. It is an
// http.RoundTripper.
type Guard struct {
	o         Options
	rules     *rules
	transport *http.Transport
}

// New returns a Guard. The error is a *config.FieldError where the policy cannot
// be used.
func New(o Options) (*Guard, error) {
	r, err := o.Policy.compile()
	if err != nil {
		return nil, err
	}
	setDefault(&o.DialTimeout, 10*time.Second)
	setDefault(&o.TLSTimeout, 10*time.Second)
	setDefault(&o.HeaderTimeout, 30*time.Second)
	setDefault(&o.IdleTimeout, 30*time.Second)
	setDefault(&o.MaxHeader, 64<<10)
	setDefault(&o.MaxBody, 10<<20)
	setDefault(&o.MaxRedirects, 5)
	setDefault(&o.UserAgent, "Hearth")
	g := &Guard{o: o, rules: r}
	g.transport = &http.Transport{
		Proxy:                  nil, // a proxy would connect where no check of ours looks
		DialContext:            g.DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    o.TLSTimeout,
		ResponseHeaderTimeout:  o.HeaderTimeout,
		MaxResponseHeaderBytes: o.MaxHeader,
		ExpectContinueTimeout:  time.Second,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        90 * time.Second,
	}
	if o.RootCAs != nil {
		g.transport.TLSClientConfig = tlsConfig(o.RootCAs)
	}
	return g, nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Client returns an HTTP client over the Guard. It keeps no cookies.
func (g *Guard) Client() *http.Client {
	return &http.Client{Transport: g, CheckRedirect: g.checkRedirect}
}

// Close closes idle connections. Requests in flight go on.
func (g *Guard) Close() { g.transport.CloseIdleConnections() }

// CheckURL reads a URL and says whether the policy lets a request go there, as far
// as that can be known without resolving its host. The URL returned has no
// fragment.
func (g *Guard) CheckURL(raw string) (*url.URL, error) {
	if len(raw) > MaxURLBytes {
		return nil, refuse("the URL", fmt.Sprintf("it has %d bytes, but at most %d are read", len(raw), MaxURLBytes))
	}
	if strings.ContainsAny(raw, "\\\t\r\n ") {
		return nil, refuse("the URL", "it must not hold spaces, line ends or backslashes; write them as %20 and so on")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, refuse("the URL", "it cannot be read; write it as in https://example.com/page")
	}
	u.Fragment, u.RawFragment = "", ""
	if err := g.check(u); err != nil {
		return nil, err
	}
	return u, nil
}

func (g *Guard) check(u *url.URL) error {
	at, err := placeOf(u)
	if err != nil {
		return err
	}
	return g.rules.place(at)
}

// DialContext connects to host:port, where the policy lets it. The network is
// "tcp", "tcp4" or "tcp6". It is what a database driver or another client takes
// that is not an HTTP client.
func (g *Guard) DialContext(ctx context.Context, network, hostport string) (net.Conn, error) {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, refuse(hostport, "only TCP connections are made")
	}
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, refuse(hostport, "this is not a host and a port")
	}
	port, err := parsePort(portText)
	if err != nil {
		return nil, err
	}
	at, err := canonical(host, strings.Contains(host, ":"))
	if err != nil {
		return nil, err
	}
	at.port = port
	if err := g.rules.place(at); err != nil {
		return nil, err
	}
	d := net.Dialer{
		Timeout:  g.o.DialTimeout,
		Resolver: g.o.Resolver,
		// The one place that counts: the kernel is told this address and no other.
		ControlContext: func(_ context.Context, _, address string, raw syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || ap.Port() != port {
				return refuse(at.host, "its address cannot be read")
			}
			if err := g.rules.address(at, ap.Addr()); err != nil || g.o.ReceiveBuffer == 0 {
				return err
			}
			var set error // before it connects: the size of the window is agreed on then
			err = raw.Control(func(fd uintptr) {
				set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, g.o.ReceiveBuffer)
			})
			return errors.Join(err, set)
		},
	}
	conn, err := d.DialContext(ctx, network, at.String())
	var refused *RefusedError
	if errors.As(err, &refused) {
		return nil, refused // without net's wrapping, which spells out the address
	}
	return conn, err
}

// RoundTrip sends one request, without following redirects, and bounds its
// response.
func (g *Guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.check(r.URL); err != nil {
		closeBody(r)
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	r = r.Clone(ctx)
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header.Set("User-Agent", g.o.UserAgent)
	}
	resp, err := g.transport.RoundTrip(r)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		closeResponse(resp)
		cancel(nil)
		return nil, &limitError{ErrForbidden, "the host switched to another protocol"}
	}
	resp.Body = &boundedBody{body: resp.Body, ctx: ctx, cancel: cancel, idle: g.o.IdleTimeout, left: g.o.MaxBody, max: g.o.MaxBody}
	return resp, nil
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close() // a RoundTripper closes it, also on errors
	}
}
