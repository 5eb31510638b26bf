package embed

import (
	"time"

	"hearth/inference"
)

// Config is how inputs are batched. The zero value of a field stands for its
// default.
type Config struct {
	// Batch is the most tokens that are computed at once, and so the longest
	// input that can be embedded: 32..65536.
	Batch int `yaml:"batch"`
	// Sequences is the most inputs that are computed at once, 1..256.
	Sequences int `yaml:"sequences"`
	// Fill is the tokens after which a batch takes no more inputs.
	Fill int `yaml:"fill"`
	// Queue is the most inputs that wait; more are refused.
	Queue int `yaml:"queue"`
}

// DefaultConfig returns what holds where nothing is said.
func DefaultConfig() Config {
	return Config{Batch: 2048, Sequences: 64, Fill: 256, Queue: 8192}
}

// Validate reports the first value that is out of its bounds, as an
// *inference.InvalidError whose field is the name in YAML.
func (c *Config) Validate() error {
	for _, f := range []struct {
		field     string
		v, lo, hi int
	}{
		{"batch", c.Batch, 32, 1 << 16},
		{"sequences", c.Sequences, 1, 256},
		{"fill", c.Fill, 1, 1 << 16},
		{"queue", c.Queue, inference.MaxEmbedInputs, 1 << 20},
	} {
		if f.v < f.lo || f.v > f.hi {
			return inference.Invalid(f.field, "must be between %d and %d, got %d", f.lo, f.hi, f.v)
		}
	}
	return nil
}

// Observer is told what a Worker does, to count it. Its methods must return at
// once and be safe for concurrent use.
type Observer interface {
	// EmbedQueued is the number of inputs that wait.
	EmbedQueued(inputs int)
	// EmbedBatch reports a computed batch.
	EmbedBatch(inputs, tokens int, d time.Duration)
	// EmbedDone reports the end of a request: "ok" or the code of its error, and
	// the tokens that were computed.
	EmbedDone(outcome string, tokens int, d time.Duration)
}

type nobody struct{}

func (nobody) EmbedQueued(int)                      {}
func (nobody) EmbedBatch(int, int, time.Duration)   {}
func (nobody) EmbedDone(string, int, time.Duration) {}
