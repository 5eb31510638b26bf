package engine

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

func TestSubmitRefuses(t *testing.T) {
	impossible := errors.New("out of memory")
	for _, c := range []struct {
		name  string
		set   func(*Request)
		is    error
		field string
	}{
		{"no prompt", func(r *Request) { r.Prompt = nil }, inference.ErrInvalid, "prompt"},
		{"negative token", func(r *Request) { r.Prompt = []int32{1, -1} }, inference.ErrInvalid, "prompt"},
		{"unknown token", func(r *Request) { r.Prompt = []int32{enginetest.Vocabulary} }, inference.ErrInvalid, "prompt"},
		{"too many choices", func(r *Request) { r.Choices = 17 }, inference.ErrInvalid, "n"},
		{"negative limit", func(r *Request) { r.MaxTokens = -1 }, inference.ErrInvalid, "max_tokens"},
		{"unknown priority", func(r *Request) { r.Priority = 7 }, inference.ErrInvalid, "priority"},
		{"too many stops", func(r *Request) { r.Stop = make([]string, 17) }, inference.ErrInvalid, "stop"},
		{"empty stop", func(r *Request) { r.Stop = []string{"x", ""} }, inference.ErrInvalid, "stop[1]"},
		{"long stop", func(r *Request) { r.Stop = []string{strings.Repeat("x", 513)} }, inference.ErrInvalid, "stop[0]"},
		{"too many logprobs", func(r *Request) { r.Logprobs, r.TopLogprobs = true, 21 }, inference.ErrInvalid, "top_logprobs"},
		{"logprobs not asked for", func(r *Request) { r.TopLogprobs = 2 }, inference.ErrInvalid, "top_logprobs"},
		{"temperature", func(r *Request) { r.Sampling.Temperature = 3 }, inference.ErrInvalid, "temperature"},
		{"prompt fills the context", func(r *Request) { r.Prompt = make([]int32, 100); r.MaxTokens = 0 }, inference.ErrOverflow, ""},
		{"no room for the answer", func(r *Request) { r.MaxTokens = 96 }, inference.ErrOverflow, ""},
		{"limit near the largest int", func(r *Request) { r.MaxTokens = math.MaxInt }, inference.ErrOverflow, ""},
		{"unknown way with forced text", func(r *Request) { r.Forced = "maybe" }, inference.ErrInvalid, "forced_text"},
		{"impossible grammar", func(r *Request) { r.Grammar = &inference.Grammar{GBNF: "x"} }, inference.ErrInvalid, "grammar"},
		{"sampler fails", func(r *Request) { r.Choices = 3; r.Sampling.TopK = 99 }, impossible, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := 0
			b := enginetest.New(enginetest.Options{Cells: 100, OnSampler: func(s *inference.SamplerSpec) error {
				if made++; s.TopK == 99 && made == 3 {
					return impossible
				}
				return nil
			}})
			seen := newCounter()
			e, err := New(b, Config{}, seen)
			if err != nil {
				t.Fatal(err)
			}
			r := ask("hello", 10)
			c.set(r)
			_, err = e.Submit(context.Background(), r)
			if !errors.Is(err, c.is) {
				t.Errorf("got %v, want %v", err, c.is)
			}
			var invalid *inference.InvalidError
			if errors.As(err, &invalid) && invalid.Field != c.field {
				t.Errorf("field %q, want %q", invalid.Field, c.field)
			}
			e.Close()
			checkEmpty(t, e, b)
			if seen.get("queued") != 0 || seen.get("running") != 0 {
				t.Errorf("left in the counts: %v", seen)
			}
		})
	}
}

func TestOverflowNamesTheNumbers(t *testing.T) {
	for _, c := range []struct {
		o    enginetest.Options
		max  int
		want inference.OverflowError
	}{
		{enginetest.Options{Cells: 100}, 60, inference.OverflowError{Prompt: 50, Max: 60, Context: 100}},
		{enginetest.Options{Cells: 100, Context: 50}, 0, inference.OverflowError{Prompt: 50, Context: 50}},
		{enginetest.Options{Cells: 160, Sequences: 4, Split: true}, 1, inference.OverflowError{Prompt: 50, Context: 40}},
	} {
		e, _ := start(t, c.o, Config{})
		_, err := e.Submit(context.Background(), ask(strings.Repeat("x", 50), c.max))
		var over *inference.OverflowError
		if !errors.As(err, &over) || *over != c.want {
			t.Errorf("got %v, want %v", err, &c.want)
		}
	}
}

func TestLongestAnswerFits(t *testing.T) {
	for _, o := range []enginetest.Options{{Cells: 40, Sequences: 1}, {Cells: 80, Sequences: 2, Split: true}} {
		e, b := start(t, o, Config{})
		for _, limit := range []int{0, 35} {
			r := ask("five.", limit)
			a := read(t, submit(t, e, r))
			if a.err != nil || a.text[0] != expected(b, r, 0) || a.usage.CompletionTokens != 35 || a.finish[0] != inference.FinishLength {
				t.Errorf("limit %d: %+v", limit, a)
			}
		}
	}
}

func TestQueueIsBounded(t *testing.T) {
	gate := make(chan struct{})
	e, _ := start(t, enginetest.Options{Sequences: 1, OnDecode: func(*inference.Batch) error { <-gate; return nil }}, Config{Queue: 2})
	first := submit(t, e, ask("running", 2))
	for e.Stats().Queued > 0 {
		// The first leaves the queue when it is admitted.
		yield()
	}
	second, third := submit(t, e, ask("waiting", 2)), submit(t, e, ask("waiting too", 2))
	_, err := e.Submit(context.Background(), ask("too many", 2))
	var retry *inference.RetryError
	if !errors.As(err, &retry) || !errors.Is(err, inference.ErrBusy) || retry.After < time.Second || retry.After > time.Minute {
		t.Errorf("got %v", err)
	}
	if s := inference.Classify(err); s.HTTP != 429 || s.RetryAfter < time.Second || s.Message != "queue is full: 2 requests wait to be computed, and at most 2 may: try again later" {
		t.Errorf("classified as %+v", s)
	}
	close(gate)
	for _, s := range []*Stream{first, second, third} {
		if a := read(t, s); a.err != nil {
			t.Error(a.err)
		}
	}
	if a := read(t, submit(t, e, ask("room again", 2))); a.err != nil {
		t.Error(a.err)
	}
}

func TestSeedsDifferByChoice(t *testing.T) {
	e, b := start(t, enginetest.Options{}, Config{})
	seed := uint32(math.MaxUint32) // the next one wraps to 0
	r := ask("draw", 12)
	r.Choices, r.Sampling.Temperature, r.Sampling.Seed = 3, 1, &seed
	a := read(t, submit(t, e, r))
	for i := range 3 {
		if a.text[i] != expected(b, r, i) {
			t.Errorf("choice %d: got %q, want %q", i, a.text[i], expected(b, r, i))
		}
	}
	if a.text[0] == a.text[1] || a.text[1] == a.text[2] {
		t.Errorf("choices are alike: %v", a.text)
	}
	if a.usage.CompletionTokens != 36 || a.usage.PromptTokens != 4 {
		t.Errorf("usage %+v", a.usage)
	}
}

func TestSeedIsFreshWhenNoneIsGiven(t *testing.T) {
	var seeds []uint32
	e, _ := start(t, enginetest.Options{OnSampler: func(s *inference.SamplerSpec) error {
		seeds = append(seeds, s.Seed)
		return nil
	}}, Config{})
	for range 4 {
		read(t, submit(t, e, ask("x", 1)))
	}
	if seeds[0] == seeds[1] && seeds[1] == seeds[2] && seeds[2] == seeds[3] {
		t.Errorf("seeds %v", seeds)
	}
}

func TestSamplersKnowThePromptsEnd(t *testing.T) {
	var got []int32
	e, _ := start(t, enginetest.Options{OnSampler: func(s *inference.SamplerSpec) error {
		got = append([]int32{}, s.History...)
		return nil
	}}, Config{})
	for _, c := range []struct {
		name   string
		change func(*inference.Sampling)
		last   int // tokens of the prompt's end
	}{
		{"nothing looks back", func(s *inference.Sampling) { s.RepeatLastN, s.DryLastN = 3, 3 }, 0},
		{"a penalty", func(s *inference.Sampling) { s.RepeatPenalty, s.RepeatLastN = 1.5, 3 }, 3},
		{"DRY, further than the prompt", func(s *inference.Sampling) { s.DryMultiplier, s.DryBase, s.DryLastN = 1, 2, 1000 }, 8},
	} {
		r := ask("abcdefgh", 1)
		r.Sampling.RepeatPenalty = 1
		c.change(&r.Sampling)
		read(t, submit(t, e, r))
		if want := r.Prompt[len(r.Prompt)-c.last:]; len(r.Prompt) != 8 || !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
	}
}
