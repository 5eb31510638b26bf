package httpserver

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"hearth/internal/config"
)

// Config is the section "server" of the configuration.
type Config struct {
	// Listen holds addresses: "127.0.0.1:8080", "[::1]:8080", "unix:/run/hearth.sock".
	Listen []string `yaml:"listen"`
	// AllowedHosts are names, with or without a port, that the Host header may
	// have besides the loopback names.
	AllowedHosts []string `yaml:"allowed_hosts"`
	// AllowedOrigins are origins of web pages ("https://chat.example.org") that
	// may call the server besides those on loopback names.
	AllowedOrigins []string `yaml:"allowed_origins"`
	// MaxBody bounds the body of a request.
	MaxBody config.Size `yaml:"max_body"`
	// HeaderTimeout and BodyTimeout bound how long a request may take to arrive.
	HeaderTimeout time.Duration `yaml:"header_timeout"`
	BodyTimeout   time.Duration `yaml:"body_timeout"`
	// WriteTimeout bounds each write of an answer: a client that reads nothing
	// for so long is cut off.
	WriteTimeout time.Duration `yaml:"write_timeout"`
	// IdleTimeout ends a connection on which nothing is asked.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// PingInterval is how often a stream with nothing to say sends a comment, so
	// that proxies keep it open.
	PingInterval time.Duration `yaml:"ping_interval"`
	// DrainTimeout is how long running requests may go on after the server was
	// told to stop.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
}

// DefaultConfig returns what holds where the configuration is silent.
func DefaultConfig() Config {
	return Config{
		Listen:        []string{"127.0.0.1:8080"},
		MaxBody:       8 << 20,
		HeaderTimeout: 10 * time.Second,
		BodyTimeout:   time.Minute,
		WriteTimeout:  30 * time.Second,
		IdleTimeout:   2 * time.Minute,
		PingInterval:  15 * time.Second,
		DrainTimeout:  30 * time.Second,
	}
}

// maxHeaderBytes bounds the request line and the headers together.
const maxHeaderBytes = 64 << 10

// Check reports the first value that cannot be used as a *config.FieldError.
func (c *Config) Check() error {
	if len(c.Listen) == 0 {
		return config.Invalid("listen", "at least one address is needed, such as 127.0.0.1:8080")
	}
	for i, addr := range c.Listen {
		if err := checkListen(addr); err != nil {
			return config.Invalid(fmt.Sprintf("listen[%d]", i), "%v", err)
		}
	}
	for i, h := range c.AllowedHosts {
		if name, _ := splitHost(h); name == "" || strings.ContainsAny(h, "/@*") {
			return config.Invalid(fmt.Sprintf("allowed_hosts[%d]", i), "%q is not a host: write a name or an address, with or without a port, such as llm.example.org or 10.0.0.5:8080", h)
		}
	}
	for i, o := range c.AllowedOrigins {
		if _, err := parseOrigin(o); err != nil {
			return config.Invalid(fmt.Sprintf("allowed_origins[%d]", i), "%v", err)
		}
	}
	if c.MaxBody < 1<<10 || c.MaxBody > 1<<30 {
		return config.Invalid("max_body", "must be between 1KiB and 1GiB, got %v", c.MaxBody)
	}
	for _, d := range []struct {
		field  string
		v      time.Duration
		lo, hi time.Duration
	}{
		{"header_timeout", c.HeaderTimeout, time.Second, time.Hour},
		{"body_timeout", c.BodyTimeout, time.Second, time.Hour},
		{"write_timeout", c.WriteTimeout, time.Second, time.Hour},
		{"idle_timeout", c.IdleTimeout, time.Second, 24 * time.Hour},
		{"ping_interval", c.PingInterval, time.Second, time.Hour},
		{"drain_timeout", c.DrainTimeout, 0, time.Hour},
	} {
		if d.v < d.lo || d.v > d.hi {
			return config.Invalid(d.field, "must be between %v and %v, got %v", d.lo, d.hi, d.v)
		}
	}
	return nil
}

// checkListen refuses what other machines could reach: there is no
// authentication yet.
func checkListen(addr string) error {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return fmt.Errorf("unix: needs a path, such as unix:/run/hearth.sock")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not an address: write host and port, such as 127.0.0.1:8080, or unix:/path/of/socket", addr)
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return fmt.Errorf("%q has no usable port: 0 to 65535 are possible, 0 takes any free one", addr)
	}
	if isLoopback(host) {
		return nil
	}
	return fmt.Errorf("%s can be reached from other machines, and there is no authentication yet: listen on 127.0.0.1:%s, or keep that and put a reverse proxy that authenticates on the same host (its name then belongs into server.allowed_hosts)", addr, port)
}

// isLoopback reports whether host is a name or an address of this machine only.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Zone() == "" && a.Unmap().IsLoopback()
}

// splitHost splits a Host header; the port is empty if there is none.
func splitHost(hostport string) (host, port string) {
	if h, p, err := net.SplitHostPort(hostport); err == nil {
		return strings.ToLower(h), p
	}
	return strings.ToLower(strings.Trim(hostport, "[]")), ""
}

// parseOrigin checks that o is scheme://host[:port] and nothing more.
func parseOrigin(o string) (*url.URL, error) {
	u, err := url.Parse(o)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.Scheme+"://"+u.Host != o || strings.Contains(u.Host, "*") {
		return nil, fmt.Errorf("%q is not an origin: write scheme, host and port as browsers do, such as https://chat.example.org", o)
	}
	return u, nil
}
