package openapi

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"hearth/internal/config"
)

// credential is a security scheme with what it asks for.
type credential struct {
	config   Credential
	scheme   *openapi3.SecurityScheme
	tokenURL string

	mu     sync.Mutex
	tokens oauth2.TokenSource // nil: none yet
}

// secrets are the values that a call sent and that must not come back.
type secrets []string

func (s *secrets) add(v string) string {
	*s = append(*s, v)
	return v
}

// scrub takes secrets out of a text, in the forms in which a service may repeat
// them.
func (s secrets) scrub(text string) string { return s.without(text, 4) }

// scrubAnswer is scrub for what a service answers: a short secret, such as the
// password "postgres", may be a word of the data, which must stay what it is.
func (s secrets) scrubAnswer(text string) string { return s.without(text, 8) }

// without takes out secrets of at least so many bytes.
func (s secrets) without(text string, least int) string {
	for _, v := range s {
		if len(v) < least {
			continue
		}
		for _, form := range []string{v, escape(v, false), url.QueryEscape(v), url.PathEscape(v), strings.Trim(jsonText(v), `"`)} {
			text = strings.ReplaceAll(text, form, "[secret]")
		}
	}
	return text
}

// credentialError says which credentials could not be used. It holds none.
type credentialError struct{ text string }

func (e *credentialError) Error() string { return e.text }

func unauthorized(format string, args ...any) error {
	return &credentialError{fmt.Sprintf(format, args...)}
}

func schemes(doc *openapi3.T) openapi3.SecuritySchemes {
	if doc.Components == nil {
		return nil
	}
	return doc.Components.SecuritySchemes
}

// checkSchemes holds the configured credentials against the document's schemes.
func (l *loading) checkSchemes() error {
	for i, c := range l.config.Credentials {
		fail := func(format string, args ...any) error {
			return config.Invalid(fmt.Sprintf("credentials[%d].scheme", i), format, args...)
		}
		ref := schemes(l.doc)[c.Scheme]
		if ref == nil || ref.Value == nil {
			return fail("the document has no security scheme %q; it has: %s", c.Scheme, short(strings.Join(slices.Sorted(maps.Keys(schemes(l.doc))), ", ")))
		}
		s := ref.Value
		basic := s.Type == "http" && strings.EqualFold(s.Scheme, "basic")
		tokens := s.Type == "oauth2" || s.Type == "openIdConnect"
		switch {
		case basic != (c.Username != ""):
			return fail("%q is of type %s %s: it %s", c.Scheme, s.Type, s.Scheme, map[bool]string{true: "needs username and password", false: "takes no user name"}[basic])
		case c.ClientID != "" && !tokens:
			return fail("%q is of type %s: it takes no client_id", c.Scheme, s.Type)
		case s.Type == "apiKey" && (s.In != "header" && s.In != "query" && s.In != "cookie" || s.Name == "" || s.In == "header" && !httpguts.ValidHeaderFieldName(s.Name)):
			return fail("%q has no place in the document where its key goes", c.Scheme)
		case s.Type != "apiKey" && s.Type != "http" && !tokens:
			return fail("%q is of type %s, which there are no credentials for", c.Scheme, s.Type)
		}
		if c.ClientID != "" && l.tokenURL(c, s) == "" {
			return fail("%q names no token URL on the service's own host: set token_url", c.Scheme)
		}
	}
	return nil
}

// tokenURL is where tokens are had: what the operator says, or what the document
// says as long as it is on the service's own host.
func (l *loading) tokenURL(c Credential, s *openapi3.SecurityScheme) string {
	if c.TokenURL != "" {
		return c.TokenURL
	}
	if s.Flows == nil || s.Flows.ClientCredentials == nil {
		return ""
	}
	own, err := l.base(&openapi3.PathItem{}, &openapi3.Operation{})
	if err != nil {
		return ""
	}
	u, err := own.Parse(s.Flows.ClientCredentials.TokenURL)
	if err != nil || !sameOrigin(u.String(), own.String()) || u.User != nil {
		return ""
	}
	return u.String()
}

func (l *loading) credentials() map[string]*credential {
	out := map[string]*credential{}
	for _, c := range l.config.Credentials {
		s := schemes(l.doc)[c.Scheme].Value
		out[c.Scheme] = &credential{config: c, scheme: s, tokenURL: l.tokenURL(c, s)}
	}
	return out
}

// fixed says whether the connector itself fills a parameter in.
func (l *loading) fixed(in, name string) bool {
	if in == "header" {
		if notForArguments(name) {
			return true
		}
		for h := range l.config.Headers {
			if strings.EqualFold(h, name) {
				return true
			}
		}
	}
	for _, c := range l.config.Credentials {
		s := schemes(l.doc)[c.Scheme].Value
		if s.Type == "apiKey" && s.In == in && (s.Name == name || in == "header" && strings.EqualFold(s.Name, name)) {
			return true
		}
	}
	return false
}

// alternatives are the sets of schemes of which an operation wants one.
func alternatives(doc *openapi3.T, op *openapi3.Operation) [][]string {
	wanted := doc.Security
	if op.Security != nil {
		wanted = *op.Security
	}
	var out [][]string
	for _, r := range wanted {
		out = append(out, slices.Sorted(maps.Keys(r)))
	}
	return out
}

// choose returns the schemes to use: the first set for which there are
// credentials. ok is false where the operation wants some and there are none.
func (s *service) choose(o *operation) (use []*credential, ok bool) {
	ok = len(o.security) == 0
	for _, set := range o.security {
		if len(set) == 0 {
			ok = true // it may be called without
			continue
		}
		var found []*credential
		for _, name := range set {
			if c := s.credentials[name]; c != nil {
				found = append(found, c)
			}
		}
		if len(found) == len(set) {
			return found, true
		}
	}
	return nil, ok
}

// apply puts the credential into a request. What it sent is added to sent.
func (c *credential) apply(ctx context.Context, client *http.Client, r *http.Request, sent *secrets) error {
	read := func(s config.Secret) (string, error) {
		v, err := s.Value()
		if err != nil {
			return "", unauthorized("credentials of %s: %v", c.config.Scheme, err)
		}
		return sent.add(v), nil
	}
	switch {
	case c.config.ClientID != "":
		token, err := c.token(ctx, client, sent)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+sent.add(token))
	case c.config.Username != "":
		password, err := read(c.config.Password)
		if err != nil {
			return err
		}
		r.SetBasicAuth(c.config.Username, password)
		sent.add(base64.StdEncoding.EncodeToString([]byte(c.config.Username + ":" + password)))
	default:
		value, err := read(c.config.Value)
		if err != nil {
			return err
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return unauthorized("credentials of %s: the value has line ends or control characters", c.config.Scheme)
		}
		switch {
		case c.scheme.Type == "http" && !strings.EqualFold(c.scheme.Scheme, "bearer"):
			r.Header.Set("Authorization", c.scheme.Scheme+" "+value)
		case c.scheme.Type != "apiKey":
			r.Header.Set("Authorization", "Bearer "+value)
		case c.scheme.In == "header":
			r.Header.Set(c.scheme.Name, value)
		case c.scheme.In == "query":
			if r.URL.RawQuery != "" {
				r.URL.RawQuery += "&"
			}
			r.URL.RawQuery += escape(c.scheme.Name, false) + "=" + escape(value, false)
		default:
			addCookie(r, pair{escape(c.scheme.Name, false), escape(value, false)})
		}
	}
	return nil
}

func addCookie(r *http.Request, p pair) {
	have := r.Header.Get("Cookie")
	if have != "" {
		have += "; "
	}
	r.Header.Set("Cookie", have+p.name+"="+p.value)
}

// token returns a token that is valid now.
func (c *credential) token(ctx context.Context, client *http.Client, sent *secrets) (string, error) {
	secret, err := c.config.ClientSecret.Value()
	if err != nil {
		return "", unauthorized("credentials of %s: %v", c.config.Scheme, err)
	}
	sent.add(secret)
	c.mu.Lock()
	source := c.tokens
	if source == nil {
		flow := clientcredentials.Config{ClientID: c.config.ClientID, ClientSecret: secret, TokenURL: c.tokenURL, Scopes: c.config.Scopes}
		// Its own context: a token outlives the call that got it. The client bounds it.
		source = flow.TokenSource(context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, client))
		c.tokens = source
	}
	c.mu.Unlock()
	type answer struct {
		token *oauth2.Token
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		t, err := source.Token()
		got <- answer{t, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case a := <-got:
		if a.err == nil {
			return a.token.AccessToken, nil
		}
		var refused *oauth2.RetrieveError
		if errors.As(a.err, &refused) { // its text holds what the endpoint said
			return "", unauthorized("credentials of %s: the token endpoint answered %s %s", c.config.Scheme, refused.Response.Status, sent.scrub(short(refused.ErrorCode)))
		}
		return "", unauthorized("credentials of %s: the token endpoint: %s", c.config.Scheme, explain(a.err))
	}
}

// forget drops the token, after the service refused it. It says whether there was
// one that can be had anew.
func (c *credential) forget() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.tokens != nil
	c.tokens = nil
	return had
}

// setHeaders sets the configured headers.
func (c *Connector) setHeaders(r *http.Request, sent *secrets) error {
	for name, secret := range c.config.Headers {
		value, err := secret.Value()
		if err != nil {
			return unauthorized("headers.%s: %v", name, err)
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return unauthorized("headers.%s: the value has line ends or control characters", name)
		}
		r.Header.Set(name, sent.add(value))
	}
	return nil
}
