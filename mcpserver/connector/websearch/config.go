package websearch

import (
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hearth/internal/config"
	"hearth/internal/netguard"
)

// Bounds of the configuration and of calls.
const (
	maxCount   = 20
	maxTimeout = 2 * time.Minute
	maxKeep    = 24 * time.Hour
)

// Config is the section websearch of a connector.
type Config struct {
	// Provider is "brave", "tavily" or "searxng". Required.
	Provider string `yaml:"provider"`
	// Key is the key of the service. Required for brave and tavily; an instance of
	// SearXNG has none, and gets one as a bearer token where a proxy before it asks
	// for that.
	Key config.Secret `yaml:"key"`
	// URL is the base of the service. Required for searxng; the others have their own.
	// Its host may be on an internal network.
	URL string `yaml:"url"`
	// Count is how many results are given where a call does not say. Default 5, at
	// most 20.
	Count int `yaml:"count"`
	// Timeout bounds a search. Default 15 s, at most 2 min.
	Timeout time.Duration `yaml:"timeout"`
	// Keep is how long the results of a search may be given again. Default 5 min, at
	// most 24 h; negative: never.
	Keep time.Duration `yaml:"keep"`
}

func (c *Config) withDefaults() Config {
	d := *c
	set(&d.URL, providers[c.Provider].base)
	set(&d.Count, 5)
	set(&d.Timeout, 15*time.Second)
	set(&d.Keep, 5*time.Minute)
	d.URL = strings.TrimRight(d.URL, "/")
	return d
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Resolve makes the file of the key relative to dir.
func (c *Config) Resolve(dir string) {
	if path, ok := strings.CutPrefix(string(c.Key), "file:"); ok && path != "" && !filepath.IsAbs(path) {
		c.Key = config.Secret("file:" + filepath.Join(dir, path))
	}
}

// Check says which value cannot be used, as a *config.FieldError. It does not read
// the key.
func (c *Config) Check() error {
	p, ok := providers[c.Provider]
	if !ok {
		names := make([]string, 0, len(providers))
		for name := range providers {
			names = append(names, name)
		}
		slices.Sort(names)
		return config.Invalid("provider", "is %q, but must be one of %s", c.Provider, strings.Join(names, ", "))
	}
	if reason := c.Key.Check(); reason != "" {
		return config.Invalid("key", "%s", reason)
	}
	switch {
	case p.needsKey && c.Key == "":
		return config.Invalid("key", "is required for %s: write where it is, as env:NAME or file:PATH", c.Provider)
	case p.base == "" && c.URL == "":
		return config.Invalid("url", "is required for %s: write the address of the instance, as in http://127.0.0.1:8888", c.Provider)
	case c.Count < 0 || c.Count > maxCount:
		return config.Invalid("count", "is %d, but must be from 1 to %d", c.Count, maxCount)
	case c.Timeout < 0 || c.Timeout > maxTimeout:
		return config.Invalid("timeout", "is %s, but must be at most %s", c.Timeout, maxTimeout)
	case c.Keep > maxKeep:
		return config.Invalid("keep", "is %s, but must be at most %s", c.Keep, maxKeep)
	}
	if c.URL != "" {
		if _, err := netguard.Origins(c.URL); err != nil {
			return config.Invalid("url", "%v", err)
		}
		if u, err := url.Parse(c.URL); err != nil || u.RawQuery != "" || u.Fragment != "" {
			return config.Invalid("url", "must be an address without a query, as in http://127.0.0.1:8888")
		}
	}
	return nil
}
