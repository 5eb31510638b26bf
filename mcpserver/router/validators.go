package router

import (
	"net/http"
	"strings"
)

// maxValidator bounds a validator that is kept, in bytes: a service chooses it.
const maxValidator = 1 << 10

// Validators name the version of what a result was made of, as a service that speaks
// HTTP named it (RFC 9110, section 8.8). With them it can be asked whether that is
// still so.
type Validators struct {
	ETag         string
	LastModified string
}

// The conditions that validators become.
const (
	ifNoneMatch     = "If-None-Match"
	ifModifiedSince = "If-Modified-Since"
)

// conditional reports whether conditions can be put to a request.
func conditional(r *http.Request) bool {
	return r.Method == "" || r.Method == http.MethodGet || r.Method == http.MethodHead
}

// Ask makes of a request one that is answered with 304 Not Modified where what the
// validators are of did not change. It changes nothing where v is nil, the method
// cannot be asked so, or the request has a condition of its own.
func (v *Validators) Ask(r *http.Request) {
	if v == nil || !conditional(r) {
		return
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "If-") || name == "Range" {
			return
		}
	}
	if v.ETag != "" {
		r.Header.Set(ifNoneMatch, v.ETag)
	}
	if v.LastModified != "" {
		r.Header.Set(ifModifiedSince, v.LastModified)
	}
}

// Asked reports whether an answer is to a request that has the conditions of v, and
// was not led elsewhere.
func (v *Validators) Asked(resp *http.Response) bool {
	r := resp.Request
	return v != nil && r != nil && r.Response == nil && r.Header.Get(ifNoneMatch) == v.ETag && r.Header.Get(ifModifiedSince) == v.LastModified
}

// ValidatorsOf returns those of an answer; nil: there are none, or they are of no use.
// What is behind a redirect is another resource, which the next request may not be led
// to, and only GET and HEAD have conditions.
func ValidatorsOf(resp *http.Response) *Validators {
	asked := resp.Request
	if resp.StatusCode != http.StatusOK || asked == nil || asked.Response != nil || !conditional(asked) {
		return nil
	}
	v := Validators{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
	if v == (Validators{}) || len(v.ETag) > maxValidator || len(v.LastModified) > maxValidator {
		return nil
	}
	return &v
}

// Of says of a result which answer it was made of: by what that can be asked for again,
// and whether it may be kept.
func (r *Result) Of(resp *http.Response) {
	r.Validators = ValidatorsOf(resp)
	for _, line := range resp.Header.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(directive), "no-store") {
				r.NotKept = true
			}
		}
	}
}
