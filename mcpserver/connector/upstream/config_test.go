package upstream_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"hearth/internal/config"
	"hearth/mcpserver/connector/upstream"
)

// TestConfig: each value that cannot be used is refused by its name.
func TestConfig(t *testing.T) {
	type secrets = map[string]config.Secret
	program := func(change func(*upstream.Config)) upstream.Config {
		c := upstream.Config{Command: "server"}
		change(&c)
		return c
	}
	address := func(change func(*upstream.Config)) upstream.Config {
		c := upstream.Config{URL: "https://example.com/mcp"}
		change(&c)
		return c
	}
	oauth := func(o upstream.OAuth) upstream.Config {
		return upstream.Config{URL: "https://example.com/mcp", OAuth: &o}
	}
	for _, c := range []struct {
		field string
		cfg   upstream.Config
	}{
		{"", upstream.Config{Command: "server"}},
		{"", upstream.Config{URL: "https://example.com/mcp"}},
		{"", oauth(upstream.OAuth{Grant: "client_credentials", ClientID: "me", ClientSecret: "env:S", Issuer: "https://example.com"})},
		{"command", upstream.Config{}},
		{"url", upstream.Config{Command: "server", URL: "https://example.com/mcp"}},
		{"transport", program(func(c *upstream.Config) { c.Transport = "sse" })},
		{"headers", program(func(c *upstream.Config) { c.Headers = secrets{"X-A": "env:A"} })},
		{"bearer", program(func(c *upstream.Config) { c.Bearer = "env:A" })},
		{"oauth", program(func(c *upstream.Config) { c.OAuth = &upstream.OAuth{} })},
		{"env", program(func(c *upstream.Config) { c.Env = map[string]string{"A=B": "x"} })},
		{"secret_env", program(func(c *upstream.Config) { c.SecretEnv = secrets{"1A": "env:A"} })},
		{"secret_env.A", program(func(c *upstream.Config) { c.SecretEnv = secrets{"A": ""} })},
		{"secret_env.A", program(func(c *upstream.Config) { c.SecretEnv = secrets{"A": "the secret itself"} })},
		{"secret_env.A", program(func(c *upstream.Config) { c.Env, c.SecretEnv = map[string]string{"A": "x"}, secrets{"A": "env:A"} })},
		{"sha256", program(func(c *upstream.Config) { c.SHA256 = "abc" })},
		{"args", address(func(c *upstream.Config) { c.Args = []string{"x"} })},
		{"env", address(func(c *upstream.Config) { c.Env = map[string]string{"A": "x"} })},
		{"secret_env", address(func(c *upstream.Config) { c.SecretEnv = secrets{"A": "env:A"} })},
		{"dir", address(func(c *upstream.Config) { c.Dir = "/tmp" })},
		{"sha256", address(func(c *upstream.Config) { c.SHA256 = strings.Repeat("0", 64) })},
		{"url", upstream.Config{URL: "https://example.com/mcp#part"}},
		{"url", upstream.Config{URL: "ftp://example.com/mcp"}},
		{"transport", address(func(c *upstream.Config) { c.Transport = "carrier pigeon" })},
		{"headers", address(func(c *upstream.Config) { c.Headers = secrets{"Mcp-Session-Id": "env:A"} })},
		{"headers", address(func(c *upstream.Config) { c.Headers = secrets{"a b": "env:A"} })},
		{"headers.X-A", address(func(c *upstream.Config) { c.Headers = secrets{"X-A": ""} })},
		{"bearer", address(func(c *upstream.Config) { c.Bearer = "the token itself" })},
		{"oauth", address(func(c *upstream.Config) { c.Bearer, c.OAuth = "env:A", &upstream.OAuth{} })},
		{"oauth.grant", oauth(upstream.OAuth{Grant: "password"})},
		{"oauth.client_secret", oauth(upstream.OAuth{ClientID: "me", ClientSecret: "s3cret"})},
		{"oauth.client_id", oauth(upstream.OAuth{ClientSecret: "env:S"})},
		{"oauth.client_id", oauth(upstream.OAuth{Grant: "client_credentials", ClientID: "me"})},
		{"oauth.issuer", oauth(upstream.OAuth{Issuer: "https://example.com"})},
		{"oauth.client_metadata_url", oauth(upstream.OAuth{ClientMetadataURL: "http://example.com/client"})},
		{"oauth.internal_hosts", oauth(upstream.OAuth{InternalHosts: []string{"a b"}})},
		{"oauth.redirect_port", oauth(upstream.OAuth{RedirectPort: 1 << 16})},
		{"tools[1]", program(func(c *upstream.Config) { c.Tools = []string{"a", "["} })},
		{"hide[0]", program(func(c *upstream.Config) { c.Hide = []string{""} })},
		{"read_only[0]", program(func(c *upstream.Config) { c.ReadOnly = []string{"[a"} })},
		{"pin", program(func(c *upstream.Config) { c.Pin = "some" })},
		{"sampling.mode", program(func(c *upstream.Config) { c.Sampling.Mode = "yes" })},
		{"sampling.tokens", program(func(c *upstream.Config) { c.Sampling.Tokens = 1 << 20 })},
		{"sampling.tokens_per_minute", program(func(c *upstream.Config) { c.Sampling.TokensPerMinute = -1 })},
		{"idle", program(func(c *upstream.Config) { c.Idle = 1000 * time.Hour })},
		{"connect_timeout", program(func(c *upstream.Config) { c.Connect = time.Hour })},
		{"message_bytes", program(func(c *upstream.Config) { c.MessageBytes = 1 })},
		{"max_tools", program(func(c *upstream.Config) { c.MaxTools = 1 << 20 })},
	} {
		err := c.cfg.Check()
		var bad *config.FieldError
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%+v: %v", c.cfg, err)
		case c.field != "" && (!errors.As(err, &bad) || bad.Path != c.field):
			t.Errorf("%s: %v", c.field, err)
		}
	}
}
