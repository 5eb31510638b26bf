package telemetry

import (
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
)

// Config is the section "telemetry" of the configuration.
type Config struct {
	LogLevel  string `yaml:"log_level"`  // debug, info, warn, error
	LogFormat string `yaml:"log_format"` // auto, json, console
	// LogPrompts writes what users ask into the log, at level debug.
	LogPrompts bool `yaml:"log_prompts"`
}

// DefaultConfig returns what holds where the configuration is silent.
func DefaultConfig() Config { return Config{LogLevel: "info", LogFormat: "auto"} }

// Check reports the first value that cannot be used: the field and the reason.
func (c Config) Check() (field, reason string) {
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		return "log_level", fmt.Sprintf("%q is no level: use debug, info, warn or error", c.LogLevel)
	}
	switch c.LogFormat {
	case "auto", "json", "console":
	default:
		return "log_format", fmt.Sprintf("%q is no format: use json, console, or auto (console on a terminal, else json)", c.LogFormat)
	}
	return "", ""
}

// NewLogger returns the server's log on w; terminal says whether w is one. The
// level is process-wide: see [SetLevel].
func NewLogger(c Config, w io.Writer, terminal bool) zerolog.Logger {
	SetLevel(c)
	if c.LogFormat == "console" || (c.LogFormat == "auto" && terminal) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !terminal}
	}
	return zerolog.New(w).With().Timestamp().Logger()
}

// SetLevel changes the level of all logs of this process, also while they are used.
func SetLevel(c Config) {
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel
	}
	zerolog.SetGlobalLevel(level)
}
