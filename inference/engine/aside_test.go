package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// asideHarness is a backend that computes aside, with a sequence that decodes.
func asideHarness(t *testing.T, o enginetest.Options) *harness {
	t.Helper()
	o.Cells, o.Aside = 4096, 1024
	if o.Batch == 0 {
		o.Batch = 512
	}
	o.Quiet = false
	h := newHarness(t, o, Config{Lookup: LookupConfig{Off: true}})
	h.submit(t, "decodes", 200)
	for h.l.rowCount == 0 {
		h.turn()
	}
	return h
}

func (h *harness) submit(t *testing.T, prompt string, n int) *Stream {
	t.Helper()
	s, err := h.e.Submit(t.Context(), &Request{Prompt: enginetest.Tokens(prompt), MaxTokens: n, Sampling: inference.Sampling{TopP: 1, RepeatPenalty: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asides returns the chunks that were computed aside, as the numbers of their
// tokens by sequence.
func (h *harness) asides() [][]int {
	var all [][]int
	for _, c := range h.b.Calls() {
		if c.Op != "aside" || len(c.Moves) == 0 {
			continue
		}
		n := map[int32]int{}
		var order []int32
		for _, s := range c.Batch.Seq {
			if n[s]++; n[s] == 1 {
				order = append(order, s)
			}
		}
		var chunk []int
		for _, s := range order {
			chunk = append(chunk, n[s])
		}
		all = append(all, chunk)
	}
	return all
}

// TestAsideTakesPrompts: what is computed aside, in which pieces, while somebody
// decodes.
func TestAsideTakesPrompts(t *testing.T) {
	long := strings.Repeat("long ", 130) // 650 tokens
	for _, c := range []struct {
		name    string
		prompts []string
		want    [][]int
	}{
		{"a short one goes with the rows", []string{"thirty tokens or so, no more."}, nil},
		{"all but its last token", []string{strings.Repeat("x", 100)}, [][]int{{99}}},
		{"a long one in equal pieces, larger when they are known to be quick", []string{long}, [][]int{{217}, {432}}},
		{"short ones together", []string{strings.Repeat("a", 30), strings.Repeat("b", 40), strings.Repeat("c", 50)}, [][]int{{29, 39, 49}}},
		{"the short one first, and as much as fits of the long one", []string{long, strings.Repeat("b", 100)}, [][]int{{99, 157}, {492}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := asideHarness(t, enginetest.Options{AsideSlices: 3})
			var all []*Stream
			for _, p := range c.prompts {
				all = append(all, h.submit(t, p, 3))
			}
			h.settle()
			if got := h.asides(); !slices.EqualFunc(got, c.want, slices.Equal) {
				t.Errorf("aside were computed %v, want %v", got, c.want)
			}
			for i, s := range all {
				r := &Request{Prompt: enginetest.Tokens(c.prompts[i]), MaxTokens: 3, Sampling: inference.Sampling{TopP: 1, RepeatPenalty: 1}}
				if a := read(t, s); a.err != nil || a.text[0] != expected(h.b, r, 0) {
					t.Errorf("prompt %d: %q, %v", i, a.text[0], a.err)
				}
			}
			h.shut()
		})
	}
}

// TestAsideGoesOnBetweenSteps: while a chunk is computed those who decode get a
// token for each slice, and a short prompt is computed with them.
func TestAsideGoesOnBetweenSteps(t *testing.T) {
	h := asideHarness(t, enginetest.Options{AsideSlices: 20})
	h.submit(t, strings.Repeat("x", 300), 3)
	for h.l.aside.state != asideBegun {
		h.turn()
	}
	long := h.l.aside.parts[0].s
	decoding := h.l.seqs[0]
	held := decoding.held
	short := h.submit(t, "and a short one", 2)
	for range 10 {
		h.turn()
	}
	if decoding.held != held+10 || long.held != 0 {
		t.Errorf("in 10 turns %d tokens were decoded, and the books have %d of the chunk", decoding.held-held, long.held)
	}
	if a := read(t, short); a.err != nil || a.usage.CompletionTokens != 2 {
		t.Errorf("the short prompt: %+v", a)
	}
	h.settle()
	h.shut()
}

// TestAsideIsGivenUp: a request that leaves takes its part of the chunk with it, and
// the chunk when it was alone.
func TestAsideIsGivenUp(t *testing.T) {
	h := asideHarness(t, enginetest.Options{AsideSlices: 20})
	first, second := h.submit(t, strings.Repeat("x", 100), 3), h.submit(t, strings.Repeat("y", 100), 3)
	for h.l.aside.state != asideBegun {
		h.turn()
	}
	if n := len(h.l.aside.parts); n != 2 {
		t.Fatalf("%d parts", n)
	}
	first.Close()
	h.turn()
	if h.l.aside.state != asideBegun {
		t.Error("the chunk ended, though another is in it")
	}
	second.Close()
	h.turn()
	if h.l.aside.state != asideNone {
		t.Error("the chunk goes on, and nobody wants it")
	}
	h.submit(t, strings.Repeat("z", 100), 3)
	for h.l.aside.state != asideBegun {
		h.turn()
	}
	h.shut()
}

// TestAsideFails: where the backend fails, prompts are computed in the steps from
// then on.
func TestAsideFails(t *testing.T) {
	for _, op := range []string{"begin", "advance", "end"} {
		t.Run(op, func(t *testing.T) {
			h := asideHarness(t, enginetest.Options{AsideSlices: 2, OnAside: func(at string) error {
				if at == op {
					return inference.ErrDecodeFatal
				}
				return nil
			}})
			s := h.submit(t, strings.Repeat("x", 300), 3)
			h.settle()
			if a := read(t, s); a.err != nil || a.usage.CompletionTokens != 3 {
				t.Errorf("%+v", a)
			}
			if !h.l.aside.off {
				t.Error("the backend is asked again")
			}
			h.shut()
		})
	}
}

// TestAsideSize: a chunk is larger where it takes no long time.
func TestAsideSize(t *testing.T) {
	for _, c := range []struct {
		token time.Duration
		want  int
	}{
		{0, 256},
		{time.Microsecond, 512},
		{3 * time.Millisecond, 512},
		{4 * time.Millisecond, 400},
		{10 * time.Millisecond, 256},
	} {
		a := aside{most: asideMost, token: float64(c.token)}
		if got := a.size(); got != c.want {
			t.Errorf("%v for a token: %d tokens, want %d", c.token, got, c.want)
		}
	}
}

// TestSlice: the chunk gets the time that the target leaves, or what makes it twice
// that of the rows, and some where a step has taken even that.
func TestSlice(t *testing.T) {
	const ms = time.Millisecond
	h := newHarness(t, enginetest.Options{Aside: 100}, Config{TargetITL: 150 * ms})
	for _, c := range []struct {
		rows, running      int
		decode, took, want time.Duration
	}{
		{4, 8, 40 * ms, 30 * ms, 120 * ms},
		{4, 8, 40 * ms, 140 * ms, 20 * ms},
		{4, 8, 40 * ms, 400 * ms, 20 * ms},
		{4, 8, 90 * ms, 90 * ms, 180 * ms},
		{4, 8, 90 * ms, 150 * ms, 120 * ms},
		{1, 3, 40 * ms, 30 * ms, 270 * ms},
		{1, 3, 110 * ms, 100 * ms, 230 * ms},
		{0, 2, 40 * ms, 0, 300 * ms},
	} {
		h.l.pace.decode = float64(c.decode)
		h.l.rowCount, h.l.running = c.rows, c.running
		if got := h.l.slice(c.took); got != c.want {
			t.Errorf("%d of %d decode in %v, the step took %v: %v, want %v", c.rows, c.running, c.decode, c.took, got, c.want)
		}
	}
	h.l.running = 0
}
