package netguard

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Errors of this package.
var (
	// ErrForbidden says that the policy does not let a connection go there.
	ErrForbidden = errors.New("not allowed to connect there")
	// ErrTooLarge says that a response's body is longer than the bound.
	ErrTooLarge = errors.New("the response is too large")
	// ErrTimeout says that the other side sent nothing for too long.
	ErrTimeout = errors.New("the other side sent nothing for too long")
	// ErrRedirect says that a redirect was not followed.
	ErrRedirect = errors.New("the redirect was not followed")
)

// RefusedError says what is refused and why, in words for a person or a model.
type RefusedError struct {
	// Target is what was asked for, as it was asked for: never an address that a
	// name turned out to have.
	Target string
	Reason string
}

func (e *RefusedError) Error() string { return e.Target + ": " + e.Reason }

// Unwrap makes errors.Is(err, ErrForbidden) true.
func (e *RefusedError) Unwrap() error { return ErrForbidden }

func refuse(target, reason string) error { return &RefusedError{Target: target, Reason: reason} }

// Explain says in words for a person or a model why a request failed. The text
// holds no URL, so no key from a query string, and no address that a name of an
// internal host resolved to.
func Explain(err error) string {
	var (
		refused *RefusedError
		dns     *net.DNSError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refused):
		return refused.Error()
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrTimeout):
		return rootText(err)
	case errors.Is(err, ErrRedirect):
		return rootText(err)
	case errors.As(err, &dns) && dns.IsNotFound:
		return "there is no host of that name"
	case errors.As(err, &dns):
		return "the name of the host could not be resolved"
	case errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &invalid):
		return "the certificate of the host is not valid for it"
	case errors.As(err, &record):
		return "the host does not speak TLS on that port"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return "the host did not answer in time"
	case errors.Is(err, context.Canceled):
		return "the request was canceled"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the host refused the connection"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the host closed the connection"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "the host cannot be reached"
	case strings.Contains(err.Error(), "server response headers exceeded"):
		return "the headers of the response are too large"
	}
	return "the request failed on the way"
}

// rootText is the text of the innermost error that this package made.
func rootText(err error) string {
	var own *limitError
	if errors.As(err, &own) {
		return own.Error()
	}
	for _, e := range []error{ErrTooLarge, ErrTimeout, ErrRedirect} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return "the request failed on the way"
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// limitError is a bound that a response broke, with the bound in its text.
type limitError struct {
	kind error
	text string
}

func (e *limitError) Error() string { return e.text }
func (e *limitError) Unwrap() error { return e.kind }
