package openai

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"

	"hearth/inference"
)

// The values that a zero in Config stands for.
const (
	DefaultWriteTimeout = 30 * time.Second
	DefaultPingInterval = 15 * time.Second
	DefaultMaxBodyBytes = 16 << 20
)

// Config is what the dialect needs. Models is required.
type Config struct {
	Models inference.Models
	Log    zerolog.Logger
	// WriteTimeout bounds one write: a client that reads nothing for so long is
	// given up.
	WriteTimeout time.Duration
	// PingInterval is how long a stream stays silent before a comment is sent.
	PingInterval time.Duration
	// MaxBodyBytes bounds a request's body; more is answered with 413.
	MaxBodyBytes int64
	// Refused, unless it is nil, is told of each request to a model that never
	// reached a model: once, on the handler's goroutine, before the client is
	// answered. Of all others the model has heard.
	Refused func(context.Context, inference.Refusal)
}

// API is the set of handlers.
type API struct {
	cfg Config
	now func() time.Time
	id  func(prefix string) string
}

// New returns the handlers of the dialect.
func New(cfg Config) (*API, error) {
	if cfg.Models == nil {
		return nil, errors.New("openai: Config.Models is required")
	}
	if cfg.WriteTimeout < 0 || cfg.PingInterval < 0 || cfg.MaxBodyBytes < 0 {
		return nil, fmt.Errorf("openai: the write timeout (%v), the ping interval (%v) and the body limit (%d) must not be negative", cfg.WriteTimeout, cfg.PingInterval, cfg.MaxBodyBytes)
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = DefaultWriteTimeout
	}
	if cfg.PingInterval == 0 {
		cfg.PingInterval = DefaultPingInterval
	}
	if cfg.MaxBodyBytes == 0 {
		cfg.MaxBodyBytes = DefaultMaxBodyBytes
	}
	return &API{cfg: cfg, now: time.Now, id: newID}, nil
}

// Routes mounts the handlers below /v1.
func (a *API) Routes(r chi.Router) {
	r.Route("/v1", func(r chi.Router) {
		r.Post("/chat/completions", a.chatCompletions)
		r.Post("/completions", a.completions)
		r.Post("/responses", a.responses)
		r.Post("/embeddings", a.embeddings)
		r.Post("/rerank", a.rerank)
		r.Get("/models", a.listModels)
		r.Get("/models/*", a.getModel)
		r.Post("/tokenize", a.tokenize)
		r.Post("/detokenize", a.detokenize)
		r.Post("/count_tokens", a.countTokens)
		r.NotFound(a.notFound)
		r.MethodNotAllowed(a.methodNotAllowed)
	})
}

func (a *API) notFound(w http.ResponseWriter, r *http.Request) {
	a.writeError(w, http.StatusNotFound, errorBody{
		Message: fmt.Sprintf("there is no %s here", r.URL.Path), Type: "invalid_request_error", Code: "unknown_url",
	})
}

func (a *API) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	a.writeError(w, http.StatusMethodNotAllowed, errorBody{
		Message: fmt.Sprintf("%s does not take %s", r.URL.Path, r.Method), Type: "invalid_request_error", Code: "method_not_allowed",
	})
}

// fingerprint identifies what answers: the same model, served in the same way.
func fingerprint(info *inference.ModelInfo) string {
	h := fnv.New64a()
	fmt.Fprint(h, info.ID, info.Architecture, info.Description, info.Quantization, info.FileBytes, info.Context, info.GPULayers, info.Devices)
	return fmt.Sprintf("fp_%012x", h.Sum64()>>16)
}
