package engine

import (
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		text, want string
	}{
		{"", ""},
		{"abc", ""},
		{"abcabc", "abc"},
		{"abcXabcYabc", "Yabc"}, // the last place
		{"aaaa", "a"},
		{"abcd", ""},
		{"xbc abc", ""}, // two tokens are too few
		{"abcabcab", "cab"},
	} {
		if got := match(enginetest.Tokens(c.text)); !slices.Equal(got, enginetest.Tokens(c.want)) {
			t.Errorf("%q: %v, want %q", c.text, got, c.want)
		}
	}
	far := append(enginetest.Tokens("abcX"), make([]int32, lookupBack)...)
	if got := match(append(far, enginetest.Tokens("abc")...)); got != nil {
		t.Errorf("found %d tokens back", len(got))
	}
}

// parrot answers with the prompt, again and again.
func parrot(p string) string { return strings.Repeat(p, 4) }

const verse = "row, row, row your boat, gently down the stream. "

// stepsOf answers r with a parrot and returns what was counted.
func stepsOf(t *testing.T, o enginetest.Options, c Config, r *Request) (answer, *counter, *harness) {
	t.Helper()
	h := newHarness(t, o, c)
	seen := newCounter()
	h.l.obs = seen
	s := h.put(r)
	h.settle()
	h.shut()
	return read(t, s), seen, h
}

// TestGuessesSaveSteps: a text that repeats itself takes fewer steps and is the
// same.
func TestGuessesSaveSteps(t *testing.T) {
	o := enginetest.Options{Reply: parrot}
	with, guessed, h := stepsOf(t, o, Config{}, ask(verse, 150))
	without, none, _ := stepsOf(t, o, Config{Lookup: LookupConfig{Off: true}}, ask(verse, 150))
	if with.err != nil || with.text[0] != without.text[0] || with.usage.CompletionTokens != without.usage.CompletionTokens {
		t.Errorf("with guesses %+v\nwithout %+v", with, without)
	}
	if none.get("guessed") != 0 || guessed.get("steps") > none.get("steps")/4 || guessed.get("right") < 110 {
		t.Errorf("%d steps with guesses, %d without; %v", guessed.get("steps"), none.get("steps"), guessed)
	}
	for _, call := range h.b.Calls() {
		if call.Op == "decode" && call.Batch.Len() > 9 && call.Batch.Pos[0] > 0 {
			t.Errorf("%d tokens in a step that guesses", call.Batch.Len())
		}
	}
}

// TestWrongGuessesPause: the answer diverges behind every match.
func TestWrongGuessesPause(t *testing.T) {
	next := func(h []int32) int32 {
		if len(h)%4 == 3 {
			return int32(len(h) / 4 % 200) // never what followed before
		}
		return int32("abc"[len(h)%4])
	}
	answered, seen, _ := stepsOf(t, enginetest.Options{Cells: 4096, Next: next}, Config{}, ask("abc", 1000))
	if answered.err != nil || answered.usage.CompletionTokens != 1000 {
		t.Fatalf("%+v", answered)
	}
	if wrong := seen.get("guessed") - seen.get("right"); wrong == 0 || wrong > 12 {
		t.Errorf("%d wrong guesses in 1000 tokens: %v", wrong, seen)
	}
}

// TestGuessesKeepLimits: an answer that ends inside of what was guessed right
// ends there, and what it leaves in the cache is right.
func TestGuessesKeepLimits(t *testing.T) {
	for limit := 60; limit < 90; limit++ {
		for _, stop := range []string{"", "boat", "down"} {
			o := enginetest.Options{Reply: parrot, Sequences: 2}
			h := newHarness(t, o, Config{Prefix: PrefixConfig{MinShare: 1, MinKeep: 1}})
			r := ask(verse, limit)
			want := parrot(verse)[:limit]
			if stop != "" {
				r.Stop = []string{stop}
				want, _, _ = strings.Cut(want, stop)
			}
			s := h.put(r)
			h.settle()
			if a := read(t, s); a.err != nil || a.text[0] != want {
				t.Fatalf("limit %d, stop %q: %+v", limit, stop, a)
			}
			again := ask(verse+want+"~", 1)
			s = h.put(again)
			h.settle()
			if a := read(t, s); a.err != nil || a.usage.CachedTokens < len(verse+want)-1 {
				t.Fatalf("limit %d, stop %q: %d tokens of %d cached", limit, stop, a.usage.CachedTokens, len(verse+want))
			}
			h.shut()
		}
	}
}

// TestGuessesOnlyWhileFewRun: more than Rows and nothing is guessed.
func TestGuessesOnlyWhileFewRun(t *testing.T) {
	for _, n := range []int{1, 2, 3} {
		h := newHarness(t, enginetest.Options{Reply: parrot}, Config{Lookup: LookupConfig{Rows: 2}})
		seen := newCounter()
		h.l.obs = seen
		for i := range n {
			h.put(ask(verse+strings.Repeat("x", i), 60))
		}
		guesses := 0
		for h.turn(); h.l.running == n; h.turn() {
			guesses = seen.get("guessed")
		}
		if (n > 2) != (guesses == 0) {
			t.Errorf("%d answers: %d guesses", n, guesses)
		}
		h.settle()
		h.shut()
	}
}

// TestGuessesMakeWay: where the backend has no room for the guesses, the step is
// done without them.
func TestGuessesMakeWay(t *testing.T) {
	refused := 0
	o := enginetest.Options{Reply: parrot, OnDecode: func(b *inference.Batch) error {
		if b.Len() > 1 && b.Pos[0] > 0 {
			refused++
			return inference.ErrNoSlot
		}
		return nil
	}}
	a, _, _ := stepsOf(t, o, Config{}, ask(verse, 100))
	if a.err != nil || a.text[0] != parrot(verse)[:100] || refused == 0 {
		t.Errorf("%d refusals: %+v", refused, a)
	}
}

// TestNoGuessesWithoutTrim: wrong ones could not be taken back.
func TestNoGuessesWithoutTrim(t *testing.T) {
	for _, o := range []enginetest.Options{{Reply: parrot, NoTrim: true}, {Reply: parrot, Guesses: -1}} {
		a, seen, _ := stepsOf(t, o, Config{}, ask(verse, 100))
		if a.err != nil || seen.get("guessed") != 0 {
			t.Errorf("%v: %+v", seen, a)
		}
	}
}

// stubborn does not take back what lies behind a position, once.
type stubborn struct {
	*enginetest.Backend
	refusals int
}

func (s *stubborn) SeqRemove(seq, p0, p1 int32) bool {
	if p0 > 0 && s.refusals == 0 {
		s.refusals++
		return false
	}
	return s.Backend.SeqRemove(seq, p0, p1)
}

// TestGuessThatStays: a wrong guess that cannot be taken back costs the whole
// sequence, which is computed again.
func TestGuessThatStays(t *testing.T) {
	reply := strings.Repeat("abcdefgh", 3) + "abcX" + strings.Repeat("z", 20)
	b := &stubborn{Backend: enginetest.New(enginetest.Options{Reply: func(string) string { return reply }})}
	e, err := New(b, Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := submit(t, e, ask("recite", 48))
	if a := read(t, s); a.err != nil || a.text[0] != reply {
		t.Errorf("%+v", a)
	}
	if err := e.Close(); err != nil || b.refusals == 0 {
		t.Errorf("%d refusals, %v", b.refusals, err)
	}
}

// TestGuessesLeaveHalfABatch: a prompt goes on beside an answer that guesses.
func TestGuessesLeaveHalfABatch(t *testing.T) {
	h := newHarness(t, enginetest.Options{Reply: parrot, Batch: 8}, Config{Lookup: LookupConfig{Tokens: 16}})
	h.put(ask(verse, 150))
	for h.turn(); h.l.guessed < 4; h.turn() {
		if h.l.running == 0 {
			t.Fatal("four tokens were never guessed at once")
		}
	}
	late := h.put(ask(strings.Repeat("late ", 8), 1))
	beside := false
	for h.turn(); h.l.running > 0; h.turn() {
		if h.l.guessed > 4 {
			t.Errorf("%d guesses in a batch of 8", h.l.guessed)
		}
		beside = beside || h.l.guessed > 0 && len(h.l.prefills) > 0 && h.l.batch.Len() > h.l.rowCount+h.l.guessed
	}
	if !beside {
		t.Error("no step had guesses and a part of the prompt")
	}
	if a := read(t, late); a.err != nil {
		t.Error(a.err)
	}
	h.shut()
}
