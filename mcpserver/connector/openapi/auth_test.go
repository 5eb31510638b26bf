package openapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"hearth/internal/config"
	"hearth/mcpserver/router"
)

const securityDocument = "testdata/documents/security.yaml"

func TestCredentials(t *testing.T) {
	t.Setenv("HEARTH_TEST_KEY", "k e&y-4711")
	t.Setenv("HEARTH_TEST_OTHER", "other-0815")
	s := serve(t, nil)
	key := Credential{Scheme: "key", Value: "env:HEARTH_TEST_KEY"}
	for _, x := range []struct {
		tool        string
		credentials []Credential
		want        string // METHOD-less: header and URL of the request
	}{
		{"key", []Credential{key}, "X-Key=k e&y-4711"},
		{"both", []Credential{key, {Scheme: "query", Value: "env:HEARTH_TEST_OTHER"}}, "X-Key=k e&y-4711 /api/both?api_key=other-0815"},
		{"both", []Credential{key}, "/api/both"},
		{"either", []Credential{{Scheme: "basic", Username: "me", Password: "env:HEARTH_TEST_OTHER"}}, "Authorization=Basic bWU6b3RoZXItMDgxNQ=="},
		{"either", []Credential{{Scheme: "oauth", Value: "env:HEARTH_TEST_OTHER"}, {Scheme: "basic", Username: "me", Password: "env:HEARTH_TEST_KEY"}}, "Authorization=Bearer other-0815"},
		{"optional", []Credential{{Scheme: "bearer", Value: "env:HEARTH_TEST_OTHER"}}, "Authorization=Bearer other-0815"},
		{"optional", []Credential{key}, "/api/optional"},
		{"none", []Credential{key}, "/api/none"},
		{"cookie", []Credential{{Scheme: "cookie", Value: "env:HEARTH_TEST_KEY"}}, "Cookie=sid=k%20e%26y-4711"},
	} {
		c := open(t, Config{Document: securityDocument, BaseURL: s.URL + "/api", Credentials: x.credentials})
		ask(t, c, x.tool, `{}`)
		var got []string
		for _, name := range []string{"X-Key", "Authorization", "Cookie"} {
			if v := s.last.Header.Get(name); v != "" {
				got = append(got, name+"="+v)
			}
		}
		if s.last.URL.RawQuery != "" || len(got) == 0 {
			got = append(got, s.last.RequestURI)
		}
		if g := strings.Join(got, " "); g != x.want {
			t.Errorf("%s with %+v: %q, want %q", x.tool, x.credentials, g, x.want)
		}
	}
}

func TestCredentialsMustFitTheDocument(t *testing.T) {
	for _, x := range []struct {
		credential Credential
		want       string
	}{
		{Credential{Scheme: "none", Value: "env:A"}, `the document has no security scheme "none"; it has: basic, bearer, `},
		{Credential{Scheme: "basic", Value: "env:A"}, "needs username and password"},
		{Credential{Scheme: "bearer", Username: "x", Password: "env:A"}, "takes no user name"},
		{Credential{Scheme: "key", ClientID: "x", ClientSecret: "env:A"}, "takes no client_id"},
		{Credential{Scheme: "mtls", Value: "env:A"}, "there are no credentials for"},
		{Credential{Scheme: "elsewhere", ClientID: "x", ClientSecret: "env:A"}, "names no token URL on the service's own host: set token_url"},
	} {
		var field *config.FieldError
		_, err := New(t.Context(), Config{Document: securityDocument, Credentials: []Credential{x.credential}}, "shop", zerolog.Nop())
		if !errors.As(err, &field) || field.Path != "credentials[0].scheme" || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%+v: %v", x.credential, err)
		}
	}
}

// TestSecretsDoNotComeBack lets the service repeat all that it was sent, in
// answers and in errors.
func TestSecretsDoNotComeBack(t *testing.T) {
	const secret = `s3cr"et/+ marigold`
	t.Setenv("HEARTH_TEST_KEY", secret)
	status := 200
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.RequestURI)
		w.WriteHeader(status)
		everything, err := json.Marshal(map[string]any{"header": r.Header, "uri": r.RequestURI, "query": r.URL.Query()})
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s %s %s", everything, r.Header, r.URL.Query())
	})
	for _, cfg := range []Config{
		{Credentials: []Credential{{Scheme: "key", Value: "env:HEARTH_TEST_KEY"}, {Scheme: "query", Value: "env:HEARTH_TEST_KEY"}}},
		{Headers: map[string]config.Secret{"X-Key": "env:HEARTH_TEST_KEY"}},
	} {
		cfg.Document, cfg.BaseURL = securityDocument, s.URL
		var log strings.Builder
		if err := cfg.Check(); err != nil {
			t.Fatal(err)
		}
		c, err := New(t.Context(), cfg, "shop", zerolog.New(&log))
		if err != nil {
			t.Fatal(err)
		}
		for _, status = range []int{200, 302, 400, 401, 404, 500} {
			got := ask(t, c, "both", `{}`)
			for _, part := range []string{secret, "s3cr", "marigold"} {
				if strings.Contains(got+log.String(), part) {
					t.Errorf("%d: %q is in %q", status, part, got+log.String())
				}
			}
			if status != 500 && status != 302 && !strings.Contains(got, "[secret]") {
				t.Errorf("%d: nothing was repeated: %q", status, got)
			}
		}
		s.CloseClientConnections()
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	// A short one may be a word of the data, which stays; an error has it no more than others.
	t.Setenv("HEARTH_TEST_SHORT", "admin")
	short := open(t, Config{Document: securityDocument, BaseURL: s.URL, Credentials: []Credential{{Scheme: "key", Value: "env:HEARTH_TEST_SHORT"}}})
	for _, status = range []int{200, 400} {
		if got := ask(t, short, "key", `{}`); strings.Contains(got, "admin") != (status == 200) {
			t.Errorf("%d: %q", status, got)
		}
	}
	c := open(t, Config{Document: securityDocument, BaseURL: s.URL, Credentials: []Credential{{Scheme: "key", Value: "env:HEARTH_TEST_NOT_SET"}}})
	if got := ask(t, c, "key", `{}`); got != "failure: credentials of key: the environment variable HEARTH_TEST_NOT_SET is not set" {
		t.Error(got)
	}
	t.Setenv("HEARTH_TEST_KEY", "a\r\nX-Evil: 1")
	c = open(t, Config{Document: securityDocument, BaseURL: s.URL, Credentials: []Credential{{Scheme: "key", Value: "env:HEARTH_TEST_KEY"}}})
	if got := ask(t, c, "key", `{}`); got != "failure: credentials of key: the value has line ends or control characters" {
		t.Error(got)
	}
}

func TestClientCredentials(t *testing.T) {
	t.Setenv("HEARTH_TEST_SECRET", "client-secret-marigold")
	var issued, calls atomic.Int64
	var valid atomic.Value
	valid.Store("")
	refuse := false
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth/token" {
			user, password, _ := r.BasicAuth()
			if refuse || user != "hearth" || password != "client-secret-marigold" {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(401)
				_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"client-secret-marigold is wrong"}`)
				return
			}
			token := fmt.Sprintf("access-token-%d", issued.Add(1))
			valid.Store(token)
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":3600}`, token)
			return
		}
		calls.Add(1)
		if r.Header.Get("Authorization") != "Bearer "+valid.Load().(string) {
			w.WriteHeader(401)
			return
		}
		_, _ = io.WriteString(w, "welcome "+r.Header.Get("Authorization"))
	}
	s := serve(t, handler)
	cfg := Config{Document: securityDocument, BaseURL: s.URL, Credentials: []Credential{{Scheme: "oauth", ClientID: "hearth", ClientSecret: "env:HEARTH_TEST_SECRET", Scopes: []string{"read"}}}}
	c := open(t, cfg)
	for range 3 {
		if got := ask(t, c, "either", `{}`); got != "welcome Bearer [secret]" {
			t.Error(got)
		}
	}
	if issued.Load() != 1 {
		t.Errorf("%d tokens were asked for", issued.Load())
	}
	valid.Store("another") // the service forgot the token
	if got := ask(t, c, "either", `{}`); got != "welcome Bearer [secret]" || issued.Load() != 2 {
		t.Errorf("%q with %d tokens", got, issued.Load())
	}
	refuse = true
	refused := open(t, cfg)
	got := ask(t, refused, "either", `{}`)
	if !strings.HasPrefix(got, "failure: credentials of oauth: the token endpoint answered 401 Unauthorized invalid_client") || strings.Contains(got, "marigold") {
		t.Error(got)
	}
	// A token URL of its own, on another host.
	refuse = false
	tokens := serve(t, handler)
	cfg.Credentials[0].Scheme, cfg.Credentials[0].TokenURL = "elsewhere", tokens.URL+"/oauth/token"
	elsewhere := open(t, cfg)
	if _, err := run(t, elsewhere, "key", `{}`); err == nil {
		t.Error("the operation without credentials is welcome")
	}
}

func TestTheServiceGetsNoHeaderOfAnArgument(t *testing.T) {
	t.Setenv("HEARTH_TEST_KEY", "right-key")
	s := serve(t, nil)
	c := open(t, Config{Document: securityDocument, BaseURL: s.URL, Headers: map[string]config.Secret{"x-key": "env:HEARTH_TEST_KEY"}})
	for _, tool := range c.Tools() {
		if strings.Contains(string(tool.Input), "X-Key") {
			t.Errorf("%s asks for the header that is configured", tool.Name)
		}
	}
	if _, err := c.Run(t.Context(), &router.Call{Tool: "key", Arguments: json.RawMessage(`{"X-Key":"evil","Host":"evil"}`)}); err != nil || s.last.Header.Get("X-Key") != "right-key" {
		t.Errorf("%v, %v", s.last.Header, err)
	}
}
