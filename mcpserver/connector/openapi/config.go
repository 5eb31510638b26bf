package openapi

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"hearth/internal/config"
	"hearth/mcpserver/router"
)

// Config says which document describes the service, what of it is offered, and
// with which credentials it is called.
type Config struct {
	// Document is the OpenAPI document: a file, or an http or https URL.
	Document string `yaml:"document"`
	// BaseURL is where the service is; empty: the document's first server.
	BaseURL string `yaml:"base_url"`
	// Variables are values for the variables in the server's URL.
	Variables map[string]string `yaml:"variables"`
	// Include chooses operations; empty: all. Exclude leaves some of them out.
	Include Selection `yaml:"include"`
	Exclude Selection `yaml:"exclude"`
	// Deprecated offers operations that the document calls deprecated, too.
	Deprecated bool `yaml:"deprecated"`
	// Overrides change how single operations are offered.
	Overrides []Override `yaml:"overrides"`
	// Credentials are what the document's security schemes ask for.
	Credentials []Credential `yaml:"credentials"`
	// Headers are sent with every request, also with that for the document.
	Headers map[string]config.Secret `yaml:"headers"`
	// Refresh is how often the document is loaded again; 0: never.
	Refresh time.Duration `yaml:"refresh"`
	// Untrusted says that results hold what strangers may have written; Outside that
	// calls reach something outside of the operator's own services.
	Untrusted bool `yaml:"untrusted"`
	Outside   bool `yaml:"outside"`
	// CheckResponses promises the document's response schemas to clients, and makes
	// an answer that breaks them an error. Off: many documents promise what their
	// service does not keep.
	CheckResponses bool `yaml:"check_responses"`
	// SchemaBytes bounds the schema of a tool's arguments, which a model has to read:
	// what is deeper inside is left open until it fits; 0: 12 KiB.
	SchemaBytes config.Size `yaml:"schema_bytes"`
	// ResponseBytes bounds an answer; 0: 4 MiB.
	ResponseBytes config.Size `yaml:"response_bytes"`
	// Timeout bounds the wait for an answer to begin; 0: 30 s.
	Timeout time.Duration `yaml:"timeout"`
}

// Selection names operations. One that any of the lists names is meant.
type Selection struct {
	// Tags are tags of operations.
	Tags []string `yaml:"tags"`
	// Operations are globs of operation ids, such as list*.
	Operations []string `yaml:"operations"`
	// Paths are globs of paths, with or without a method: "GET /orders/**". A *
	// stands for one part of a path, ** for any number of them.
	Paths []string `yaml:"paths"`
}

func (s *Selection) empty() bool { return len(s.Tags)+len(s.Operations)+len(s.Paths) == 0 }

// Override changes how an operation is offered.
type Override struct {
	// Operation is its id, or its method and path: "GET /orders/{id}".
	Operation string `yaml:"operation"`
	// Name and Description are the tool's; empty: the document's.
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	// Effects is "reads", "writes" or "destroys"; empty: by the method.
	Effects string `yaml:"effects"`
}

// Credential is what one security scheme of the document asks for.
type Credential struct {
	// Scheme is its name in the document.
	Scheme string `yaml:"scheme"`
	// Value is the key of an apiKey scheme, or the token of http bearer, oauth2 or
	// openIdConnect.
	Value config.Secret `yaml:"value"`
	// Username and Password are those of http basic.
	Username string        `yaml:"username"`
	Password config.Secret `yaml:"password"`
	// ClientID and ClientSecret get tokens by OAuth 2.0 client credentials from
	// TokenURL; empty: the document's, where it is on the service's own host.
	ClientID     string        `yaml:"client_id"`
	ClientSecret config.Secret `yaml:"client_secret"`
	TokenURL     string        `yaml:"token_url"`
	Scopes       []string      `yaml:"scopes"`
}

const (
	defaultSchema   = 12 << 10
	defaultResponse = 4 << 20
	defaultTimeout  = 30 * time.Second
)

// Check says which value cannot be used. It does not look at the document.
func (c *Config) Check() error {
	if c.Document == "" {
		return config.Invalid("document", "must name an OpenAPI document: a file, or an http or https URL")
	}
	if isURL(c.Document) {
		if err := checkURL("document", c.Document); err != nil {
			return err
		}
	} else if strings.Contains(c.Document, "://") {
		return config.Invalid("document", "must be a file, or an http or https URL")
	}
	if c.BaseURL != "" {
		if err := checkURL("base_url", c.BaseURL); err != nil {
			return err
		}
	}
	for _, s := range []struct {
		name string
		of   *Selection
	}{{"include", &c.Include}, {"exclude", &c.Exclude}} {
		for i, p := range s.of.Paths {
			if _, _, err := readPathGlob(p); err != nil {
				return config.Invalid(fmt.Sprintf("%s.paths[%d]", s.name, i), "%v", err)
			}
		}
	}
	for i, o := range c.Overrides {
		at := fmt.Sprintf("overrides[%d].", i)
		switch {
		case o.Operation == "":
			return config.Invalid(at+"operation", "must be an operation's id, or its method and path such as GET /orders/{id}")
		case o.Name != "" && !router.ToolName.MatchString(o.Name):
			return config.Invalid(at+"name", "must be 1 to 64 letters, digits, hyphens and underscores")
		case o.Effects != "" && o.Effects != "reads" && o.Effects != "writes" && o.Effects != "destroys":
			return config.Invalid(at+"effects", "must be reads, writes or destroys")
		}
	}
	seen := map[string]bool{}
	for i, cr := range c.Credentials {
		if err := cr.check(); err != nil {
			return config.Under(fmt.Sprintf("credentials[%d]", i), err)
		}
		if seen[cr.Scheme] {
			return config.Invalid(fmt.Sprintf("credentials[%d].scheme", i), "%q has credentials already", cr.Scheme)
		}
		seen[cr.Scheme] = true
	}
	for name, value := range c.Headers {
		switch {
		case !httpguts.ValidHeaderFieldName(name) || notForArguments(name):
			return config.Invalid("headers", "%q is not a header that can be set", name)
		case value.Check() != "":
			return config.Invalid("headers."+name, "%s", value.Check())
		}
	}
	switch {
	case c.Refresh != 0 && c.Refresh < time.Minute || c.Refresh < 0:
		return config.Invalid("refresh", "must be 0s (never) or at least 1m")
	case c.SchemaBytes != 0 && (c.SchemaBytes < 1<<10 || c.SchemaBytes > router.MaxSchemaBytes-1<<10):
		return config.Invalid("schema_bytes", "must be 0B (the default, 12KiB) or between 1KiB and 255KiB")
	case c.ResponseBytes < 0 || c.ResponseBytes > 1<<30:
		return config.Invalid("response_bytes", "must be between 0B (the default, 4MiB) and 1GiB")
	case c.Timeout < 0 || c.Timeout > time.Hour:
		return config.Invalid("timeout", "must be between 0s (the default, 30s) and 1h")
	}
	return nil
}

func (c *Credential) check() error {
	forms := 0
	for _, set := range []bool{c.Value != "", c.Username != "" || c.Password != "", c.ClientID != "" || c.ClientSecret != ""} {
		if set {
			forms++
		}
	}
	switch {
	case c.Scheme == "":
		return config.Invalid("scheme", "must be the name of a security scheme of the document")
	case forms != 1:
		return config.Invalid("scheme", "%q needs one of: value; username and password; client_id and client_secret", c.Scheme)
	case c.Username == "" && c.Password != "":
		return config.Invalid("username", "must stand beside password")
	case c.ClientSecret != "" && c.ClientID == "":
		return config.Invalid("client_id", "must stand beside client_secret")
	case c.ClientID != "" && c.ClientSecret == "":
		return config.Invalid("client_secret", "must stand beside client_id")
	}
	for _, s := range []struct {
		field string
		value config.Secret
	}{{"value", c.Value}, {"password", c.Password}, {"client_secret", c.ClientSecret}} {
		if why := s.value.Check(); why != "" {
			return config.Invalid(s.field, "%s", why)
		}
	}
	if c.TokenURL != "" {
		return checkURL("token_url", c.TokenURL)
	}
	return nil
}

func isURL(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}

func checkURL(field, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Fragment != "" {
		return config.Invalid(field, "must be an http or https URL without user name and fragment, such as https://shop.example.com/v1")
	}
	if field == "base_url" && u.RawQuery != "" {
		return config.Invalid(field, "must have no query")
	}
	return nil
}

// Resolve makes a relative file count from dir.
func (c *Config) Resolve(dir string) {
	if c.Document != "" && !isURL(c.Document) && !filepath.IsAbs(c.Document) {
		c.Document = filepath.Join(dir, c.Document)
	}
}

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
}

// readPathGlob reads "GET /orders/**".
func readPathGlob(s string) (method string, re *regexp.Regexp, err error) {
	path := s
	if m, rest, both := strings.Cut(s, " "); both {
		method, path = strings.ToUpper(m), strings.TrimSpace(rest)
	}
	known := method == ""
	for _, m := range methods {
		known = known || m == method
	}
	if !known || !strings.HasPrefix(path, "/") {
		return "", nil, fmt.Errorf("must be a path such as /orders/**, with a method before it where one is meant (%s)", strings.Join(methods, ", "))
	}
	re, err = regexp.Compile("^" + globExpr(path) + "$")
	return method, re, err
}

// globExpr translates a glob: * stands for anything but a slash, ** for anything.
func globExpr(glob string) string {
	expr := regexp.QuoteMeta(glob)
	expr = strings.ReplaceAll(expr, `\*\*`, `.*`)
	return strings.ReplaceAll(expr, `\*`, `[^/]*`)
}
