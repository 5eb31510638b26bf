package webfetch

import (
	"errors"
	"strings"
	"time"

	"hearth/internal/config"
	"hearth/internal/netguard"
)

// Bounds of the configuration.
const (
	maxPageBytes = 64 << 20
	maxTimeout   = 5 * time.Minute
	maxInterval  = time.Minute
	maxKeep      = 24 * time.Hour
	maxLength    = 200_000
)

// Config is the section webfetch of a connector. The zero value of a field is its
// default.
type Config struct {
	// AllowHosts, unless empty, is all that may be fetched: names, "*.example.com",
	// each with or without a port. See netguard.Policy for the form.
	AllowHosts []string `yaml:"allow_hosts"`
	// DenyHosts may not be fetched, also by way of a redirect.
	DenyHosts []string `yaml:"deny_hosts"`
	// InternalHosts are names, addresses or networks that may be fetched though they
	// are not on the public internet.
	InternalHosts []string `yaml:"internal_hosts"`
	// Ports are the ports that may be used. Default 80 and 443.
	Ports []int `yaml:"ports"`
	// UserAgent is sent to hosts; what stands before its first "/" or space is the
	// name that robots.txt files are read for. Default "Hearth (fetches single pages for a person)".
	UserAgent string `yaml:"user_agent"`
	// IgnoreRobots fetches what robots.txt disallows, too. For hosts of one's own.
	IgnoreRobots bool `yaml:"ignore_robots"`
	// MaxBytes bounds how much of a page is read, after decompression. Default 5 MiB,
	// at most 64 MiB.
	MaxBytes config.Size `yaml:"max_bytes"`
	// Length is how many characters one call gives where it does not say. Default
	// 10,000, at most 200,000.
	Length int `yaml:"length"`
	// Timeout bounds a call, robots.txt, pauses and redirects included. Default 20 s,
	// at most 5 min.
	Timeout time.Duration `yaml:"timeout"`
	// HostInterval is the least time between two requests to one host. Default 500 ms,
	// at most 1 min; negative: none.
	HostInterval time.Duration `yaml:"host_interval"`
	// Keep is how long a page is given again without asking its host, unless the host
	// says less. Default 5 min, at most 24 h; negative: never.
	Keep time.Duration `yaml:"keep"`
}

const defaultAgent = "Hearth (fetches single pages for a person)"

func (c *Config) withDefaults() Config {
	d := *c
	set(&d.UserAgent, defaultAgent)
	set(&d.MaxBytes, 5<<20)
	set(&d.Length, 10_000)
	set(&d.Timeout, 20*time.Second)
	set(&d.HostInterval, 500*time.Millisecond)
	set(&d.Keep, 5*time.Minute)
	return d
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (c *Config) policy() netguard.Policy {
	return netguard.Policy{Allow: c.InternalHosts, Only: c.AllowHosts, Deny: c.DenyHosts, Ports: c.Ports}
}

// Check says which value cannot be used, as a *config.FieldError.
func (c *Config) Check() error {
	for _, list := range []struct {
		key    string
		policy netguard.Policy
	}{
		{"allow_hosts", netguard.Policy{Allow: c.AllowHosts}},
		{"deny_hosts", netguard.Policy{Allow: c.DenyHosts}},
		{"internal_hosts", netguard.Policy{Allow: c.InternalHosts}},
	} {
		if err := list.policy.Check(); err != nil {
			return renamed(err, "allow", list.key)
		}
	}
	ports := netguard.Policy{Ports: c.Ports}
	if err := ports.Check(); err != nil {
		return err
	}
	switch {
	case len(c.UserAgent) > 200 || !printable(c.UserAgent):
		return config.Invalid("user_agent", "must be at most 200 printable ASCII characters")
	case c.UserAgent != "" && agentToken(c.UserAgent) == "":
		return config.Invalid("user_agent", "must begin with a name of letters, as in %q", defaultAgent)
	case c.MaxBytes < 0 || c.MaxBytes > maxPageBytes:
		return config.Invalid("max_bytes", "is %s, but must be at most %s", c.MaxBytes, config.Size(maxPageBytes))
	case c.Length < 0 || c.Length > maxLength:
		return config.Invalid("length", "is %d, but must be from 1 to %d characters", c.Length, maxLength)
	case c.Timeout < 0 || c.Timeout > maxTimeout:
		return config.Invalid("timeout", "is %s, but must be at most %s", c.Timeout, maxTimeout)
	case c.HostInterval > maxInterval:
		return config.Invalid("host_interval", "is %s, but must be at most %s", c.HostInterval, maxInterval)
	case c.Keep > maxKeep:
		return config.Invalid("keep", "is %s, but must be at most %s", c.Keep, maxKeep)
	}
	return nil
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// renamed gives a field of netguard's the name that it has here.
func renamed(err error, from, to string) error {
	var f *config.FieldError
	if !errors.As(err, &f) {
		return err
	}
	return &config.FieldError{Path: to + strings.TrimPrefix(f.Path, from), Reason: f.Reason}
}
