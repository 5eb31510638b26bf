package embed

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/inference"
)

// tagged is a Language whose <x> is one control token, 90, where special tokens
// are parsed, and which reads pairs in a template.
type tagged struct {
	letters
	template string
}

func (l tagged) Tokenize(text string, o inference.TokenizeOptions) ([]int32, error) {
	if !o.ParseSpecial {
		return l.letters.Tokenize(text, o)
	}
	var out []int32
	for i, part := range strings.Split(text, "<x>") {
		if i > 0 {
			out = append(out, 90)
		}
		tokens, err := l.letters.Tokenize(part, inference.TokenizeOptions{})
		if err != nil {
			return nil, err
		}
		out = append(out, tokens...)
	}
	return out, nil
}

func (l tagged) PairFormat() inference.PairFormat { return inference.PairFormat{Template: l.template} }

// ranker is a model that scores documents: a document's score is the sum of all
// tokens of its pair.
func ranker(t *testing.T, lang Language) (*Model, *fake) {
	t.Helper()
	f := newFake(t)
	f.traits.Pooling, f.traits.Width = inference.PoolingRank, 1
	f.traits.Vocabulary = 1000
	m, err := NewModel(inference.ModelInfo{ID: "r", Vocabulary: 1000}, lang, start(t, f, nil))
	if err != nil {
		t.Fatal(err)
	}
	return m, f
}

func (f *fake) inputs() [][]int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all [][]int32
	for _, b := range f.batches {
		all = append(all, b...)
	}
	f.batches = nil
	return all
}

func TestModelReranks(t *testing.T) {
	m, f := ranker(t, letters{})
	if info := m.Info(); info.Rerank.MaxTokens != 12 || info.Embedding != (inference.EmbeddingInfo{}) {
		t.Errorf("%+v", info)
	}
	out, err := m.Rerank(t.Context(), &inference.RerankRequest{Query: "ab", Documents: []string{"c", "z", "c", "bb"}})
	if err != nil {
		t.Fatal(err)
	}
	const around = 98 + 99 + 99 + 0 + 1 // and the query
	want := &inference.Ranking{Tokens: 6 + 6 + 6 + 7, Results: []inference.Ranked{
		{Index: 1, Score: around + 25}, {Index: 0, Score: around + 2}, {Index: 2, Score: around + 2}, {Index: 3, Score: around + 2},
	}}
	if out.Tokens != want.Tokens || !slices.Equal(out.Results, want.Results) {
		t.Errorf("got %+v, want %+v", out, want)
	}
	if got := f.inputs(); !slices.Equal(got[0], []int32{98, 0, 1, 99, 2, 99}) {
		t.Errorf("a pair is %v", got[0])
	}
	out, err = m.Rerank(t.Context(), &inference.RerankRequest{Query: "a", Documents: []string{"b", "c", "d"}, TopN: 2})
	if err != nil || len(out.Results) != 2 || out.Results[0].Index != 2 || out.Results[1].Index != 1 {
		t.Errorf("the best two: %+v, %v", out, err)
	}
	out, err = m.Rerank(t.Context(), &inference.RerankRequest{Query: "a", Documents: []string{"b"}, TopN: 5})
	if err != nil || len(out.Results) != 1 {
		t.Errorf("more than there are: %+v, %v", out, err)
	}
	f.inputs()
	if _, err := m.Rerank(t.Context(), &inference.RerankRequest{Query: "aa", Documents: []string{strings.Repeat("b", 30)}, Truncate: true}); err != nil {
		t.Error(err)
	}
	if got := f.inputs(); len(got) != 1 || !slices.Equal(got[0], []int32{98, 0, 0, 99, 1, 1, 1, 1, 1, 1, 1, 99}) {
		t.Errorf("truncated to %v", got)
	}
}

func TestModelReranksByTemplate(t *testing.T) {
	m, f := ranker(t, tagged{template: "<x>q{query}d{document}<x>"})
	for _, c := range []struct {
		query, document string
		truncate        bool
		want            []int32
	}{
		{"ab", "c", false, []int32{90, 16, 0, 1, 3, 2, 90}},
		// what reads like a control token stays text
		{"a", "<x>", false, []int32{90, 16, 0, 3, 219, 23, 221, 90}},
		{"a", strings.Repeat("b", 20), true, []int32{90, 16, 0, 3, 1, 1, 1, 1, 1, 1, 1, 90}},
	} {
		_, err := m.Rerank(t.Context(), &inference.RerankRequest{Query: c.query, Documents: []string{c.document}, Truncate: c.truncate})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.inputs(); len(got) != 1 || !slices.Equal(got[0], c.want) {
			t.Errorf("%q, %q: %v, want %v", c.query, c.document, got, c.want)
		}
	}
}

func TestRerankRefuses(t *testing.T) {
	m, _ := ranker(t, letters{})
	for _, c := range []struct {
		name, field, says string
		r                 inference.RerankRequest
		is                error
	}{
		{"no documents", "documents", "1 to 2048", inference.RerankRequest{Query: "a"}, inference.ErrInvalid},
		{"too many", "documents", "got 2049", inference.RerankRequest{Query: "a", Documents: make([]string, 2049)}, inference.ErrInvalid},
		{"no query", "query", "empty", inference.RerankRequest{Documents: []string{"a"}}, inference.ErrInvalid},
		{"empty document", "documents[1]", "empty", inference.RerankRequest{Query: "a", Documents: []string{"a", ""}}, inference.ErrInvalid},
		{"bad query", "query", "shouting", inference.RerankRequest{Query: "!", Documents: []string{"a"}}, inference.ErrInvalid},
		{"bad document", "documents[0]", "shouting", inference.RerankRequest{Query: "a", Documents: []string{"!"}}, inference.ErrInvalid},
		{"top_n", "top_n", "at least 1", inference.RerankRequest{Query: "a", Documents: []string{"a"}, TopN: -1}, inference.ErrInvalid},
		{"too long", "documents[0]", "has 14 tokens, and this model computes at most 12", inference.RerankRequest{Query: "a", Documents: []string{"bbbbbbbbbb"}}, inference.ErrOverflow},
		{"query too long", "query", "leaves no room for a document in the 12", inference.RerankRequest{Query: "aaaaaaaaaaaaa", Documents: []string{"b"}, Truncate: true}, inference.ErrInvalid},
		{"deadline", "", "deadline", inference.RerankRequest{Query: "a", Documents: []string{"b"}, Deadline: time.Unix(1, 0)}, inference.ErrDeadline},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := m.Rerank(t.Context(), &c.r)
			status := inference.Classify(err)
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || c.field != "" && status.Field != c.field {
				t.Errorf("got %v (%+v)", err, status)
			}
		})
	}
	if _, err := m.Embed(t.Context(), &inference.EmbedRequest{Inputs: []inference.EmbedInput{{Text: "a"}}}); !errors.Is(err, inference.ErrUnsupported) || !strings.Contains(err.Error(), "/v1/rerank") {
		t.Errorf("vectors of a model that scores: %v", err)
	}
	e, _ := newModel(t)
	if _, err := e.Rerank(t.Context(), &inference.RerankRequest{Query: "a", Documents: []string{"b"}}); !errors.Is(err, inference.ErrUnsupported) {
		t.Errorf("scores of a model that embeds: %v", err)
	}
}
