package prefixstore

import (
	"hearth/internal/config"
)

// Config bounds what is kept.
type Config struct {
	// RAM is the most memory for prefixes outside of the KV cache; 0: none are kept.
	RAM config.Size `yaml:"ram"`
}

// DefaultConfig is what holds where a configuration is silent.
func DefaultConfig() Config { return Config{RAM: 512 << 20} }
