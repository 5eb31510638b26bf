package embed

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/inference"
)

// letters is a Language: a token for each byte, 98 before and 99 after a text.
type letters struct{}

func (letters) Tokenize(text string, o inference.TokenizeOptions) ([]int32, error) {
	if strings.Contains(text, "!") {
		return nil, inference.Invalid("", "no shouting")
	}
	var out []int32
	for _, b := range []byte(text) {
		out = append(out, int32(b-'a'))
	}
	if o.AddSpecial {
		out = append(append([]int32{98}, out...), 99)
	}
	return out, nil
}

func (letters) PairFormat() inference.PairFormat {
	return inference.PairFormat{Before: []int32{98}, Between: []int32{99}, After: []int32{99}}
}

func (letters) Detokenize([]int32) (string, error) { return "", nil }

func newModel(t *testing.T) (*Model, *fake) {
	t.Helper()
	f := newFake(t)
	m, err := NewModel(inference.ModelInfo{ID: "e", Vocabulary: 100}, letters{}, start(t, f, nil))
	if err != nil {
		t.Fatal(err)
	}
	return m, f
}

func TestModelEmbeds(t *testing.T) {
	m, f := newModel(t)
	out, err := m.Embed(t.Context(), &inference.EmbedRequest{Inputs: []inference.EmbedInput{{Text: "ab"}, {Tokens: []int32{5}}}})
	if err != nil {
		t.Fatal(err)
	}
	if out.Tokens != 5 || len(out.Vectors) != 2 || !slices.Equal(out.Vectors[0], vectorOf([]int32{98, 0, 1, 99})) || !slices.Equal(out.Vectors[1], vectorOf([]int32{5})) {
		t.Errorf("%+v", out)
	}
	out, err = m.Embed(t.Context(), &inference.EmbedRequest{Dimensions: 1, Inputs: []inference.EmbedInput{{Tokens: []int32{5}}}})
	if err != nil || len(out.Vectors[0]) != 1 || math.Abs(float64(out.Vectors[0][0])-1) > 1e-6 {
		t.Errorf("one dimension: %+v %v", out, err)
	}
	f.batches = nil
	long := strings.Repeat("b", 20)
	if _, err = m.Embed(t.Context(), &inference.EmbedRequest{Truncate: true, Inputs: []inference.EmbedInput{{Text: long}, {Tokens: make([]int32, 20)}}}); err != nil {
		t.Fatal(err)
	}
	var got [][]int32
	for _, b := range f.batches {
		got = append(got, b...)
	}
	want := [][]int32{{98, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 99}, make([]int32, 12)}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("truncated to %v, want %v", got, want)
	}
	if info := m.Info(); info.Embedding != (inference.EmbeddingInfo{Width: 2, MaxTokens: 12, Pooling: inference.PoolingMean}) {
		t.Errorf("%+v", info.Embedding)
	}
}

func TestModelRefuses(t *testing.T) {
	m, _ := newModel(t)
	one := []inference.EmbedInput{{Text: "a"}}
	for _, c := range []struct {
		name, field, says string
		r                 inference.EmbedRequest
		is                error
	}{
		{"nothing", "input", "1 to 2048", inference.EmbedRequest{}, inference.ErrInvalid},
		{"too many", "input", "got 2049", inference.EmbedRequest{Inputs: make([]inference.EmbedInput, 2049)}, inference.ErrInvalid},
		{"empty text", "input[1]", "empty", inference.EmbedRequest{Inputs: append(slices.Clone(one), inference.EmbedInput{})}, inference.ErrInvalid},
		{"no tokens", "input[0]", "at least one token", inference.EmbedRequest{Inputs: []inference.EmbedInput{{Tokens: []int32{}}}}, inference.ErrInvalid},
		{"bad token", "input[0][1]", "0..99", inference.EmbedRequest{Inputs: []inference.EmbedInput{{Tokens: []int32{1, 100}}}}, inference.ErrInvalid},
		{"bad text", "input[0]", "shouting", inference.EmbedRequest{Inputs: []inference.EmbedInput{{Text: "!"}}}, inference.ErrInvalid},
		{"too wide", "dimensions", "between 1 and 2", inference.EmbedRequest{Dimensions: 3, Inputs: one}, inference.ErrInvalid},
		{"too long", "input[0]", "has 13 tokens, and this model computes at most 12", inference.EmbedRequest{Inputs: []inference.EmbedInput{{Text: "abcdefghijk"}}}, inference.ErrOverflow},
		{"too late", "", "deadline", inference.EmbedRequest{Deadline: time.Unix(1, 0), Inputs: one}, inference.ErrDeadline},
	} {
		_, err := m.Embed(t.Context(), &c.r)
		status := inference.Classify(err)
		if !errors.Is(err, c.is) || status.Field != c.field || !strings.Contains(status.Message, c.says) {
			t.Errorf("%s: %v (%+v)", c.name, err, status)
		}
	}
	for name, err := range map[string]error{
		"chat":     second(m.Chat(context.Background(), nil)),
		"complete": second(m.Complete(context.Background(), nil)),
		"count":    second(m.CountChat(nil)),
	} {
		if s := inference.Classify(err); s.HTTP != 400 || !strings.Contains(s.Message, "embeddings and no text") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
