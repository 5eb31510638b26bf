package upstream

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"hearth/internal/config"
	"hearth/internal/netguard"
)

// Config is the section mcp of a connector: a program, or an address. The zero
// value of a field is its default.
type Config struct {
	// Command is the program that is the server: a path, or a name that is looked for
	// in the PATH of Env. No shell reads it.
	Command string `yaml:"command"`
	// Args are its arguments.
	Args []string `yaml:"args"`
	// Env is its environment, all of it but PATH, HOME and LANG, which have defaults.
	Env map[string]string `yaml:"env"`
	// SecretEnv is more of its environment, by reference.
	SecretEnv map[string]config.Secret `yaml:"secret_env"`
	// Dir is its working folder; empty: one of its own under State.
	Dir string `yaml:"dir"`
	// SHA256 is what the program must hash to, in hexadecimal; empty: anything.
	SHA256 string `yaml:"sha256"`

	// URL is the address of the server.
	URL string `yaml:"url"`
	// Transport is "streamable", "sse", or empty: the first that answers.
	Transport string `yaml:"transport"`
	// Headers are sent to it with each request.
	Headers map[string]config.Secret `yaml:"headers"`
	// Bearer is a token that is sent to it.
	Bearer config.Secret `yaml:"bearer"`
	// OAuth gets tokens; nil: none are asked for.
	OAuth *OAuth `yaml:"oauth"`

	// Tools are globs of the tools that are offered; empty: all.
	Tools []string `yaml:"tools"`
	// Hide are globs of tools that are not.
	Hide []string `yaml:"hide"`
	// ReadOnly are globs of the tools that change nothing. All others count as
	// writing.
	ReadOnly []string `yaml:"read_only"`
	// TrustAnnotations believes what the server says about its tools.
	TrustAnnotations bool `yaml:"trust_annotations"`
	// Pin says which definitions wait for an approval: "changed" (the default), "all"
	// (new ones, too, after the first list) or "off".
	Pin string `yaml:"pin"`
	// Sampling says whether the server may ask the local model.
	Sampling Sampling `yaml:"sampling"`
	// Idle is how long the server is kept without a call. Default 10 min; negative:
	// for ever.
	Idle time.Duration `yaml:"idle"`
	// Connect bounds starting and greeting the server. Default 30 s, at most 10 min.
	Connect time.Duration `yaml:"connect_timeout"`
	// MessageBytes bounds one message of the server. Default 8 MiB, at most 64 MiB.
	MessageBytes config.Size `yaml:"message_bytes"`
	// MaxTools bounds how many tools it may offer. Default 256, at most 2,048.
	MaxTools int `yaml:"max_tools"`
	// State is the folder for the lists, the pins and the tokens; empty:
	// $XDG_STATE_HOME/hearth/mcp/NAME.
	State string `yaml:"state"`
}

// OAuth is how tokens are got.
type OAuth struct {
	// Grant is "authorization_code" (the default: a person logs in by the command
	// line) or "client_credentials".
	Grant string `yaml:"grant"`
	// ClientID and ClientSecret are how this server is known where tokens come from;
	// empty: it registers itself.
	ClientID     string        `yaml:"client_id"`
	ClientSecret config.Secret `yaml:"client_secret"`
	// ClientMetadataURL is where a document that describes this client is published.
	ClientMetadataURL string `yaml:"client_metadata_url"`
	// Issuer, unless empty, is the only one that the client's name is used with.
	Issuer string `yaml:"issuer"`
	// InternalHosts are hosts that tokens may come from though they are not on the
	// public internet, as name, address or network, each with or without a port.
	InternalHosts []string `yaml:"internal_hosts"`
	// RedirectPort is the port of this machine that the browser comes back to; 0: any
	// free one.
	RedirectPort int `yaml:"redirect_port"`
}

// Sampling bounds what the server may ask the local model.
type Sampling struct {
	// Mode is "off" (the default), "ask" (the person behind the call) or "allow".
	Mode string `yaml:"mode"`
	// Model answers; empty: the first.
	Model string `yaml:"model"`
	// Tokens bounds one answer. Default 512, at most 32,768.
	Tokens int `yaml:"tokens"`
	// TokensPerMinute bounds the answers of one minute together. Default 4,096.
	TokensPerMinute int `yaml:"tokens_per_minute"`
}

const (
	grantCode   = "authorization_code"
	grantClient = "client_credentials"

	transportStreamable = "streamable"
	transportSSE        = "sse"

	pinChanged, pinAll, pinOff = "changed", "all", "off"

	samplingOff, samplingAsk, samplingAllow = "off", "ask", "allow"
)

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (c *Config) withDefaults() Config {
	d := *c
	set(&d.Pin, pinChanged)
	set(&d.Sampling.Mode, samplingOff)
	set(&d.Sampling.Tokens, 512)
	set(&d.Sampling.TokensPerMinute, 4096)
	set(&d.Idle, 10*time.Minute)
	set(&d.Connect, 30*time.Second)
	set(&d.MessageBytes, 8<<20)
	set(&d.MaxTools, 256)
	if d.OAuth != nil {
		o := *d.OAuth
		set(&o.Grant, grantCode)
		d.OAuth = &o
	}
	return d
}

var (
	variable   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	headerName = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+.^_|~-]+$`)
	sum        = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
)

// reserved are headers that belong to the protocol.
var reserved = map[string]bool{
	"host": true, "content-length": true, "content-type": true, "accept": true, "connection": true, "transfer-encoding": true,
	"mcp-session-id": true, "mcp-protocol-version": true, "mcp-method": true, "mcp-name": true, "last-event-id": true,
}

// Check says which value cannot be used, as a *config.FieldError. It looks at
// nothing outside.
func (c *Config) Check() error {
	var err error
	switch {
	case c.Command == "" && c.URL == "":
		return config.Invalid("command", "is missing: name the program that is the server, or its url")
	case c.Command != "" && c.URL != "":
		return config.Invalid("url", "stands beside command: a server has one of them")
	case c.Command != "":
		err = c.checkProgram()
	default:
		err = c.checkAddress()
	}
	if err != nil {
		return err
	}
	for field, patterns := range map[string][]string{"tools": c.Tools, "hide": c.Hide, "read_only": c.ReadOnly} {
		for i, p := range patterns {
			if _, err := path.Match(p, ""); err != nil || p == "" {
				return config.Invalid(fmt.Sprintf("%s[%d]", field, i), "%q is no pattern: name a tool, * stands for any letters", p)
			}
		}
	}
	if !oneOf(c.Pin, "", pinChanged, pinAll, pinOff) {
		return config.Invalid("pin", "must be changed, all or off, got %q", c.Pin)
	}
	return c.checkBounds()
}

func (c *Config) checkProgram() error {
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"transport", c.Transport != ""}, {"headers", len(c.Headers) > 0}, {"bearer", c.Bearer != ""}, {"oauth", c.OAuth != nil},
	} {
		if f.given {
			return config.Invalid(f.name, "is for servers with a url, and this one is a command")
		}
	}
	for name := range c.Env {
		if !variable.MatchString(name) {
			return config.Invalid("env", "%q is no name of a variable", name)
		}
	}
	for name, secret := range c.SecretEnv {
		if !variable.MatchString(name) {
			return config.Invalid("secret_env", "%q is no name of a variable", name)
		}
		if _, twice := c.Env[name]; twice {
			return config.Invalid("secret_env."+name, "stands in env, too")
		}
		if why := secret.Check(); why != "" || secret == "" {
			return config.Invalid("secret_env."+name, "%s", orMissing(why))
		}
	}
	if c.SHA256 != "" && !sum.MatchString(c.SHA256) {
		return config.Invalid("sha256", "must be 64 hexadecimal digits")
	}
	return nil
}

func orMissing(why string) string {
	if why == "" {
		return "is empty: name where the secret is, as env:NAME or file:PATH"
	}
	return why
}

func (c *Config) checkAddress() error {
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"args", len(c.Args) > 0},
		{"env", len(c.Env) > 0},
		{"secret_env", len(c.SecretEnv) > 0},
		{"dir", c.Dir != ""},
		{"sha256", c.SHA256 != ""},
	} {
		if f.given {
			return config.Invalid(f.name, "is for servers that are a command, and this one is a url")
		}
	}
	if u, err := url.Parse(c.URL); err != nil || u.Fragment != "" {
		return config.Invalid("url", "%q is no address of a server", c.URL)
	}
	if p, err := netguard.Origins(c.URL); err != nil {
		return config.Invalid("url", "%v", err)
	} else if err := p.Check(); err != nil {
		return config.Invalid("url", "%v", err)
	}
	if !oneOf(c.Transport, "", transportStreamable, transportSSE) {
		return config.Invalid("transport", "must be streamable or sse, or empty for the first that answers, got %q", c.Transport)
	}
	for name, secret := range c.Headers {
		if !headerName.MatchString(name) || reserved[strings.ToLower(name)] {
			return config.Invalid("headers", "%q is no name of a header that may be set", name)
		}
		if why := secret.Check(); why != "" || secret == "" {
			return config.Invalid("headers."+name, "%s", orMissing(why))
		}
	}
	if why := c.Bearer.Check(); why != "" {
		return config.Invalid("bearer", "%s", why)
	}
	if c.OAuth == nil {
		return nil
	}
	if c.Bearer != "" {
		return config.Invalid("oauth", "stands beside bearer: tokens come from one of them")
	}
	return config.Under("oauth", c.OAuth.check())
}

func (o *OAuth) check() error {
	if !oneOf(o.Grant, "", grantCode, grantClient) {
		return config.Invalid("grant", "must be authorization_code or client_credentials, got %q", o.Grant)
	}
	if why := o.ClientSecret.Check(); why != "" {
		return config.Invalid("client_secret", "%s", why)
	}
	if o.ClientSecret != "" && o.ClientID == "" {
		return config.Invalid("client_id", "is missing beside client_secret")
	}
	if o.Grant == grantClient && (o.ClientID == "" || o.ClientSecret == "") {
		return config.Invalid("client_id", "and client_secret are what client_credentials means: give both")
	}
	if o.Issuer != "" && o.ClientID == "" {
		return config.Invalid("issuer", "says with whom client_id is used, which is missing")
	}
	if o.ClientMetadataURL != "" {
		if u, err := url.Parse(o.ClientMetadataURL); err != nil || u.Scheme != "https" || u.Path == "" {
			return config.Invalid("client_metadata_url", "must be an https address with a path")
		}
	}
	if err := (&netguard.Policy{Allow: o.InternalHosts}).Check(); err != nil {
		return config.Invalid("internal_hosts", "%v", err)
	}
	if o.RedirectPort < 0 || o.RedirectPort > 65535 {
		return config.Invalid("redirect_port", "must be between 1 and 65535, or 0 for any free one")
	}
	return nil
}

func (c *Config) checkBounds() error {
	s := c.Sampling
	switch {
	case !oneOf(s.Mode, "", samplingOff, samplingAsk, samplingAllow):
		return config.Invalid("sampling.mode", "must be off, ask or allow, got %q", s.Mode)
	case s.Tokens < 0 || s.Tokens > 32768:
		return config.Invalid("sampling.tokens", "must be between 1 and 32768, or 0 for 512, got %d", s.Tokens)
	case s.TokensPerMinute < 0 || s.TokensPerMinute > 1<<24:
		return config.Invalid("sampling.tokens_per_minute", "must be between 1 and %d, or 0 for 4096, got %d", 1<<24, s.TokensPerMinute)
	case c.Idle > 30*24*time.Hour:
		return config.Invalid("idle", "must be at most 720h, or negative for ever, got %v", c.Idle)
	case c.Connect < 0 || c.Connect > 10*time.Minute:
		return config.Invalid("connect_timeout", "must be between 0 (30s) and 10m, got %v", c.Connect)
	case c.MessageBytes != 0 && (c.MessageBytes < 4<<10 || c.MessageBytes > 64<<20):
		return config.Invalid("message_bytes", "must be between 4KiB and 64MiB, got %s", c.MessageBytes)
	case c.MaxTools < 0 || c.MaxTools > 2048:
		return config.Invalid("max_tools", "must be between 1 and 2048, or 0 for 256, got %d", c.MaxTools)
	}
	return nil
}

func oneOf(v string, words ...string) bool {
	for _, w := range words {
		if v == w {
			return true
		}
	}
	return false
}

// Resolve makes file names relative to the folder of the configuration. A command
// without a slash is a name to be looked for, not a file.
func (c *Config) Resolve(dir string) {
	for _, p := range []*string{&c.Dir, &c.State} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	if strings.Contains(c.Command, "/") && !filepath.IsAbs(c.Command) {
		c.Command = filepath.Join(dir, c.Command)
	}
}

// matches says whether a name fits one of the patterns.
func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); ok && err == nil {
			return true
		}
	}
	return false
}
