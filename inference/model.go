package inference

import (
	"context"
	"time"
)

// ModelInfo describes a served model. It does not change while the model is loaded.
type ModelInfo struct {
	ID            string // the name that requests use
	Path          string // the GGUF file
	Architecture  string // general.architecture of the file
	Description   string // "llama 135M Q4_1"
	Quantization  string
	Params        uint64 // number of parameters
	FileBytes     int64
	TrainContext  int // tokens the model was trained for
	Context       int // tokens one request may use here
	Sequences     int // requests that are computed at the same time
	Vocabulary    int // number of tokens
	ChatTemplate  bool
	TemplateTools bool // the template has a place for tools
	PrefixSharing bool // prefixes may be shared between requests
	// WhyNotShared says in a sentence why they are not; empty where they are.
	WhyNotShared string
	// WhyNotStored says in a sentence why prefixes that leave the cache are not kept
	// outside of it; empty where they are.
	WhyNotStored string
	GPULayers    int
	Devices      []string
	LoadedAt     time.Time
	Defaults     Sampling
	// Embedding says what vectors the model makes; the zero value: none.
	Embedding EmbeddingInfo
	// Rerank says what documents the model scores; the zero value: none.
	Rerank RerankInfo
	// EmbeddingOnly: it makes vectors or scores, and no text.
	EmbeddingOnly bool
	// Adapters are the LoRA adapters that requests may use.
	Adapters []AdapterInfo
}

// Generator turns a request into a stream of events. An error of Chat or
// Complete means that nothing was started; [Classify] tells what to answer.
type Generator interface {
	Info() ModelInfo
	Chat(ctx context.Context, r *ChatRequest) (Stream, error)
	Complete(ctx context.Context, r *CompletionRequest) (Stream, error)
}

// Tokenizer turns text into tokens and back. It is safe for concurrent use and
// does not wait for the engine.
type Tokenizer interface {
	Tokenize(text string, o TokenizeOptions) ([]int32, error)
	// Detokenize renders special tokens as their text.
	Detokenize(tokens []int32) (string, error)
	// CountChat returns the number of prompt tokens that r would have.
	CountChat(r *ChatRequest) (int, error)
}

// Model is a loaded model that answers.
type Model interface {
	Generator
	Tokenizer
}

// Lease is the right to use a model: it stays loaded until Release.
type Lease interface {
	Model
	// Release gives the lease back, once; a second call does nothing.
	Release()
}

// Models hands out leases on the served models.
type Models interface {
	// List returns the served models in a fixed order, also those that still load.
	List() []ModelStatus
	// Acquire leases the model of that id. The empty id is the first model. It
	// returns ErrModelNotFound (as a *ModelError that lists what is served) or
	// ErrLoading.
	Acquire(ctx context.Context, id string) (Lease, error)
}

// ModelState is where a model is in its life.
type ModelState string

// The states of a model.
const (
	ModelLoading ModelState = "loading"
	ModelReady   ModelState = "ready"
	ModelFailed  ModelState = "failed"
)

// ModelStatus is a model with its state. Info holds only ID and Path until the
// model is ready.
type ModelStatus struct {
	Info     ModelInfo
	State    ModelState
	Progress float32 // 0..1 while loading
	Err      error   // why it failed
}
