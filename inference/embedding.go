package inference

import (
	"context"
	"fmt"
	"time"
)

// MaxEmbedInputs bounds the inputs of one request for embeddings.
const MaxEmbedInputs = 2048

// Pooling says how the vectors of an input's tokens become the one of the input.
type Pooling string

// The kinds of pooling.
const (
	PoolingMean Pooling = "mean" // their mean
	PoolingCLS  Pooling = "cls"  // the first token's
	PoolingLast Pooling = "last" // the last token's
	// PoolingRank: no vector but a score for a document. A model's file says so;
	// it cannot be asked for.
	PoolingRank Pooling = "rank"
)

// EmbeddingInfo is what a model can embed. The zero value: nothing.
type EmbeddingInfo struct {
	Width     int     // numbers in a vector
	MaxTokens int     // most tokens of one input, special ones included
	Pooling   Pooling // empty: the model makes no vectors
}

// EmbedTraits is what a context that embeds can do.
type EmbedTraits struct {
	Batch      int // most tokens in one call, all inputs together
	Sequences  int // most inputs in one call
	MaxTokens  int // most tokens of one input
	Width      int // numbers for each input
	Vocabulary int
	Pooling    Pooling
}

// EmbedInput is a text or, if Tokens is not nil, its tokens as they are.
type EmbedInput struct {
	Text   string
	Tokens []int32
}

// EmbedRequest asks for one vector for each input.
type EmbedRequest struct {
	Caller Caller
	// RequestID ties logs, traces and audit records together.
	RequestID string
	// Deadline ends the request with ErrDeadline when it passes; zero: none.
	Deadline time.Time
	Inputs   []EmbedInput // 1..MaxEmbedInputs
	// Dimensions cuts the vectors to their first numbers and scales them to
	// length 1 again, which is of use for models trained for it (Matryoshka
	// representation learning, arXiv:2205.13147); 0: all of them.
	Dimensions int
	// Truncate cuts an input that is too long instead of refusing the request.
	Truncate bool
}

// Embeddings are the vectors of a request, each of length 1, in the order of its
// inputs, and the tokens that were computed.
type Embeddings struct {
	Vectors [][]float32
	Tokens  int
}

// Embedder turns inputs into vectors of one common width. Not every [Model] is
// one: [Embed] asks those that are.
type Embedder interface {
	Embed(ctx context.Context, r *EmbedRequest) (*Embeddings, error)
}

// Embed asks m for vectors. A model that makes none is ErrUnsupported.
func Embed(ctx context.Context, m Generator, r *EmbedRequest) (*Embeddings, error) {
	if e, ok := m.(Embedder); ok {
		return e.Embed(ctx, r)
	}
	return nil, NoEmbeddings(m.Info().ID)
}

// NoVectors is the error of a model that scores documents.
func NoVectors(id string) error {
	return fmt.Errorf("%w: the model %q scores documents and makes no embeddings: ask it at /v1/rerank", ErrUnsupported, id)
}

// NoEmbeddings is the error of a model that makes no vectors.
func NoEmbeddings(id string) error {
	return fmt.Errorf("%w: the model %q makes no embeddings; serve it with embeddings: true, or ask a model for embeddings", ErrUnsupported, id)
}

// NoText is the error of a model that makes vectors and no text.
func NoText(id string) error {
	return fmt.Errorf("%w: the model %q makes embeddings and no text: ask a chat model, or this one at /v1/embeddings", ErrUnsupported, id)
}

// InputOverflowError says that one input is longer than a model can embed.
type InputOverflowError struct {
	Field  string // as the client spelled it: "input[3]"
	Tokens int    // what the input has
	Limit  int    // what one input may have
}

func (e *InputOverflowError) Error() string {
	return fmt.Sprintf("%s: has %d tokens, and this model computes at most %d at once: shorten it, split it, or set truncate to true", e.Field, e.Tokens, e.Limit)
}

// Unwrap makes errors.Is(err, ErrOverflow) true, and the field known.
func (e *InputOverflowError) Unwrap() []error {
	return []error{ErrOverflow, &InvalidError{Field: e.Field}}
}
