package declared

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"hearth/internal/config"
	"hearth/internal/netguard"
	"hearth/mcpserver/router"
)

// HTTP is a body that is one request.
type HTTP struct {
	// Method is GET, or POST where there is a body, unless it is given.
	Method string `yaml:"method"`
	// URL holds {name} in its path and as values of its query. The host is fixed.
	URL string `yaml:"url"`
	// Headers are sent as they are.
	Headers map[string]string `yaml:"headers"`
	// Secrets are headers whose values stand elsewhere.
	Secrets map[string]config.Secret `yaml:"secrets"`
	// Body is sent as JSON. A text in it that is exactly {name} becomes the argument.
	Body any `yaml:"body"`
	// Pick is a JSON pointer (RFC 6901) to the part of the answer that is the
	// result; empty: all of it.
	Pick string `yaml:"pick"`
	// MaxBytes bounds the answer; 0: DefaultOutput.
	MaxBytes config.Size `yaml:"max_bytes"`
}

var methods = map[string]bool{"": true, "GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true}

func (h *HTTP) check(names map[string]bool) error {
	if !methods[h.Method] {
		return config.Invalid("method", "%q is unknown: use one of GET, HEAD, POST, PUT, PATCH, DELETE", h.Method)
	}
	u, err := parseURL(h.URL)
	if err != nil {
		return config.Invalid("url", "%v", err)
	}
	for _, name := range u.names() {
		if !names[name] {
			return config.Invalid("url", "%s", unknown(name, names))
		}
	}
	for name := range bodyNames(h.Body) {
		if !names[name] {
			return config.Invalid("body", "%s", unknown(name, names))
		}
	}
	for key, value := range h.Headers {
		if !headerAllowed(key) || !httpguts.ValidHeaderFieldValue(value) {
			return config.Invalid("headers", "%q cannot be sent", key)
		}
	}
	for key, s := range h.Secrets {
		if !headerAllowed(key) {
			return config.Invalid("secrets", "%q cannot be sent", key)
		}
		if why := s.Check(); s == "" || why != "" {
			return config.Invalid("secrets."+key, "must name where the secret is, as env:NAME or file:PATH")
		}
	}
	if h.Pick != "" && h.Pick[0] != '/' {
		return config.Invalid("pick", "%q is no JSON pointer: it begins with /, such as /items/0", h.Pick)
	}
	if h.MaxBytes != 0 && (h.MaxBytes < 1<<10 || h.MaxBytes > 64<<20) {
		return config.Invalid("max_bytes", "must be between 1KiB and 64MiB, got %v", h.MaxBytes)
	}
	return nil
}

// headerAllowed says whether a configuration may set the header: those that make
// up the message are net/http's.
func headerAllowed(key string) bool {
	switch textproto.CanonicalMIMEHeaderKey(key) {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te":
		return false
	}
	return httpguts.ValidHeaderFieldName(key)
}

func (h *HTTP) runner() (runner, error) {
	u, err := parseURL(h.URL)
	if err != nil {
		return nil, err
	}
	policy, err := netguard.Origins(u.origin)
	if err != nil {
		return nil, err
	}
	limit := h.MaxBytes
	if limit == 0 {
		limit = DefaultOutput
	}
	guard, err := netguard.New(netguard.Options{Policy: policy, MaxBody: int64(limit), MaxRedirects: -1})
	if err != nil {
		return nil, err
	}
	return &httpRunner{h: h, url: u, guard: guard, limit: limit}, nil
}

type httpRunner struct {
	h     *HTTP
	url   *urlTemplate
	guard *netguard.Guard
	limit config.Size
}

func (r *httpRunner) close() { r.guard.Close() }

func (r *httpRunner) run(ctx context.Context, args arguments, known *router.Validators) (*router.Result, error) {
	req, err := r.request(ctx, args)
	if err != nil {
		return nil, err
	}
	known.Ask(req)
	resp, err := r.guard.Client().Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, toolError("the service cannot be asked: %s", netguard.Explain(err))
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	switch {
	case errors.Is(err, netguard.ErrTooLarge):
		return nil, toolError("the answer of the service is larger than %v: ask for less", r.limit)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, toolError("the answer of the service broke off: %s", netguard.Explain(err))
	case resp.StatusCode == http.StatusNotModified && known.Asked(resp):
		return &router.Result{Unchanged: true}, nil
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, toolError("the service answered %d %s: %s", resp.StatusCode, http.StatusText(resp.StatusCode), excerpt(data))
	}
	result, err := r.result(data)
	if err != nil {
		return nil, err
	}
	result.Of(resp)
	return result, nil
}

func (r *httpRunner) request(ctx context.Context, args arguments) (*http.Request, error) {
	target, err := r.url.expand(args)
	if err != nil {
		return nil, err
	}
	method := r.h.Method
	var body io.Reader
	if r.h.Body != nil {
		value, _ := fill(r.h.Body, args)
		data, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("encode the body: %w", err)
		}
		body = bytes.NewReader(data)
		if method == "" {
			method = http.MethodPost
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, toolError("the address cannot be made of these arguments")
	}
	req.Header.Set("Accept", "application/json, text/*;q=0.5")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for key, value := range r.h.Headers {
		req.Header.Set(key, value)
	}
	for key, secret := range r.h.Secrets {
		value, err := secret.Value()
		if err != nil {
			return nil, err
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("the secret of the header %s holds bytes that a header cannot", key)
		}
		req.Header.Set(key, value)
	}
	return req, nil
}

func (r *httpRunner) result(data []byte) (*router.Result, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var value any
	isJSON := dec.Decode(&value) == nil && !dec.More()
	switch {
	case isJSON && r.h.Pick != "":
		part, ok := pick(value, r.h.Pick)
		if !ok {
			return nil, toolError("the answer of the service has no %s", r.h.Pick)
		}
		if text, ok := part.(string); ok {
			return router.Text(text), nil
		}
		var err error
		if data, err = json.Marshal(part); err != nil {
			return nil, fmt.Errorf("encode the answer: %w", err)
		}
		value = part
	case r.h.Pick != "":
		return nil, toolError("the answer of the service is no JSON: %s", excerpt(data))
	case !utf8.Valid(data) || bytes.ContainsRune(data, 0):
		return nil, toolError("the answer of the service is no text: %d bytes", len(data))
	case len(data) == 0:
		return router.Text("(the service answered without a text)"), nil
	}
	res := router.Text(strings.TrimRight(string(data), "\n"))
	if _, object := value.(map[string]any); isJSON && object {
		res.Structured = bytes.TrimSpace(data)
	}
	return res, nil
}

// excerpt is the beginning of an answer, for an error.
func excerpt(data []byte) string {
	const most = 500
	s := strings.ToValidUTF8(strings.TrimSpace(string(data[:min(len(data), most)])), "\uFFFD")
	if len(data) > most {
		s += "…"
	}
	return s
}

// pick follows a JSON pointer.
func pick(v any, pointer string) (any, bool) {
	for part := range strings.SplitSeq(pointer[1:], "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[part]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n < 0 || n >= len(at) {
				return nil, false
			}
			v = at[n]
		default:
			return nil, false
		}
	}
	return v, true
}
