package llama

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"hearth/inference"
)

// Decode is a Step that draws nothing.
func (c *Context) Decode(b *inference.Batch) error {
	_, err := c.Step(b, nil, nil, false)
	return err
}

// Sample draws from the batch of the last Step or Decode, which did not go ahead.
// The error is of all rows.
func (c *Context) Sample(rows []inference.SampleRow, out []inference.Sampled) error {
	switch {
	case c.closed.Load():
		return fmt.Errorf("sample: %w", ErrClosed)
	case len(rows) != len(out):
		return fmt.Errorf("sample: %d rows and %d places for the answers", len(rows), len(out))
	case c.ahead:
		return fmt.Errorf("sample: %w: a batch is being computed", inference.ErrBadBatch)
	}
	_, err := c.step(nil, rows, out, false)
	return err
}

// steps runs rows of one prompt each for n tokens, and returns them by row and
// how many steps went ahead.
func steps(t *testing.T, m *Model, specs []inference.SamplerSpec, n int, more bool) (got [][]int32, ahead int) {
	t.Helper()
	c := newContext(t, m, ContextOptions{Cells: 1024, Sequences: len(specs), Unified: true})
	tokens := tokenize(t, m, capital)
	var b inference.Batch
	rows, out := make([]inference.SampleRow, len(specs)), make([]inference.Sampled, len(specs))
	for i, spec := range specs {
		for pos, id := range tokens {
			b.Add(id, int32(pos), int32(i), pos == len(tokens)-1)
		}
		rows[i] = inference.SampleRow{Index: b.Len() - 1, Sampler: newSampler(t, m, spec, false)}
	}
	got = make([][]int32, len(specs))
	next := &b
	for step := range n {
		went, err := c.Step(next, rows, out, more && step < n-1)
		must(t, err)
		b.Reset()
		for i := range out {
			must(t, out[i].Err)
			got[i] = append(got[i], out[i].Token)
			rows[i].Index = i
			b.Add(out[i].Token, int32(len(tokens)+step), int32(i), true)
		}
		if next = &b; went {
			next = nil
			ahead++
		}
	}
	return got, ahead
}

// TestStepsAheadGiveTheSameTokens: greedy, drawn, penalized and by a grammar.
func TestStepsAheadGiveTheSameTokens(t *testing.T) {
	m := sharedModel(t)
	warm := inference.SamplerSpec{Sampling: inference.DefaultSampling(), Seed: 11}
	penalized := greedySpec()
	penalized.RepeatPenalty = 1.3
	digits := greedySpec()
	digits.Grammar = &inference.Grammar{GBNF: `root ::= [0-9 ]+`}
	specs := []inference.SamplerSpec{greedySpec(), warm, penalized, digits}
	const n = 24
	want, none := steps(t, m, specs, n, false)
	got, ahead := steps(t, m, specs, n, true)
	if none != 0 || ahead < n/2 {
		t.Errorf("%d steps went ahead without leave, %d of %d with it", none, ahead, n-1)
	}
	for i := range specs {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("row %d: %v ahead, %v step by step", i, got[i], want[i])
		}
	}
}

func TestStepGoesAheadOnlyWhereItMay(t *testing.T) {
	m := sharedModel(t)
	tokens := tokenize(t, m, capital)
	begin := func(t *testing.T, o ContextOptions, spec inference.SamplerSpec) (*Context, *inference.Batch, []inference.SampleRow) {
		c := newContext(t, m, o)
		var b inference.Batch
		for pos, id := range tokens {
			b.Add(id, int32(pos), 0, pos == len(tokens)-1)
		}
		return c, &b, []inference.SampleRow{{Index: b.Len() - 1, Sampler: newSampler(t, m, spec, false)}}
	}
	wide := ContextOptions{Cells: 256, Sequences: 1, Unified: true}
	out := make([]inference.Sampled, 1)

	t.Run("held", func(t *testing.T) {
		c, b, rows := begin(t, wide, greedySpec())
		c.Hold(true)
		if ahead, err := c.Step(b, rows, out, true); ahead || err != nil {
			t.Errorf("ahead %v, %v", ahead, err)
		}
	})
	t.Run("end of generation", func(t *testing.T) {
		eog := greedySpec()
		for id := range int32(m.Info().Vocabulary) {
			if m.EndOfGeneration(id) {
				eog.LogitBias = map[int32]float32{id: 100}
			}
		}
		c, b, rows := begin(t, wide, eog)
		if ahead, err := c.Step(b, rows, out, true); ahead || err != nil || !m.EndOfGeneration(out[0].Token) {
			t.Errorf("ahead %v after token %d, %v", ahead, out[0].Token, err)
		}
	})
	t.Run("end of the context", func(t *testing.T) {
		c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1, Batch: 512, Unified: true})
		var b inference.Batch
		for pos := range c.Traits().Context {
			b.Add(tokens[pos%len(tokens)], int32(pos), 0, pos == c.Traits().Context-1)
		}
		rows := []inference.SampleRow{{Index: b.Len() - 1, Sampler: newSampler(t, m, greedySpec(), false)}}
		if ahead, err := c.Step(&b, rows, out, true); ahead || err != nil {
			t.Errorf("ahead %v, %v", ahead, err)
		}
	})
	t.Run("refused row", func(t *testing.T) {
		c, b, rows := begin(t, wide, greedySpec())
		rows[0].Index = 0
		if ahead, err := c.Step(b, rows, out, true); ahead || err != nil || out[0].Err == nil {
			t.Errorf("ahead %v, %v, row %v", ahead, err, out[0].Err)
		}
	})
	t.Run("rules", func(t *testing.T) {
		c, b, rows := begin(t, wide, greedySpec())
		if _, err := c.Step(nil, rows, out, true); !errors.Is(err, inference.ErrBadBatch) {
			t.Errorf("no batch and none ahead: %v", err)
		}
		ahead, err := c.Step(b, rows, out, true)
		if must(t, err); !ahead {
			t.Fatal("it did not go ahead")
		}
		if _, err := c.Step(b, rows, out, true); !errors.Is(err, inference.ErrBadBatch) {
			t.Errorf("a batch while another is computed: %v", err)
		}
		if err := c.Sample(rows, out); !errors.Is(err, inference.ErrBadBatch) {
			t.Errorf("sampling from a batch that is computed: %v", err)
		}
		// The memory waits for the batch.
		if end := c.SeqPosMax(0); int(end) != len(tokens) {
			t.Errorf("the sequence ends at %d, want %d", end, len(tokens))
		}
		rows[0].Index = 0
		if _, err := c.Step(nil, rows, out, false); err != nil || out[0].Err != nil {
			t.Errorf("%v, row %v", err, out[0].Err)
		}
	})
	t.Run("closed meanwhile", func(t *testing.T) {
		_, b, rows := begin(t, wide, greedySpec())
		c, err := m.NewContext(ContextOptions{Cells: 256, Unified: true, Threads: 1})
		must(t, err)
		ahead, err := c.Step(b, rows, out, true)
		if must(t, err); !ahead {
			t.Fatal("it did not go ahead")
		}
		must(t, c.Close())
	})
	t.Run("aborted", func(t *testing.T) {
		c, b, rows := begin(t, wide, greedySpec())
		ahead, err := c.Step(b, rows, out, true)
		if must(t, err); !ahead {
			t.Fatal("it did not go ahead")
		}
		c.Abort()
		rows[0].Index = 0
		// It may have been done by then; the abort then waits for the next.
		if _, err := c.Step(nil, rows, out, false); err != nil && !errors.Is(err, inference.ErrAborted) {
			t.Errorf("%v", err)
		}
	})
}

// TestGuessedRowsGiveTheSameTokens: right guesses are drawn in one step, with the
// tokens that they have one by one; behind a wrong one nothing is.
func TestGuessedRowsGiveTheSameTokens(t *testing.T) {
	m := sharedModel(t)
	warm := inference.SamplerSpec{Sampling: inference.DefaultSampling(), Seed: 5}
	penalized := greedySpec()
	penalized.RepeatPenalty = 1.2
	for _, spec := range []inference.SamplerSpec{greedySpec(), warm, penalized} {
		const n = 8
		want, _ := steps(t, m, []inference.SamplerSpec{spec}, n, false)
		tokens := tokenize(t, m, capital)
		for wrong := 1; wrong <= n; wrong++ { // which token behind the prompt is guessed wrong; n: none
			c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1, Guesses: n, Unified: true})
			var b inference.Batch
			for pos, id := range tokens {
				b.Add(id, int32(pos), 0, pos == len(tokens)-1)
			}
			s := newSampler(t, m, spec, false)
			rows := []inference.SampleRow{{Index: b.Len() - 1, Sampler: s}}
			for i := range n - 1 {
				guess := want[0][i]
				if i+1 == wrong {
					guess++
				}
				b.Add(guess, int32(b.Len()), 0, true)
				rows = append(rows, inference.SampleRow{Index: b.Len() - 1, Sampler: s, Guess: true})
			}
			out := make([]inference.Sampled, len(rows))
			ahead, err := c.Step(&b, rows, out, true)
			if must(t, err); ahead {
				t.Error("it went ahead behind guesses")
			}
			for i := range out {
				must(t, out[i].Err)
				if skipped := i >= wrong; out[i].Skipped != skipped || !skipped && out[i].Token != want[0][i] {
					t.Errorf("guess %d wrong: row %d: %+v, want token %d, skipped %v", wrong, i, out[i], want[0][i], skipped)
				}
			}
		}
	}
}

func TestGuessesAreChecked(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 2, Guesses: 1, Unified: true})
	var b inference.Batch
	for seq := range int32(2) {
		for pos := range int32(2) {
			b.Add(10+pos, pos, seq, true)
		}
	}
	out := make([]inference.Sampled, 2)
	if _, err := c.Step(&b, nil, nil, false); !errors.Is(err, inference.ErrBadBatch) {
		t.Errorf("four rows where three fit: %v", err)
	}
	b.Output[0] = 0
	one, other := newSampler(t, m, greedySpec(), false), newSampler(t, m, greedySpec(), false)
	for name, rows := range map[string][]inference.SampleRow{
		"first":         {{Index: 1, Sampler: one, Guess: true}, {Index: 2, Sampler: other}},
		"other sampler": {{Index: 2, Sampler: one}, {Index: 3, Sampler: other, Guess: true}},
	} {
		_, err := c.Step(&b, rows, out, false)
		if must(t, err); out[0].Err == nil && out[1].Err == nil {
			t.Errorf("%s: %+v", name, out)
		}
		c.SeqRemove(0, -1, -1)
		c.SeqRemove(1, -1, -1)
	}
}
