package llama

import (
	"errors"
	"math"
	"strings"
	"testing"

	"hearth/inference"
)

func newEmbedder(t testing.TB, m *Model, o EmbedderOptions) *Embedder {
	t.Helper()
	if o.Threads == 0 {
		o.Threads = 1
	}
	e, err := m.NewEmbedder(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, e.Close()) })
	return e
}

func cosine(a, b []float32) float64 {
	var dot, aa, bb float64
	for i := range a {
		dot += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return dot / math.Sqrt(aa*bb)
}

// TestEmbedTogetherAndAlone: what else is in a batch, and what was in the batch
// before, does not change a vector.
func TestEmbedTogetherAndAlone(t *testing.T) {
	m := sharedModel(t)
	for _, pooling := range []inference.Pooling{inference.PoolingMean, inference.PoolingCLS, inference.PoolingLast} {
		t.Run(string(pooling), func(t *testing.T) {
			e := newEmbedder(t, m, EmbedderOptions{Batch: 96, Sequences: 4, Pooling: pooling})
			want := inference.EmbedTraits{Batch: 96, Sequences: 4, MaxTokens: 96, Width: 576, Vocabulary: m.Info().Vocabulary, Pooling: pooling}
			if e.Traits() != want {
				t.Fatalf("traits are %+v, want %+v", e.Traits(), want)
			}
			inputs := [][]int32{tokenize(t, m, "The cat sleeps on the mat."), tokenize(t, m, "Interest rates rose again in March"), tokenize(t, m, "x")}
			together, err := e.Embed(inputs)
			if err != nil {
				t.Fatal(err)
			}
			for i, in := range inputs {
				alone, err := e.Embed([][]int32{in})
				if err != nil {
					t.Fatal(err)
				}
				if c := cosine(alone[0], together[i]); c < 0.9999 {
					t.Errorf("input %d: alone and in a batch it has cosine %v", i, c)
				}
				var sum float64
				for _, x := range alone[0] {
					sum += float64(x) * float64(x)
				}
				if math.Abs(sum-1) > 1e-5 {
					t.Errorf("input %d: the vector's length is %v", i, math.Sqrt(sum))
				}
			}
			// the first token of a decoder sees only itself, here the same one
			if c := cosine(together[0], together[1]); pooling != inference.PoolingCLS && c > 0.999 {
				t.Errorf("different texts have cosine %v", c)
			}
		})
	}
}

func TestEmbedderRefusals(t *testing.T) {
	m := sharedModel(t)
	for _, c := range []struct {
		o    EmbedderOptions
		want string
	}{
		{EmbedderOptions{Batch: -1}, "batch must be between"},
		{EmbedderOptions{Sequences: 257}, "sequences must be between"},
		{EmbedderOptions{Threads: 513}, "threads must be between"},
		{EmbedderOptions{Pooling: "rank"}, "mean, cls or last"},
		{EmbedderOptions{FlashAttention: "no"}, "flash attention"},
	} {
		if _, err := m.NewEmbedder(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
	vocab, err := Load(m.path, ModelOptions{VocabOnly: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(t, vocab.Close()) }()
	if _, err := vocab.NewEmbedder(EmbedderOptions{}); err == nil || !strings.Contains(err.Error(), "without its weights") {
		t.Errorf("without weights: %v", err)
	}
	e := newEmbedder(t, m, EmbedderOptions{Batch: 32, Sequences: 2})
	long := make([]int32, 33)
	for name, inputs := range map[string][][]int32{
		"none": {}, "too many": {{1}, {1}, {1}}, "empty": {{1}, {}}, "too long": {long}, "too long together": {long[:20], long[:20]},
		"token too high": {{1, int32(e.Traits().Vocabulary)}}, "negative token": {{-1}},
	} {
		if _, err := e.Embed(inputs); !errors.Is(err, inference.ErrBadBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, err := e.Embed([][]int32{long[:32]}); err != nil || len(v) != 1 {
		t.Errorf("as long as possible: %v", err)
	}
}

func TestEmbedderCloses(t *testing.T) {
	m := sharedModel(t)
	e, err := m.NewEmbedder(EmbedderOptions{Batch: 32, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); !errors.Is(err, ErrInUse) {
		t.Errorf("close of the model: %v, want %v", err, ErrInUse)
	}
	must(t, e.Close())
	if err := e.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	if _, err := e.Embed([][]int32{{1}}); !errors.Is(err, ErrClosed) {
		t.Errorf("embed after close: %v", err)
	}
	e.Abort()
}
