package router

import (
	"errors"
	"testing"
	"time"

	"hearth/internal/config"
)

func TestRate(t *testing.T) {
	for text, want := range map[string]Rate{"": {}, "10/s": {10, time.Second}, " 60 / m ": {60, time.Minute}, "500/h": {500, time.Hour}} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
		again, err := r.MarshalText()
		var back Rate
		if err != nil || back.UnmarshalText(again) != nil || back != want {
			t.Errorf("%q was written as %q (%v)", text, again, err)
		}
	}
	for _, text := range []string{"10", "10/d", "0/s", "-1/s", "x/s", "99999999999/s", "/"} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is the rate %+v", text, r)
		}
	}
}

// TestOptions: each value that cannot be used is refused by its name.
func TestOptions(t *testing.T) {
	for _, c := range []struct {
		field   string
		options Options
	}{
		{"", Options{Allow: []string{"get_*"}, Deny: []string{"*"}, Cache: map[string]time.Duration{"get": 0}}},
		{"allow[1]", Options{Allow: []string{"a", ""}}},
		{"deny[0]", Options{Deny: []string{"["}}},
		{"cache", Options{Cache: map[string]time.Duration{"[": time.Second}}},
		{"cache.get", Options{Cache: map[string]time.Duration{"get": -1}}},
		{"limits.concurrent", Options{Limits: Limits{Concurrent: 2000}}},
		{"limits.timeout", Options{Limits: Limits{Timeout: 48 * time.Hour}}},
		{"limits.result_bytes", Options{Limits: Limits{ResultBytes: 1}}},
		{"limits.result_tokens", Options{Limits: Limits{ResultTokens: 1}}},
	} {
		err := c.options.Check()
		var bad *config.FieldError
		if c.field == "" && err != nil || c.field != "" && (!errors.As(err, &bad) || bad.Path != c.field) {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}
