package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// exchange asks for another token with a refresh token (RFC 6749, section 6), for
// the same resource (RFC 8707), which the oauth2 package cannot say.
func (a *authorizer) exchange(ctx context.Context, s *stored, secret string) (*oauth2.Token, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.RefreshToken}}
	if s.Resource != "" {
		form.Set("resource", s.Resource)
	}
	inHeader := oauth2.AuthStyle(s.AuthStyle) == oauth2.AuthStyleInHeader || oauth2.AuthStyle(s.AuthStyle) == oauth2.AuthStyleAutoDetect && secret != ""
	if !inHeader {
		form.Set("client_id", s.ClientID)
		if secret != "" {
			form.Set("client_secret", secret)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if inHeader {
		r.SetBasicAuth(url.QueryEscape(s.ClientID), url.QueryEscape(secret))
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var t struct {
		AccessToken  string      `json:"access_token"`
		TokenType    string      `json:"token_type"`
		RefreshToken string      `json:"refresh_token"`
		ExpiresIn    json.Number `json:"expires_in"`
		Error        string      `json:"error"`
	}
	err = json.Unmarshal(body, &t)
	if resp.StatusCode != http.StatusOK || err != nil {
		return nil, &oauth2.RetrieveError{Response: resp, ErrorCode: t.Error}
	}
	if t.AccessToken == "" {
		return nil, errors.New("the token's server sent none")
	}
	out := &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, RefreshToken: t.RefreshToken}
	if n, err := t.ExpiresIn.Int64(); err == nil && n > 0 && n < 1<<31 {
		out.Expiry = time.Now().Add(time.Duration(n) * time.Second)
	}
	return out, nil
}

// bearing adds tokens to the requests of the older transport, whose client in the
// SDK knows none.
type bearing struct {
	a    *authorizer
	next http.RoundTripper
}

func (a *authorizer) transport(next http.RoundTripper) http.RoundTripper { return &bearing{a, next} }

// listening renews tokens for what the SDK listens to over streamable HTTP: it does so
// itself only for what it sends. A stream that a server ends may be gone on from
// after the token with which it began has expired.
type listening struct{ bearing }

func (a *authorizer) listening(next http.RoundTripper) http.RoundTripper {
	return &listening{bearing{a, next}}
}

// RoundTrip hands out the refusal itself where no other token is to be had: after an
// error the SDK would try again.
func (l *listening) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		return l.next.RoundTrip(r)
	}
	resp, sent, err := l.try(r)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	if l.a.Authorize(r.Context(), sent, resp) != nil {
		resp.Body = http.NoBody
		return resp, nil
	}
	resp, _, err = l.try(r)
	return resp, err
}

// RoundTrip makes a request, and once again after its token was refused: the
// server did nothing with it yet.
func (b *bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, sent, err := b.try(r)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || r.Body != nil && r.GetBody == nil {
		return resp, err
	}
	// Messages go to addresses of one session each; tokens are for the server's own.
	if sent.URL, err = url.Parse(b.a.cfg.URL); err != nil {
		return nil, err
	}
	if err := b.a.Authorize(r.Context(), sent, resp); err != nil {
		return nil, err
	}
	again := r.Clone(r.Context())
	if r.GetBody != nil {
		if again.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
	resp, _, err = b.try(again)
	return resp, err
}

func (b *bearing) try(r *http.Request) (*http.Response, *http.Request, error) {
	from, err := b.a.TokenSource(r.Context())
	if err != nil {
		return nil, nil, err
	}
	sent := r.Clone(r.Context())
	if from != nil {
		t, err := from.Token()
		if err != nil {
			return nil, nil, err
		}
		t.SetAuthHeader(sent)
	}
	resp, err := b.next.RoundTrip(sent)
	return resp, sent, err
}
