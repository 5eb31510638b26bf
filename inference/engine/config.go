package engine

import (
	"cmp"
	"time"

	"hearth/inference"
	"hearth/inference/prefixstore"
)

// maxSequences is the most sequence ids that a backend can have.
const maxSequences = 256

// MaxGuesses is the most tokens that may be guessed in one step.
const MaxGuesses = 64

// Config says how the engine schedules. The zero value of every field stands
// for its default.
type Config struct {
	// Sequences is how many sequences run at the same time (1..256, default 8).
	// A backend with fewer lowers it.
	Sequences int `yaml:"sequences"`
	// Queue is how many requests may wait for admission (1..65536, default 64).
	// One more is refused with ErrBusy.
	Queue int `yaml:"queue"`
	// TargetITL is the time between two tokens that a chunk of somebody else's
	// prompt should not exceed (1ms..10s, default 180ms). Smaller is smoother
	// for those who read, larger is sooner for those who wait for a first token.
	// Three times what a step of the answers alone takes is never too much.
	TargetITL time.Duration `yaml:"target_itl"`
	// MinChunk is the fewest prompt tokens a step computes while others decode,
	// whatever TargetITL says, so that a prompt always advances (1..4096,
	// default 16).
	MinChunk int `yaml:"min_chunk"`
	// MaxChunk is the most prompt tokens a step computes while others decode
	// (MinChunk..65536, default: the backend's micro-batch).
	MaxChunk int `yaml:"max_chunk"`
	// Reserve is how many cells are promised to the answer of a request without
	// a token limit, and by how many the promise grows (1..1048576, default 512).
	// Such a request may have to pause when the cache is full; one with a limit
	// is promised all its cells before it starts.
	Reserve int `yaml:"reserve"`
	// Deadline is how long a request that names none may take, from submission
	// (1ms..168h, default: no deadline).
	Deadline time.Duration `yaml:"deadline"`
	// StepByStep lets no step begin before the tokens of the one before were
	// handed out. The tokens are the same and come later: it is there to look for
	// faults.
	StepByStep bool `yaml:"step_by_step"`
	// Lookup says when tokens are guessed from the text itself.
	Lookup LookupConfig `yaml:"prompt_lookup"`
	// Forced says what is done about text that a grammar leaves no choice about.
	Forced ForcedConfig `yaml:"forced_text"`
	// Prefix says what is shared and what is kept of finished requests.
	Prefix PrefixConfig `yaml:"prefix_cache"`
	// Store takes prefixes that leave the cache, in blocks of BlockTokens; nil: they
	// are lost. It is not closed by the engine.
	Store *prefixstore.Store `yaml:"-"`
}

// LookupConfig bounds prompt lookup: where the last tokens of a text came before
// in it, those that followed there are guessed to come again, and a step computes
// them beside the one that is certain. Guesses that the model does not confirm
// are thrown away, so that they cost time and never change the text.
type LookupConfig struct {
	// Off guesses nothing.
	Off bool `yaml:"off"`
	// Rows is up to how many sequences may run while tokens are guessed (1..256,
	// default 2): the more run, the less a step has to spare.
	Rows int `yaml:"rows"`
	// Tokens is the most guesses in one step (1..64, default 8).
	Tokens int `yaml:"tokens"`
}

// ForcedConfig bounds what is done about text that a grammar leaves no choice
// about, as the keys of a JSON schema.
type ForcedConfig struct {
	// Mode is what is done where a request does not say it (default: guess).
	Mode inference.ForcedText `yaml:"mode"`
	// Rows is up to how many sequences may run while such text is guessed (1..256,
	// default 2): the more run, the less a step has to spare for what is wrong.
	// What is appended is certain, and needs no such bound.
	Rows int `yaml:"rows"`
	// Tokens is the most tokens of such text that are guessed in one step, of all
	// sequences together (1..64, default 32).
	Tokens int `yaml:"tokens"`
}

// Guesses is how many rows of guesses a backend should have. A request may ask
// for them where Forced.Mode is off.
func (c *Config) Guesses() int {
	d := DefaultConfig()
	n := cmp.Or(c.Forced.Tokens, d.Forced.Tokens)
	if !c.Lookup.Off {
		n = max(n, cmp.Or(c.Lookup.Tokens, d.Lookup.Tokens))
	}
	return n
}

// guesses is the most rows of guesses in one step, of a configuration that is
// resolved.
func (c *Config) guesses() int { return max(c.Lookup.Tokens, c.Forced.Tokens) }

// PrefixConfig bounds the sharing of prefixes. In a unified cache every kept
// cell makes every decode step a little slower, so the pool is small and what
// nobody asks for leaves it; with a cache of its own for each sequence, kept
// prefixes cost nothing and stay until their sequence is needed.
type PrefixConfig struct {
	// Off switches all sharing off.
	Off bool `yaml:"off"`
	// Cells is the most cells that finished requests may keep in a unified cache
	// (1..1073741824, default: a quarter of the cache). The newest is kept even if
	// it is longer. All of them make way for requests that need the cells.
	Cells int `yaml:"cells"`
	// MinShare is the shortest prefix, in tokens, worth sharing or waiting for
	// (1..65536, default 16).
	MinShare int `yaml:"min_share"`
	// MinKeep is the length in tokens from which a finished request is kept in a
	// unified cache while others run (1..1048576, default 256). Of a shorter one
	// only what others began with is kept, or all if nothing else ran when it
	// ended.
	MinKeep int `yaml:"min_keep"`
	// IdleTokens is how many tokens may be decoded in a unified cache before the
	// part of a kept prefix that nobody used is dropped; what other requests
	// began with stays four times as long (1..1073741824, default 1024).
	IdleTokens int `yaml:"idle_tokens"`
	// Config bounds what is kept outside of the cache.
	prefixstore.Config `yaml:",inline"`
}

// DefaultConfig returns the configuration with every default filled in that
// does not depend on the backend.
func DefaultConfig() Config {
	return Config{
		Sequences: 8, Queue: 64,
		TargetITL: 180 * time.Millisecond, MinChunk: 16,
		Reserve: 512,
		Lookup:  LookupConfig{Rows: 2, Tokens: 8},
		Forced:  ForcedConfig{Mode: inference.ForcedGuess, Rows: 2, Tokens: 32},
		Prefix:  PrefixConfig{MinShare: 16, MinKeep: 256, IdleTokens: 1024, Config: prefixstore.DefaultConfig()},
	}
}

// Validate reports the first value out of its range as an
// *inference.InvalidError that names the field as in a configuration file.
func (c *Config) Validate() error {
	const week = 7 * 24 * time.Hour
	for _, f := range []struct {
		name      string
		v, lo, hi int
	}{
		{"sequences", c.Sequences, 1, maxSequences},
		{"queue", c.Queue, 1, 65536},
		{"min_chunk", c.MinChunk, 1, 4096},
		{"max_chunk", c.MaxChunk, max(c.MinChunk, 1), 65536},
		{"reserve", c.Reserve, 1, 1 << 20},
		{"prompt_lookup.rows", c.Lookup.Rows, 1, maxSequences},
		{"prompt_lookup.tokens", c.Lookup.Tokens, 1, MaxGuesses},
		{"forced_text.rows", c.Forced.Rows, 1, maxSequences},
		{"forced_text.tokens", c.Forced.Tokens, 1, MaxGuesses},
		{"prefix_cache.cells", c.Prefix.Cells, 1, 1 << 30},
		{"prefix_cache.min_share", c.Prefix.MinShare, 1, 65536},
		{"prefix_cache.min_keep", c.Prefix.MinKeep, 1, 1 << 20},
		{"prefix_cache.idle_tokens", c.Prefix.IdleTokens, 1, 1 << 30},
	} {
		if f.v != 0 && (f.v < f.lo || f.v > f.hi) {
			return inference.Invalid(f.name, "must be between %d and %d (0: the default), got %d", f.lo, f.hi, f.v)
		}
	}
	if c.Prefix.Disk > 0 && c.Prefix.RAM == 0 {
		return inference.Invalid("prefix_cache.disk", "needs memory to read and write through: give engine.prefix_cache.ram a size, such as 64MiB, or take this one away")
	}
	for _, f := range []struct {
		name      string
		v, lo, hi time.Duration
	}{
		{"target_itl", c.TargetITL, time.Millisecond, 10 * time.Second},
		{"deadline", c.Deadline, time.Millisecond, week},
	} {
		if f.v != 0 && (f.v < f.lo || f.v > f.hi) {
			return inference.Invalid(f.name, "must be between %s and %s (0: the default), got %s", f.lo, f.hi, f.v)
		}
	}
	return c.Forced.Mode.Validate("forced_text.mode")
}

// resolve fills in every default, also those that depend on the backend.
func (c Config) resolve(t inference.Traits) Config {
	d := DefaultConfig()
	fill := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	fill(&c.Sequences, d.Sequences)
	fill(&c.Queue, d.Queue)
	fill(&c.MinChunk, d.MinChunk)
	fill(&c.Reserve, d.Reserve)
	fill(&c.Lookup.Rows, d.Lookup.Rows)
	fill(&c.Lookup.Tokens, d.Lookup.Tokens)
	if c.Lookup.Tokens = min(c.Lookup.Tokens, t.Guesses); c.Lookup.Tokens == 0 || !t.TrimTail {
		c.Lookup.Off = true
	}
	fill(&c.Forced.Rows, d.Forced.Rows)
	fill(&c.Forced.Tokens, d.Forced.Tokens)
	if c.Forced.Tokens = min(c.Forced.Tokens, t.Guesses); !t.TrimTail {
		c.Forced.Tokens = 0
	}
	c.Forced.Mode = cmp.Or(c.Forced.Mode, d.Forced.Mode)
	fill(&c.Prefix.Cells, max(t.Cells/4, 1))
	fill(&c.Prefix.MinShare, d.Prefix.MinShare)
	fill(&c.Prefix.MinKeep, d.Prefix.MinKeep)
	fill(&c.Prefix.IdleTokens, d.Prefix.IdleTokens)
	if c.TargetITL == 0 {
		c.TargetITL = d.TargetITL
	}
	// One row for each must fit into a step, or prompts could starve.
	c.Sequences = min(c.Sequences, t.Sequences, capacity(t))
	c.MaxChunk = max(c.MaxChunk, 0)
	fill(&c.MaxChunk, max(capacity(t), c.MinChunk))
	return c
}
