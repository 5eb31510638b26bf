package upstream

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hearth/internal/config"
	"hearth/internal/netguard"
)

// headerTimeout bounds the wait for an answer's headers. Servers without event
// streams send them with the result, so it is no shorter than calls may be.
const headerTimeout = 24 * time.Hour

// unread is how much of what a server sends is taken before it is read: the rest of a
// flood stays with the server, which waits.
const unread = 128 << 10

// door makes the requests to one server: to its own origin only, with what the
// configuration adds, and bounded.
type door struct {
	guard   *netguard.Guard
	origin  *url.URL
	headers map[string]config.Secret
	bearer  config.Secret
	message int64
	pace    *pace
}

func newDoor(c *Config) (*door, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	policy, err := netguard.Origins(c.URL)
	if err != nil {
		return nil, err
	}
	guard, err := netguard.New(netguard.Options{
		Policy: policy, HeaderTimeout: headerTimeout, IdleTimeout: -1, MaxBody: -1, ReceiveBuffer: unread,
	})
	if err != nil {
		return nil, err
	}
	return &door{guard: guard, origin: u, headers: c.Headers, bearer: c.Bearer, message: int64(c.MessageBytes), pace: newPace()}, nil
}

// client returns the client of the SDK's transports.
func (d *door) client() *http.Client {
	return &http.Client{Transport: d, CheckRedirect: d.guard.Client().CheckRedirect}
}

// RoundTrip makes one request. A redirect to another origin is refused by the
// guard, so the headers stay where they belong.
func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != d.origin.Scheme || !strings.EqualFold(r.URL.Host, d.origin.Host) {
		return nil, fmt.Errorf("the server sends its client to another address, which is not followed")
	}
	r = r.Clone(r.Context())
	for name, secret := range d.headers {
		v, err := secret.Value()
		if err != nil {
			return nil, fmt.Errorf("headers.%s: %w", name, err)
		}
		r.Header.Set(name, v)
	}
	if d.bearer != "" {
		v, err := d.bearer.Value()
		if err != nil {
			return nil, fmt.Errorf("bearer: %w", err)
		}
		r.Header.Set("Authorization", "Bearer "+v)
	}
	if r.Method == http.MethodPost {
		d.pace.sent(1)
	}
	resp, err := d.guard.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil && kind == "text/event-stream" {
		resp.Body = newEvents(resp.Body, int(d.message), d.pace, r.Context().Done())
	} else {
		resp.Body = &screened{r: resp.Body, pace: d.pace, done: r.Context().Done(), left: d.message}
	}
	return resp, nil
}

func (d *door) close() { d.guard.Close() }

// tokenClient returns the client for what tokens come from: the server's own host,
// the public internet, and what the configuration names.
func tokenClient(c *Config) (*netguard.Guard, error) {
	policy, err := netguard.Origins(c.URL)
	if err != nil {
		return nil, err
	}
	policy.Only = nil
	policy.Allow = append(policy.Allow, c.OAuth.InternalHosts...)
	return netguard.New(netguard.Options{Policy: policy, MaxBody: 1 << 20})
}

// drain reads what little is left of an answer, so that its connection is used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
	_ = body.Close()
}

// caused returns the error that ended ctx, if that is what happened.
func caused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
