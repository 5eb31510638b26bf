package netguard

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

func closeResponse(resp *http.Response) {
	_ = resp.Body.Close() // nothing is read from it, so nothing can be lost
}

// boundedBody is the body of a response that ends with an error where it is too
// long, or silent for too long.
type boundedBody struct {
	body   io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	idle   time.Duration // negative: none
	left   int64         // bytes that may still come; negative max: any number
	max    int64
	once   sync.Once
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if b.max >= 0 && int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more than may come, to tell the end from too much
	}
	var timer *time.Timer
	if b.idle > 0 {
		timer = time.AfterFunc(b.idle, func() {
			b.cancel(&limitError{ErrTimeout, fmt.Sprintf("the host sent nothing for %s", b.idle)})
		})
	}
	n, err := b.body.Read(p)
	if timer != nil {
		timer.Stop()
	}
	if b.max >= 0 {
		if int64(n) > b.left {
			n, b.left = int(b.left), 0
			return n, &limitError{ErrTooLarge, fmt.Sprintf("the response has more than the %d bytes that are read", b.max)}
		}
		b.left -= int64(n)
	}
	if err != nil && err != io.EOF {
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

// Close frees the connection. It is safe to call twice.
func (b *boundedBody) Close() error {
	err := b.body.Close()
	b.once.Do(func() { b.cancel(nil) })
	return err
}
