package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"hearth/internal/netguard"
)

// refreshAhead is how long before its end a token is replaced.
const refreshAhead = 30 * time.Second

// stored is the file of a login: the token, and what is needed to refresh it.
type stored struct {
	Source       string    `json:"source"` // the server that it is for
	AccessToken  string    `json:"access_token"`
	TokenType    string    `json:"token_type,omitempty"`
	RefreshToken string    `json:"refresh_token,omitempty"`
	Expiry       time.Time `json:"expiry,omitzero"`
	TokenURL     string    `json:"token_url,omitempty"`
	ClientID     string    `json:"client_id,omitempty"`
	ClientSecret string    `json:"client_secret,omitempty"` // of a client that registered itself
	AuthStyle    int       `json:"auth_style,omitempty"`
	Resource     string    `json:"resource,omitempty"`
}

// authorizer brings tokens to requests. It satisfies the SDK's auth.OAuthHandler:
// a request that is refused for its token is made again once after Authorize. That
// is safe, since the server refused it before it did anything.
type authorizer struct {
	cfg    *Config
	label  string
	deps   Deps
	path   string
	guard  *netguard.Guard
	client *http.Client
	// lost hears that calls in flight cannot end: what a server waits for, or what is
	// waited for, is refused, and no other token is to be had.
	lost func(error)

	flow sync.Mutex // one refresh or login at a time

	mu      sync.Mutex
	token   stored
	machine *extauth.ClientCredentialsHandler // of the grant client_credentials
	person  *auth.AuthorizationCodeHandler    // of a login
}

var _ auth.OAuthHandler = (*authorizer)(nil)

func newAuthorizer(c *Config, label string, d Deps, lost func(error)) (*authorizer, error) {
	guard, err := tokenClient(c)
	if err != nil {
		return nil, err
	}
	a := &authorizer{cfg: c, label: label, deps: d, path: filepath.Join(c.State, tokenFile), guard: guard, lost: lost}
	a.client = guard.Client()
	return a, a.load()
}

func (a *authorizer) close() { a.guard.Close() }

// load reads the login of another process.
func (a *authorizer) load() error {
	var s stored
	ok, err := readJSON(a.path, &s)
	if err != nil {
		return err
	}
	if !ok || s.Source != a.cfg.URL {
		s = stored{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = s
	return nil
}

func (a *authorizer) current() stored {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token
}

func (a *authorizer) keep(s stored) error {
	s.Source = a.cfg.URL
	a.mu.Lock()
	a.token = s
	a.mu.Unlock()
	if err := writeJSON(a.path, &s); err != nil {
		return fmt.Errorf("keep the token: %w", err)
	}
	return nil
}

// source hands out the token of the moment.
type source struct {
	a   *authorizer
	ctx context.Context
}

// Token returns one that still lasts, if need be a new one. Where none is to be had
// it is the old one: the server refuses that, and Authorize finds out what is wrong.
func (s source) Token() (*oauth2.Token, error) {
	t := s.a.current()
	if t.expired() && t.RefreshToken != "" {
		_ = s.a.refresh(s.ctx, t.AccessToken)
		t = s.a.current()
	}
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType}, nil
}

func (s *stored) expired() bool {
	return !s.Expiry.IsZero() && time.Now().Add(refreshAhead).After(s.Expiry)
}

// TokenSource returns nil where there is no token yet: the server then says what
// it wants.
func (a *authorizer) TokenSource(ctx context.Context) (oauth2.TokenSource, error) {
	if a.current().AccessToken == "" {
		return nil, nil
	}
	return source{a, ctx}, nil
}

// Authorize gets another token after the server refused one.
func (a *authorizer) Authorize(ctx context.Context, r *http.Request, resp *http.Response) error {
	err := a.authorize(ctx, r, resp)
	if err != nil && continues(r) {
		a.lost(err)
	}
	return err
}

// continues says that a request belongs to calls that were let in before: it answers
// what a server asked, or goes on with a stream of results.
func continues(r *http.Request) bool {
	if r.Method == http.MethodGet {
		return r.Header.Get("Last-Event-ID") != ""
	}
	if r.GetBody == nil {
		return false
	}
	body, err := r.GetBody()
	if err != nil {
		return false
	}
	defer body.Close()
	var message struct {
		Method string `json:"method"`
	}
	return json.NewDecoder(body).Decode(&message) == nil && message.Method == ""
}

func (a *authorizer) authorize(ctx context.Context, r *http.Request, resp *http.Response) error {
	defer drain(resp.Body)
	refused := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	challenges, err := oauthex.ParseWWWAuthenticate(resp.Header.Values("WWW-Authenticate"))
	if err != nil {
		return fmt.Errorf("the server's word about tokens cannot be read: %w", err)
	}
	if resp.StatusCode == http.StatusUnauthorized {
		if now := a.current(); refused != "" && now.AccessToken != refused && now.AccessToken != "" {
			return nil // another request has renewed it
		}
		// Another process may have.
		if err := a.load(); err == nil {
			if now := a.current(); refused != "" && now.AccessToken != refused && now.AccessToken != "" {
				return nil
			}
		}
		if refused != "" && a.current().RefreshToken != "" {
			// Only a grant that is not taken any more is worth another one.
			if err := a.refresh(ctx, refused); err == nil || !errors.Is(err, errGrant) {
				return err
			}
		}
	} else if !insufficient(challenges) {
		return nil // it is forbidden, and no token changes that
	}
	a.flow.Lock()
	defer a.flow.Unlock()
	if now := a.current(); resp.StatusCode == http.StatusUnauthorized && refused != "" && now.AccessToken != refused && now.AccessToken != "" {
		return nil
	}
	if a.cfg.OAuth.Grant == grantClient {
		return a.asMachine(ctx, r, resp)
	}
	if a.deps.Browse == nil {
		return fmt.Errorf("%w to the server %s: run \"hearth tools login %s\"", ErrLogin, a.label, a.label)
	}
	return a.asPerson(ctx, r, resp)
}

func insufficient(challenges []oauthex.Challenge) bool {
	for _, c := range challenges {
		if c.Scheme == "bearer" && c.Params["error"] == "insufficient_scope" {
			return true
		}
	}
	return false
}

func (a *authorizer) credentials() (*oauthex.ClientCredentials, error) {
	o := a.cfg.OAuth
	if o.ClientID == "" {
		return nil, nil
	}
	c := &oauthex.ClientCredentials{ClientID: o.ClientID, Issuer: o.Issuer}
	secret, err := o.ClientSecret.Value()
	if err != nil {
		return nil, fmt.Errorf("oauth.client_secret: %w", err)
	}
	if secret != "" {
		c.ClientSecretAuth = &oauthex.ClientSecretAuth{ClientSecret: secret}
	}
	return c, nil
}

// asMachine gets a token in this server's own name.
func (a *authorizer) asMachine(ctx context.Context, r *http.Request, resp *http.Response) error {
	if a.machine == nil {
		credentials, err := a.credentials()
		if err != nil {
			return err
		}
		if a.machine, err = extauth.NewClientCredentialsHandler(&extauth.ClientCredentialsHandlerConfig{Credentials: credentials, HTTPClient: a.client}); err != nil {
			return err
		}
	}
	if err := a.machine.Authorize(ctx, r, resp); err != nil {
		return fmt.Errorf("get a token: %w", plain(err))
	}
	from, err := a.machine.TokenSource(ctx)
	if err != nil {
		return err
	}
	if from == nil {
		return errors.New("get a token: there is none")
	}
	t, err := from.Token()
	if err != nil {
		return fmt.Errorf("get a token: %w", plain(err))
	}
	return a.keep(stored{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: t.Expiry})
}

// asPerson has a person log in.
func (a *authorizer) asPerson(ctx context.Context, r *http.Request, resp *http.Response) error {
	if a.person == nil {
		if err := a.newPerson(); err != nil {
			return err
		}
	}
	// The resource is the server's address, as the metadata names it; the SDK checks it.
	return plain(a.person.Authorize(ctx, r, resp))
}

func (a *authorizer) newPerson() error {
	o := a.cfg.OAuth
	c := &auth.AuthorizationCodeHandlerConfig{
		RedirectURL: a.deps.Redirect, RequestRefreshToken: true, AcceptUnadvertisedIss: false, Client: a.client,
		AuthorizationCodeFetcher: a.fetch, NewTokenSource: a.granted,
	}
	if o.ClientMetadataURL != "" {
		c.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: o.ClientMetadataURL}
	}
	var err error
	if c.PreregisteredClient, err = a.credentials(); err != nil {
		return err
	}
	if c.PreregisteredClient == nil {
		c.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName: "Hearth", RedirectURIs: []string{a.deps.Redirect},
			GrantTypes: []string{grantCode, "refresh_token"}, ResponseTypes: []string{"code"},
		}}
	}
	a.person, err = auth.NewAuthorizationCodeHandler(c)
	return err
}

// fetch sends the person to the address and takes what the browser brings back.
func (a *authorizer) fetch(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	u, err := url.Parse(args.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the server's address for a login is none that a browser opens")
	}
	a.mu.Lock()
	a.token.Resource = u.Query().Get("resource") // for refreshes
	a.mu.Unlock()
	back, err := a.deps.Browse(ctx, args.URL)
	if err != nil {
		return nil, err
	}
	if why := back.Get("error"); why != "" {
		return nil, fmt.Errorf("the login was refused: %s %s", cut(why, 128), cut(back.Get("error_description"), 256))
	}
	return &auth.AuthorizationResult{Code: back.Get("code"), State: back.Get("state"), Iss: back.Get("iss")}, nil
}

// granted keeps the token of a login with what refreshes it.
func (a *authorizer) granted(ctx context.Context, c *oauth2.Config, t *oauth2.Token) (oauth2.TokenSource, error) {
	s := stored{
		AccessToken: t.AccessToken, TokenType: t.TokenType, RefreshToken: t.RefreshToken, Expiry: t.Expiry,
		TokenURL: c.Endpoint.TokenURL, ClientID: c.ClientID, AuthStyle: int(c.Endpoint.AuthStyle), Resource: a.current().Resource,
	}
	if a.cfg.OAuth.ClientID == "" {
		s.ClientSecret = c.ClientSecret
	}
	if err := a.keep(s); err != nil {
		return nil, err
	}
	return source{a, ctx}, nil
}

// errGrant says that the token's server refused a refresh token.
var errGrant = errors.New("the login has ended")

// refresh replaces a token by means of the refresh token, unless that has been
// done already. Servers may take each refresh token once only, so processes that
// share the state wait for each other.
func (a *authorizer) refresh(ctx context.Context, old string) error {
	a.flow.Lock()
	defer a.flow.Unlock()
	unlock, err := lockState(filepath.Dir(a.path))
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.load(); err != nil {
		return err
	}
	s := a.current()
	if s.AccessToken != old && s.AccessToken != "" {
		return nil
	}
	secret := s.ClientSecret
	if a.cfg.OAuth.ClientID == s.ClientID {
		if secret, err = a.cfg.OAuth.ClientSecret.Value(); err != nil {
			return fmt.Errorf("oauth.client_secret: %w", err)
		}
	}
	t, err := a.exchange(ctx, &s, secret)
	if err != nil {
		var answer *oauth2.RetrieveError
		if errors.As(err, &answer) && answer.Response.StatusCode >= 400 && answer.Response.StatusCode < 500 {
			return fmt.Errorf("%w: %w", errGrant, plain(err))
		}
		return fmt.Errorf("refresh the token: %w", plain(err))
	}
	s.AccessToken, s.TokenType, s.Expiry = t.AccessToken, t.TokenType, t.Expiry
	if t.RefreshToken != "" {
		s.RefreshToken = t.RefreshToken
	}
	return a.keep(s)
}

// plain takes the server's own text out of an error: it may hold a secret, and it
// would go into the log.
func plain(err error) error {
	var answer *oauth2.RetrieveError
	if errors.As(err, &answer) {
		return fmt.Errorf("the token's server answered %d %s", statusOf(answer), cut(answer.ErrorCode, 64))
	}
	return err
}

func statusOf(e *oauth2.RetrieveError) int {
	if e.Response == nil {
		return 0
	}
	return e.Response.StatusCode
}
