package engine

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// greedy samples the likeliest token.
func greedy() inference.Sampling { return inference.Sampling{TopP: 1, RepeatPenalty: 1} }

// ask is a plain request of the default tenant.
func ask(prompt string, maxTokens int) *Request {
	return &Request{
		Caller: inference.DefaultCaller, Prompt: enginetest.Tokens(prompt),
		MaxTokens: maxTokens, Sampling: greedy(),
	}
}

// answer is what a stream delivered.
type answer struct {
	text   map[int]string
	finish map[int]inference.FinishReason
	usage  inference.Usage
	lps    map[int][]inference.TokenLogprob
	steps  []inference.Progress
	err    error // nil if it ended with io.EOF
}

// read reads a stream to its end.
func read(t testing.TB, s *Stream) answer {
	t.Helper()
	a := answer{text: map[int]string{}, finish: map[int]inference.FinishReason{}, lps: map[int][]inference.TokenLogprob{}}
	usages := 0
	for {
		ev, err := s.Next(context.Background())
		if err != nil {
			if !errors.Is(err, io.EOF) {
				a.err = err
			} else if usages != 1 {
				t.Errorf("a stream that ended well had %d usages", usages)
			}
			return a
		}
		if usages > 0 {
			t.Errorf("event %+v after usage", ev)
		}
		switch ev.Kind {
		case KindProgress:
			if len(a.text) > 0 {
				t.Errorf("progress %+v after text", ev.Progress)
			}
			a.steps = append(a.steps, ev.Progress)
		case KindText:
			if a.finish[ev.Choice] != "" {
				t.Errorf("text %q of choice %d after its end", ev.Text, ev.Choice)
			}
			a.text[ev.Choice] += ev.Text
			a.lps[ev.Choice] = append(a.lps[ev.Choice], ev.Logprobs...)
		case KindFinish:
			a.finish[ev.Choice] = ev.Finish
		case KindUsage:
			usages++
			a.usage = ev.Usage
		}
	}
}

// start runs an engine on a fake backend until the test ends, and then checks
// that nothing is left.
func start(t testing.TB, o enginetest.Options, c Config) (*Engine, *enginetest.Backend) {
	t.Helper()
	b := enginetest.New(o)
	e, err := New(b, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		checkEmpty(t, e, b)
	})
	return e, b
}

// checkEmpty fails if a closed engine left anything.
func checkEmpty(t testing.TB, e *Engine, b *enginetest.Backend) {
	t.Helper()
	if n := b.Used(); n != 0 {
		t.Errorf("%d cells are held after Close", n)
	}
	if open, twice := b.OpenSamplers(); open != 0 || twice != 0 {
		t.Errorf("%d samplers are open, %d were closed twice", open, twice)
	}
	if s := e.Stats(); s.Queued != 0 || s.Running != 0 || s.CellsUsed != 0 || s.CellsReserved != 0 || s.CellsCached != 0 || s.Prefixes != 0 {
		t.Errorf("after Close: %+v", s)
	}
	if n := b.NoSlots(); n != 0 {
		t.Errorf("%d batches had no room: the ledger is wrong", n)
	}
}

func submit(t testing.TB, e *Engine, r *Request) *Stream {
	t.Helper()
	s, err := e.Submit(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// expected is the fake's answer to r as text.
func expected(b *enginetest.Backend, r *Request, choice int) string {
	spec := inference.SamplerSpec{Sampling: r.Sampling, Grammar: r.Grammar}
	if r.Sampling.Seed != nil {
		spec.Seed = *r.Sampling.Seed + uint32(choice)
	}
	limit := r.MaxTokens
	if limit == 0 {
		limit = windowOf(b.Traits()) - len(r.Prompt)
	}
	tokens := b.Reference(r.Prompt, spec, limit, r.Adapters...)
	if n := len(tokens); n > 0 && tokens[n-1] == enginetest.EOG {
		tokens = tokens[:n-1]
	}
	text := b.Text(tokens)
	for _, stop := range r.Stop {
		text, _, _ = strings.Cut(text, stop)
	}
	return text
}

func TestAnswersEqualReference(t *testing.T) {
	for _, o := range []enginetest.Options{{}, {Split: true}, {NoShare: true}, {Holders: 8}, {Split: true, NoTrim: true}, {EOGEvery: 20}, {MicroBatch: 9}, {Window: 8}, {Window: 40, Holders: 8}, {Window: 40, Split: true}} {
		e, b := start(t, o, Config{})
		var streams []*Stream
		var asked []*Request
		for i := range 12 {
			r := ask(strings.Repeat("common words ", 4)+strings.Repeat("x", i), 20+i)
			asked = append(asked, r)
			streams = append(streams, submit(t, e, r))
		}
		for i, s := range streams {
			a := read(t, s)
			if want := expected(b, asked[i], 0); a.err != nil || a.text[0] != want {
				t.Errorf("%+v request %d: got %q, %v; want %q", o, i, a.text[0], a.err, want)
			}
		}
	}
}
