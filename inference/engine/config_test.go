package engine

import (
	"errors"
	"testing"
	"time"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		field string // refused; empty: accepted
		set   func(*Config)
	}{
		{"", func(*Config) {}},
		{"", func(c *Config) { *c = Config{} }},
		{"", func(c *Config) { c.Deadline = time.Hour }},
		{"sequences", func(c *Config) { c.Sequences = 257 }},
		{"sequences", func(c *Config) { c.Sequences = -1 }},
		{"queue", func(c *Config) { c.Queue = 65537 }},
		{"min_chunk", func(c *Config) { c.MinChunk = 4097 }},
		{"max_chunk", func(c *Config) { c.MaxChunk = c.MinChunk - 1 }},
		{"reserve", func(c *Config) { c.Reserve = -5 }},
		{"target_itl", func(c *Config) { c.TargetITL = time.Microsecond }},
		{"target_itl", func(c *Config) { c.TargetITL = time.Minute }},
		{"deadline", func(c *Config) { c.Deadline = -time.Second }},
		{"", func(c *Config) { c.Forced = ForcedConfig{Mode: inference.ForcedAppend, Rows: 256, Tokens: 64} }},
		{"forced_text.mode", func(c *Config) { c.Forced.Mode = "always" }},
		{"forced_text.rows", func(c *Config) { c.Forced.Rows = 257 }},
		{"forced_text.tokens", func(c *Config) { c.Forced.Tokens = 65 }},
		{"prefix_cache.cells", func(c *Config) { c.Prefix.Cells = -1 }},
		{"prefix_cache.min_share", func(c *Config) { c.Prefix.MinShare = 70000 }},
		{"prefix_cache.min_keep", func(c *Config) { c.Prefix.MinKeep = -1 }},
		{"prefix_cache.idle_tokens", func(c *Config) { c.Prefix.IdleTokens = -1 }},
	} {
		conf := DefaultConfig()
		c.set(&conf)
		err := conf.Validate()
		var invalid *inference.InvalidError
		switch {
		case c.field == "":
			if err != nil {
				t.Errorf("%+v: %v", conf, err)
			}
		case !errors.As(err, &invalid) || invalid.Field != c.field:
			t.Errorf("%s: got %v", c.field, err)
		}
	}
}

func TestConfigResolvesToTheBackend(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		traits    inference.Traits
		sequences int
		maxChunk  int
		idle      int
	}{
		{inference.Traits{Sequences: 4, Cells: 800, Batch: 512, MicroBatch: 128}, 4, 128, 200},
		{inference.Traits{Sequences: 100, Cells: 4, Batch: 512, MicroBatch: 512}, 8, 512, 1},
		{inference.Traits{Sequences: 100, Cells: 80, Batch: 5}, 5, 16, 20},
	} {
		got := Config{}.resolve(c.traits)
		if got.Sequences != c.sequences || got.MaxChunk != c.maxChunk || got.Prefix.Cells != c.idle || got.Queue != 64 {
			t.Errorf("%+v: got %+v", c.traits, got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(enginetest.New(enginetest.Options{}), Config{Sequences: 1000}, nil); !errors.Is(err, inference.ErrInvalid) {
		t.Errorf("a configuration out of range: %v", err)
	}
	if _, err := New(enginetest.New(enginetest.Options{Cells: 1, Sequences: 1}), Config{}, nil); !errors.Is(err, inference.ErrInvalid) {
		t.Errorf("a backend with one cell: %v", err)
	}
}
