package embed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"hearth/inference"
)

// Language is what a Model needs to know of a loaded model besides its
// computation. It is safe for concurrent use.
type Language interface {
	Tokenize(text string, o inference.TokenizeOptions) ([]int32, error)
	// Detokenize renders special tokens as their text.
	Detokenize(tokens []int32) (string, error)
	// PairFormat is asked of a model that scores documents.
	PairFormat() inference.PairFormat
}

// Model embeds texts, or scores documents. It implements [inference.Model] for a model that makes no
// text: what would need one is refused with inference.ErrUnsupported.
type Model struct {
	info   inference.ModelInfo
	lang   Language
	worker *Worker
	suffix int // special tokens that stand behind every text
	pairs  inference.PairFormat
}

var (
	_ inference.Model    = (*Model)(nil)
	_ inference.Embedder = (*Model)(nil)
	_ inference.Reranker = (*Model)(nil)
)

// NewModel puts texts in front of a worker. Info.Embedding, or
// Info.Rerank where it scores documents, is filled in.
func NewModel(info inference.ModelInfo, lang Language, w *Worker) (*Model, error) {
	t := w.Traits()
	if t.Pooling == inference.PoolingRank {
		info.Rerank = inference.RerankInfo{MaxTokens: t.MaxTokens}
		return &Model{info: info, lang: lang, worker: w, pairs: lang.PairFormat()}, nil
	}
	info.Embedding = inference.EmbeddingInfo{Width: t.Width, MaxTokens: t.MaxTokens, Pooling: t.Pooling}
	m := &Model{info: info, lang: lang, worker: w}
	with, err := lang.Tokenize("a", inference.TokenizeOptions{AddSpecial: true})
	if err != nil {
		return nil, fmt.Errorf("embed: probe the tokenizer: %w", err)
	}
	without, err := lang.Tokenize("a", inference.TokenizeOptions{})
	if err != nil {
		return nil, fmt.Errorf("embed: probe the tokenizer: %w", err)
	}
	for i := 0; i+len(without) <= len(with); i++ {
		if slices.Equal(with[i:i+len(without)], without) {
			m.suffix = len(with) - i - len(without)
			break
		}
	}
	return m, nil
}

// Info describes the model.
func (m *Model) Info() inference.ModelInfo { return m.info }

// Chat is refused: the model makes no text.
func (m *Model) Chat(context.Context, *inference.ChatRequest) (inference.Stream, error) {
	return nil, inference.NoText(m.info.ID)
}

// Complete is refused: the model makes no text.
func (m *Model) Complete(context.Context, *inference.CompletionRequest) (inference.Stream, error) {
	return nil, inference.NoText(m.info.ID)
}

// CountChat is refused: there is no conversation to render.
func (m *Model) CountChat(*inference.ChatRequest) (int, error) { return 0, inference.NoText(m.info.ID) }

// Tokenize turns text into tokens.
func (m *Model) Tokenize(text string, o inference.TokenizeOptions) ([]int32, error) {
	return m.lang.Tokenize(text, o)
}

// Detokenize turns tokens into text.
func (m *Model) Detokenize(tokens []int32) (string, error) { return m.lang.Detokenize(tokens) }

// Embed computes a vector for each input. Fields of errors are those of the
// HTTP dialect: input[i].
func (m *Model) Embed(ctx context.Context, r *inference.EmbedRequest) (*inference.Embeddings, error) {
	began := time.Now()
	if m.info.Embedding.Pooling == "" {
		return nil, inference.NoVectors(m.info.ID)
	}
	out, err := m.embed(ctx, r)
	if err != nil {
		m.worker.observe.EmbedDone(inference.Classify(err).Code, 0, time.Since(began))
		return nil, err
	}
	m.worker.observe.EmbedDone("ok", out.Tokens, time.Since(began))
	return out, nil
}

func (m *Model) embed(ctx context.Context, r *inference.EmbedRequest) (*inference.Embeddings, error) {
	if n := len(r.Inputs); n == 0 || n > inference.MaxEmbedInputs {
		return nil, inference.Invalid("input", "must hold 1 to %d inputs, got %d", inference.MaxEmbedInputs, n)
	}
	if width := m.info.Embedding.Width; r.Dimensions < 0 || r.Dimensions > width {
		return nil, inference.Invalid("dimensions", "must be between 1 and %d, which this model makes, got %d", width, r.Dimensions)
	}
	if !r.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, r.Deadline)
		defer cancel()
	}
	out := &inference.Embeddings{}
	inputs := make([][]int32, len(r.Inputs))
	for i := range r.Inputs {
		if err := ctx.Err(); err != nil {
			return nil, ended(err)
		}
		var err error
		if inputs[i], err = m.tokens(fmt.Sprintf("input[%d]", i), &r.Inputs[i], r.Truncate); err != nil {
			return nil, err
		}
		out.Tokens += len(inputs[i])
	}
	vectors, err := m.worker.Embed(ctx, r.Caller.Principal, inputs)
	if err != nil {
		return nil, err
	}
	if r.Dimensions > 0 && r.Dimensions < m.info.Embedding.Width {
		for i := range vectors {
			vectors[i] = shorten(vectors[i], r.Dimensions)
		}
	}
	out.Vectors = vectors
	return out, nil
}

// tokens returns the tokens of an input. What a text says never becomes a
// control token: only the tokenizer adds those.
func (m *Model) tokens(field string, in *inference.EmbedInput, truncate bool) ([]int32, error) {
	tokens, suffix := in.Tokens, 0
	if tokens == nil {
		if in.Text == "" {
			return nil, inference.Invalid(field, "must not be empty")
		}
		var err error
		if tokens, err = m.lang.Tokenize(in.Text, inference.TokenizeOptions{AddSpecial: true}); err != nil {
			var inv *inference.InvalidError
			if errors.As(err, &inv) {
				return nil, inference.Invalid(field, "%s", inv.Reason)
			}
			return nil, err
		}
		suffix = m.suffix
	}
	if len(tokens) == 0 {
		return nil, inference.Invalid(field, "must hold at least one token")
	}
	for i, t := range tokens {
		if t < 0 || int(t) >= m.info.Vocabulary {
			return nil, inference.Invalid(fmt.Sprintf("%s[%d]", field, i), "token %d is not in the vocabulary (0..%d)", t, m.info.Vocabulary-1)
		}
	}
	limit := m.info.Embedding.MaxTokens
	switch {
	case len(tokens) <= limit:
		return tokens, nil
	case !truncate:
		return nil, &inference.InputOverflowError{Field: field, Tokens: len(tokens), Limit: limit}
	case suffix >= limit:
		suffix = 0
	}
	return append(slices.Clone(tokens[:limit-suffix]), tokens[len(tokens)-suffix:]...), nil
}

// shorten cuts v to its first n numbers and scales them to length 1.
func shorten(v []float32, n int) []float32 {
	v = v[:n:n]
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return v
	}
	scale := 1 / math.Sqrt(sum)
	for i := range v {
		v[i] = float32(float64(v[i]) * scale)
	}
	return v
}
