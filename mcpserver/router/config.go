package router

import (
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"hearth/internal/config"
)

// Config is the section "policy" of the configuration: what holds for all calls.
type Config struct {
	// Redact are regular expressions (RE2) whose matches in results are replaced by
	// "[redacted]".
	Redact []string `yaml:"redact"`
	// Taint wants approvals of what writes or reaches outside after a result that
	// strangers may have written, in the same conversation.
	Taint bool `yaml:"taint"`
	// TaintTime is how long that holds where a client has no session.
	TaintTime time.Duration `yaml:"taint_time"`
	// ApprovalTime is how long a call waits for its approval, and how long one that
	// was given may be used.
	ApprovalTime time.Duration `yaml:"approval_time"`
	// Calls bounds the calls that one principal has in flight, 1..4096.
	Calls int `yaml:"calls"`
	// Rate bounds the calls of one principal; zero: no bound.
	Rate Rate `yaml:"rate"`
	// ResultTime is how long the rest of a cut result can be read.
	ResultTime time.Duration `yaml:"result_time"`
	// ResultMemory bounds what is kept of cut and of cached results.
	ResultMemory config.Size `yaml:"result_memory"`
}

// DefaultConfig returns what holds where the file is silent.
func DefaultConfig() Config {
	return Config{
		Taint: true, TaintTime: 15 * time.Minute, ApprovalTime: 15 * time.Minute, Calls: 64,
		ResultTime: 15 * time.Minute, ResultMemory: 64 << 20,
	}
}

// Check reports the first value that cannot be used as a *config.FieldError.
func (c *Config) Check() error {
	for i, p := range c.Redact {
		if _, err := compileRedaction(p); err != nil {
			return config.Invalid(fmt.Sprintf("redact[%d]", i), "%v", err)
		}
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"taint_time", c.TaintTime}, {"approval_time", c.ApprovalTime}, {"result_time", c.ResultTime}} {
		if d.value < time.Second || d.value > 7*24*time.Hour {
			return config.Invalid(d.field, "must be between 1s and 168h, got %v", d.value)
		}
	}
	if c.Calls < 1 || c.Calls > 4096 {
		return config.Invalid("calls", "must be between 1 and 4096, got %d", c.Calls)
	}
	if c.ResultMemory < 0 || c.ResultMemory > 64<<30 {
		return config.Invalid("result_memory", "must be between 0B and 64GiB, got %s", c.ResultMemory)
	}
	return nil
}

func compileRedaction(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("is no regular expression: %w", err)
	}
	if re.MatchString("") {
		return nil, errors.New("matches the empty text, so it would match everywhere: make it need a character")
	}
	return re, nil
}

// Options is how the calls of one connector are treated. The zero value is the
// default.
type Options struct {
	// Allow names tools that need no approval although they do more than read, and
	// Deny tools that nobody sees: the connector's own names, or patterns with *.
	Allow []string `yaml:"allow"`
	Deny  []string `yaml:"deny"`
	// Cache is how long the results of tools that only read are given again, by
	// name or pattern.
	Cache  map[string]time.Duration `yaml:"cache"`
	Limits Limits                   `yaml:"limits"`
}

// Limits bounds the calls of one connector.
type Limits struct {
	// Concurrent is how many run at the same time, 1..1024; 0: 8.
	Concurrent int `yaml:"concurrent"`
	// Rate bounds how many begin; zero: no bound.
	Rate Rate `yaml:"rate"`
	// Timeout ends a call; 0: 30s.
	Timeout time.Duration `yaml:"timeout"`
	// ResultBytes and ResultTokens are what a client gets of a result at once; the
	// rest is a resource. 0: 256KiB and 4,000.
	ResultBytes  config.Size `yaml:"result_bytes"`
	ResultTokens int         `yaml:"result_tokens"`
}

// What a zero in Limits stands for.
const (
	defaultConcurrent   = 8
	defaultTimeout      = 30 * time.Second
	defaultResultBytes  = 256 << 10
	defaultResultTokens = 4000
)

func (l Limits) withDefaults() Limits {
	if l.Concurrent == 0 {
		l.Concurrent = defaultConcurrent
	}
	if l.Timeout == 0 {
		l.Timeout = defaultTimeout
	}
	if l.ResultBytes == 0 {
		l.ResultBytes = defaultResultBytes
	}
	if l.ResultTokens == 0 {
		l.ResultTokens = defaultResultTokens
	}
	return l
}

// noBound stands for a bound that is not there.
const noBound = 1 << 40

// unbounded sets no bound where none is given.
func (l Limits) unbounded() Limits {
	if l.ResultBytes == 0 {
		l.ResultBytes = noBound
	}
	if l.ResultTokens == 0 {
		l.ResultTokens = noBound
	}
	return l
}

// Check reports the first value that cannot be used as a *config.FieldError.
func (o *Options) Check() error {
	for field, patterns := range map[string][]string{"allow": o.Allow, "deny": o.Deny} {
		for i, p := range patterns {
			if err := checkPattern(p); err != nil {
				return config.Invalid(fmt.Sprintf("%s[%d]", field, i), "%v", err)
			}
		}
	}
	for p, d := range o.Cache {
		if err := checkPattern(p); err != nil {
			return config.Invalid("cache", "%q %v", p, err)
		}
		if d < 0 || d > 7*24*time.Hour {
			return config.Invalid("cache."+p, "must be between 0s (never) and 168h, got %v", d)
		}
	}
	l := o.Limits
	switch {
	case l.Concurrent < 0 || l.Concurrent > 1024:
		return config.Invalid("limits.concurrent", "must be between 1 and 1024, or 0 for %d, got %d", defaultConcurrent, l.Concurrent)
	case l.Timeout < 0 || l.Timeout > 24*time.Hour:
		return config.Invalid("limits.timeout", "must be between 0 (%v) and 24h, got %v", defaultTimeout, l.Timeout)
	case l.ResultBytes != 0 && (l.ResultBytes < 1<<10 || l.ResultBytes > 64<<20):
		return config.Invalid("limits.result_bytes", "must be between 1KiB and 64MiB, got %s", l.ResultBytes)
	case l.ResultTokens != 0 && (l.ResultTokens < 32 || l.ResultTokens > 1<<20):
		return config.Invalid("limits.result_tokens", "must be between 32 and %d, got %d", 1<<20, l.ResultTokens)
	}
	return nil
}

func checkPattern(p string) error {
	if p == "" {
		return errors.New("is empty: name a tool, or use * for all")
	}
	if _, err := path.Match(p, ""); err != nil {
		return fmt.Errorf("is no pattern: %w", err)
	}
	return nil
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

// Rate is so many calls in a time, written as 10/s, 60/m or 500/h; zero: no bound.
type Rate struct {
	Calls int
	Per   time.Duration
}

// UnmarshalText reads a rate; the empty text is none.
func (r *Rate) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Rate{}
		return nil
	}
	calls, unit, ok := strings.Cut(strings.TrimSpace(string(text)), "/")
	n, err := strconv.Atoi(strings.TrimSpace(calls))
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[strings.TrimSpace(unit)]
	if !ok || err != nil || per == 0 || n < 1 || n > math.MaxInt32 {
		return fmt.Errorf("%q is no rate: write calls and a unit, such as 10/s, 60/m or 500/h", text)
	}
	r.Calls, r.Per = n, per
	return nil
}

// MarshalText writes the rate as it is read.
func (r Rate) MarshalText() ([]byte, error) {
	if r.Calls == 0 {
		return nil, nil
	}
	return fmt.Appendf(nil, "%d/%s", r.Calls, map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[r.Per]), nil
}
