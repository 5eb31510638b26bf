package llama

import (
	"math"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/internal/testkit"
)

// TestRankModel: a model with a rank head gives one score for a pair, alone and
// in a batch; asked to pool by the mean it makes vectors.
func TestRankModel(t *testing.T) {
	initBackends(t)
	m, err := Load(testkit.RankModel(t), ModelOptions{Mmap: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, m.Close()) })
	f := m.PairFormat()
	if f.Template != "" || !slices.Equal(f.Before, []int32{101}) || !slices.Equal(f.Between, []int32{102}) || !slices.Equal(f.After, []int32{102}) {
		t.Fatalf("pairs are put together as %+v", f)
	}
	e := newEmbedder(t, m, EmbedderOptions{Batch: 128, Sequences: 4})
	if got := e.Traits(); got.Pooling != inference.PoolingRank || got.Width != 1 {
		t.Fatalf("traits are %+v", got)
	}
	ids := func(text string) []int32 {
		tokens, err := m.Tokenize(text, inference.TokenizeOptions{})
		must(t, err)
		return tokens
	}
	query := ids("Which animal sleeps?")
	var pairs [][]int32
	for _, d := range []string{"The cat sleeps on the mat.", "Interest rates rose again in March", "x"} {
		pairs = append(pairs, slices.Concat(f.Before, query, f.Between, ids(d), f.After))
	}
	together, err := e.Embed(pairs)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pairs {
		alone, err := e.Embed([][]int32{p})
		if err != nil {
			t.Fatal(err)
		}
		if d := math.Abs(float64(alone[0][0] - together[i][0])); d > 1e-3 || len(alone[0]) != 1 {
			t.Errorf("pair %d scores %v alone and %v in a batch", i, alone[0], together[i])
		}
	}
	if together[0][0] == together[1][0] {
		t.Error("all documents score alike")
	}
	mean := newEmbedder(t, m, EmbedderOptions{Batch: 128, Sequences: 4, Pooling: inference.PoolingMean})
	if got := mean.Traits(); got.Pooling != inference.PoolingMean || got.Width != 384 {
		t.Errorf("pooled by the mean it has the traits %+v", got)
	}
}

func TestPairFormat(t *testing.T) {
	for name, c := range map[string]struct {
		bos, sep, eos          int32
		before, between, after []int32
	}{
		"BERT":     {101, 102, -1, []int32{101}, []int32{102}, []int32{102}},
		"XLM-R":    {0, 2, 2, []int32{0}, []int32{2, 2}, []int32{2}},
		"no marks": {-1, -1, -1, nil, nil, nil},
	} {
		f := pairFormat("t", c.bos, c.sep, c.eos)
		if f.Template != "t" || !slices.Equal(f.Before, c.before) || !slices.Equal(f.Between, c.between) || !slices.Equal(f.After, c.after) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestRankNeedsAHead(t *testing.T) {
	if _, err := sharedModel(t).NewEmbedder(EmbedderOptions{Pooling: inference.PoolingRank}); err == nil || !strings.Contains(err.Error(), "mean, cls or last") {
		t.Errorf("scores of a model without a head: %v", err)
	}
}
