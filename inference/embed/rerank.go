package embed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hearth/inference"
)

// Rerank scores each document against the query. Fields of errors are those of
// the HTTP dialect: query, documents[i], top_n.
func (m *Model) Rerank(ctx context.Context, r *inference.RerankRequest) (*inference.Ranking, error) {
	if m.info.Rerank.MaxTokens == 0 {
		return nil, inference.NoRanking(m.info.ID)
	}
	began := time.Now()
	out, err := m.rerank(ctx, r)
	if err != nil {
		m.worker.observe.EmbedDone(inference.Classify(err).Code, 0, time.Since(began))
		return nil, err
	}
	m.worker.observe.EmbedDone("ok", out.Tokens, time.Since(began))
	return out, nil
}

func (m *Model) rerank(ctx context.Context, r *inference.RerankRequest) (*inference.Ranking, error) {
	if n := len(r.Documents); n == 0 || n > inference.MaxRerankDocuments {
		return nil, inference.Invalid("documents", "must hold 1 to %d documents, got %d", inference.MaxRerankDocuments, n)
	}
	if r.TopN < 0 {
		return nil, inference.Invalid("top_n", "must be at least 1, got %d; leave it out for all", r.TopN)
	}
	if r.Query == "" {
		return nil, inference.Invalid("query", "must not be empty")
	}
	if !r.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, r.Deadline)
		defer cancel()
	}
	query, err := m.text("query", r.Query)
	if err != nil {
		return nil, err
	}
	out := &inference.Ranking{}
	inputs := make([][]int32, len(r.Documents))
	for i, d := range r.Documents {
		if err := ctx.Err(); err != nil {
			return nil, ended(err)
		}
		if inputs[i], err = m.pair(fmt.Sprintf("documents[%d]", i), r, query, d); err != nil {
			return nil, err
		}
		out.Tokens += len(inputs[i])
	}
	scores, err := m.worker.Embed(ctx, r.Caller.Principal, inputs)
	if err != nil {
		return nil, err
	}
	out.Results = make([]inference.Ranked, len(scores))
	for i, s := range scores {
		out.Results[i] = inference.Ranked{Index: i, Score: s[0]}
	}
	slices.SortStableFunc(out.Results, func(a, b inference.Ranked) int { return cmp.Compare(b.Score, a.Score) })
	if r.TopN > 0 && r.TopN < len(out.Results) {
		out.Results = out.Results[:r.TopN]
	}
	return out, nil
}

// text returns the tokens of a text of a client; nothing in it becomes a control
// token.
func (m *Model) text(field, text string) ([]int32, error) {
	return m.tokenize(field, text, inference.TokenizeOptions{})
}

func (m *Model) tokenize(field, text string, o inference.TokenizeOptions) ([]int32, error) {
	tokens, err := m.lang.Tokenize(text, o)
	var inv *inference.InvalidError
	if errors.As(err, &inv) {
		return nil, inference.Invalid(field, "%s", inv.Reason)
	}
	return tokens, err
}

// pair returns the tokens of the query with a document.
func (m *Model) pair(field string, r *inference.RerankRequest, query []int32, document string) ([]int32, error) {
	if document == "" {
		return nil, inference.Invalid(field, "must not be empty")
	}
	own, err := m.text(field, document)
	if err != nil {
		return nil, err
	}
	limit := m.info.Rerank.MaxTokens
	if m.pairs.Template != "" {
		whole, plain, err := m.rendered(field, r.Query, query, document, own)
		if err != nil || plain && len(whole) <= limit {
			return whole, err
		}
	}
	before, between, after, err := m.around(query)
	if err != nil {
		return nil, err
	}
	room := limit - len(before) - len(between) - len(after)
	switch {
	case len(own) <= room:
	case room < 1:
		return nil, inference.Invalid("query", "has %d tokens, which leaves no room for a document in the %d that this model computes at once: shorten it", len(query), limit)
	case !r.Truncate:
		return nil, &inference.InputOverflowError{Field: field, Tokens: limit - room + len(own), Limit: limit}
	default:
		own = own[:room]
	}
	return slices.Concat(before, between, own, after), nil
}

// rendered returns the tokens of the template with both texts in it, as the model
// was trained on. plain is false where a text says what would become a control
// token there.
func (m *Model) rendered(field, queryText string, query []int32, document string, own []int32) (whole []int32, plain bool, err error) {
	for _, t := range []struct {
		field, text string
		tokens      []int32
	}{{"query", queryText, query}, {field, document, own}} {
		parsed, err := m.tokenize(t.field, t.text, inference.TokenizeOptions{ParseSpecial: true})
		if err != nil || !slices.Equal(parsed, t.tokens) {
			return nil, false, err
		}
	}
	text := strings.NewReplacer("{query}", queryText, "{document}", document).Replace(m.pairs.Template)
	whole, err = m.tokenize(field, text, inference.TokenizeOptions{ParseSpecial: true})
	return whole, true, err
}

// around returns the tokens before a document, in two parts, and behind it.
func (m *Model) around(query []int32) (before, between, after []int32, err error) {
	if m.pairs.Template == "" {
		return slices.Concat(m.pairs.Before, query), m.pairs.Between, m.pairs.After, nil
	}
	head, tail, _ := strings.Cut(m.pairs.Template, "{document}")
	first, middle, _ := strings.Cut(head, "{query}")
	for _, part := range []struct {
		text string
		to   *[]int32
	}{{first, &before}, {middle, &between}, {tail, &after}} {
		if part.text == "" {
			continue
		}
		if *part.to, err = m.tokenize("query", part.text, inference.TokenizeOptions{ParseSpecial: true}); err != nil {
			return nil, nil, nil, err
		}
	}
	return slices.Concat(before, query), between, after, nil
}
