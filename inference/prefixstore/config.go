package prefixstore

import (
	"hearth/internal/config"
)

// Config bounds what is kept.
type Config struct {
	// RAM is the most memory for prefixes outside of the KV cache; 0: none are kept.
	RAM config.Size `yaml:"ram"`
	// Disk is the most that files behind it may take, for each model; 0: there are
	// none. The files hold what the prompts were, to whoever may read them.
	Disk config.Size `yaml:"disk"`
	// Dir is the folder of the files, in which each model has its own.
	Dir string `yaml:"dir"`
}

// DefaultConfig is what holds where a configuration is silent.
func DefaultConfig() Config { return Config{RAM: 512 << 20} }
