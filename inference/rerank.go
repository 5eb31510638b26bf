package inference

import (
	"context"
	"fmt"
	"time"
)

// MaxRerankDocuments bounds the documents of one request.
const MaxRerankDocuments = MaxEmbedInputs

// RerankInfo is what a model can score. The zero value: nothing.
type RerankInfo struct {
	MaxTokens int // most tokens of a query with a document, special ones included
}

// PairFormat is how a model that scores documents reads one with its query.
type PairFormat struct {
	// Template is a text with {query} and {document} in it; empty: the tokens
	// below decide.
	Template string
	// Before, Between and After are the special tokens around the query's tokens
	// and the document's.
	Before, Between, After []int32
}

// RerankRequest asks how well each document answers a query.
type RerankRequest struct {
	Caller Caller
	// RequestID ties logs, traces and audit records together.
	RequestID string
	// Deadline ends the request with ErrDeadline when it passes; zero: none.
	Deadline  time.Time
	Query     string
	Documents []string // 1..MaxRerankDocuments
	// TopN is how many of the best are wanted; 0: all.
	TopN int
	// Truncate cuts the end of a document that is too long with its query,
	// instead of refusing the request.
	Truncate bool
}

// Ranked is a document's place in a ranking.
type Ranked struct {
	Index int // among the documents of the request
	// Score is what the model computed; higher is better. Its range is the
	// model's: most give any number, some a probability.
	Score float32
}

// Ranking is the answer to a RerankRequest: the best document first, of equal
// ones the first, and the tokens that were computed.
type Ranking struct {
	Results []Ranked
	Tokens  int
}

// Reranker scores documents. Not every [Model] is one: [Rerank] asks those that are.
type Reranker interface {
	Rerank(ctx context.Context, r *RerankRequest) (*Ranking, error)
}

// Rerank asks m for a ranking. A model that makes none is ErrUnsupported.
func Rerank(ctx context.Context, m Generator, r *RerankRequest) (*Ranking, error) {
	if k, ok := m.(Reranker); ok {
		return k.Rerank(ctx, r)
	}
	return nil, NoRanking(m.Info().ID)
}

// NoRanking is the error of a model that does not score documents.
func NoRanking(id string) error {
	return fmt.Errorf("%w: the model %q does not rank documents: ask a reranker, whose file says pooling_type rank", ErrUnsupported, id)
}
