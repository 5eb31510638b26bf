package agent

import (
	"time"

	"hearth/internal/config"
)

// Config is the section "agent" of the configuration: the bounds of one request
// whose tools the server runs.
type Config struct {
	// Rounds is how many answers of the model one request may take, 1..256. In the
	// last one the model has no tools.
	Rounds int `yaml:"rounds"`
	// Tokens bounds what the model writes in all rounds together; 0: what the
	// request says.
	Tokens int `yaml:"tokens"`
	// Timeout ends the whole; 0: none.
	Timeout time.Duration `yaml:"timeout"`
	// ApprovalWait is how long a call that needs an approval waits for one, decided
	// beside the request; 0: the answer ends with it, or goes on without.
	ApprovalWait time.Duration `yaml:"approval_wait"`
	// Parallel is how many calls of one answer run at the same time, 1..64.
	Parallel int `yaml:"parallel"`
	// Repeats is how often the very same call runs in one request, 1..100. After
	// an answer with no other calls than those that ran so often the model goes on
	// without their tools.
	Repeats int `yaml:"repeats"`
	// ToolTokens is how much of a prompt the definitions of tools may take. Where
	// they take more, the model gets find_tool and call_tool instead. 0: a quarter
	// of the context.
	ToolTokens int `yaml:"tool_tokens"`
	// Found is how many tools find_tool shows, 1..32.
	Found int `yaml:"found"`
	// EmbeddingModel is the id of the model that find_tool compares meanings with;
	// empty: the first that makes embeddings, and words alone where there is none.
	EmbeddingModel string `yaml:"embedding_model"`
}

// DefaultConfig returns what holds where the file is silent.
func DefaultConfig() Config {
	return Config{Rounds: 16, Timeout: 10 * time.Minute, Parallel: 8, Repeats: 2, Found: 5}
}

// Check reports the first value that cannot be used as a *config.FieldError.
func (c *Config) Check() error {
	for _, b := range []struct {
		field           string
		value, low, top int
	}{
		{"rounds", c.Rounds, 1, 256},
		{"tokens", c.Tokens, 0, 1 << 24},
		{"parallel", c.Parallel, 1, 64},
		{"repeats", c.Repeats, 1, 100},
		{"tool_tokens", c.ToolTokens, 0, 1 << 24},
		{"found", c.Found, 1, 32},
	} {
		if b.value < b.low || b.value > b.top {
			return config.Invalid(b.field, "must be between %d and %d, got %d", b.low, b.top, b.value)
		}
	}
	if c.Timeout < 0 || c.Timeout > 24*time.Hour {
		return config.Invalid("timeout", "must be between 0 (none) and 24h, got %v", c.Timeout)
	}
	if c.ApprovalWait < 0 || c.ApprovalWait > 24*time.Hour {
		return config.Invalid("approval_wait", "must be between 0 (not at all) and 24h, got %v", c.ApprovalWait)
	}
	return nil
}
