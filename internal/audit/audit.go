package audit

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Config is the section "audit" of the configuration.
type Config struct {
	// File gets one JSON line for each record, appended; empty: the records go
	// to the server's log.
	File string `yaml:"file"`
	// Durable makes a tool wait until the record of its call is on the disk. Without
	// a File it has no effect.
	Durable bool `yaml:"durable"`
}

// DefaultConfig returns what holds where the configuration is silent.
func DefaultConfig() Config { return Config{Durable: true} }

// Record is one thing that was done.
type Record struct {
	RequestID string
	Principal string
	Tenant    string
	Via       string // the door: "POST /v1/chat/completions", "mcp stdio"
	Action    string // "chat", "complete", "embed" or "rerank"
	Model     string // its id; of a request that reached no model, the one that was asked for
	// Tokens of the prompt, of these the ones that were shared, and of the answer.
	PromptTokens, CachedTokens, CompletionTokens int
	// Adapters are the LoRA adapters of the answer, or that were asked for in vain;
	// none where the request reached no model.
	Adapters []Adapter
	Outcome  string        // "ok", or the code of the error
	Duration time.Duration // from the model's being asked; 0 if none was
}

// Adapter is a LoRA adapter of a request. Scale is nil where the request gave none
// and there is no such adapter.
type Adapter struct {
	Name  string
	Scale *float32
}

// Sink keeps records.
type Sink interface {
	Write(Record)
}

// LogSink writes records as events of a zerolog logger. It is safe for concurrent
// use.
type LogSink struct {
	log     zerolog.Logger
	journal *journal // nil: the records go to the server's log
	durable bool
	key     []byte    // of the HMAC of arguments
	macs    sync.Pool // hash.Hash by that key
}

// Open returns the sink that c asks for; log is used when it names no file.
// Close the sink when nothing is recorded any more.
func Open(c Config, log zerolog.Logger) (*LogSink, error) {
	if c.File == "" {
		key, err := loadKey("")
		if err != nil {
			return nil, err
		}
		return &LogSink{log: log.With().Bool("audit", true).Logger(), key: key}, nil
	}
	j, err := openJournal(c.File)
	if err != nil {
		return nil, err
	}
	key, err := loadKey(c.File + ".key")
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	return &LogSink{log: zerolog.New(j).With().Timestamp().Logger(), journal: j, durable: c.Durable, key: key}, nil
}

// Write records r. Events carry no level, so that no log level hides them. A
// record that the file does not take is reported on standard error.
func (s *LogSink) Write(r Record) {
	e := s.log.Log().
		Str("request_id", r.RequestID).Str("principal", r.Principal).Str("tenant", r.Tenant).
		Str("via", r.Via).Str("action", r.Action).Str("model", r.Model).
		Int("prompt_tokens", r.PromptTokens).Int("cached_tokens", r.CachedTokens).Int("completion_tokens", r.CompletionTokens)
	if len(r.Adapters) > 0 {
		all := e.CreateArray()
		for _, a := range r.Adapters {
			one := e.CreateDict().Str("name", a.Name)
			if a.Scale != nil {
				one = one.Float32("scale", *a.Scale)
			}
			all = all.Dict(one)
		}
		e = e.Array("lora", all)
	}
	e.Str("outcome", r.Outcome).Dur("duration_ms", r.Duration).Msg("request")
}

// OnSync has f called whenever the file was made durable: one fdatasync serves all
// records that wait for it. Call it before the first record.
func (s *LogSink) OnSync(f func()) {
	if s.journal != nil {
		s.journal.synced = f
	}
}

// Close writes what is left and closes the file, if there is one.
func (s *LogSink) Close() error {
	if s.journal == nil {
		return nil
	}
	return s.journal.close()
}

type viaKey struct{}

// WithVia notes through which door the work of ctx came.
func WithVia(ctx context.Context, via string) context.Context {
	return context.WithValue(ctx, viaKey{}, via)
}

// ViaFrom returns the door that ctx carries, "internal" if none.
func ViaFrom(ctx context.Context) string {
	if via, ok := ctx.Value(viaKey{}).(string); ok {
		return via
	}
	return "internal"
}
