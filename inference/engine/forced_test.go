package engine

import (
	"fmt"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// forcedWord leaves no choice behind some letters.
func forcedWord(history []int32) string {
	switch history[len(history)-1] {
	case 'a':
		return "bcd"
	case 'b':
		return "cd"
	case 'c':
		return "d"
	}
	return ""
}

// keyDocument is an answer in which all but the numbers follows from the letters k and m.
const keyDocument = "{key_of_the_first:1}{major_part:22}{key_of_the_first:3}"

// keyed is a backend that answers with it.
func keyed() enginetest.Options {
	return enginetest.Options{
		Reply: func(string) string { return keyDocument },
		Forced: func(history []int32) string {
			text := string(enginetest.New(enginetest.Options{}).Text(history))
			from := strings.LastIndexAny(text, "{:")
			for _, key := range []string{"{key_of_the_first:", "{major_part:"} {
				if from >= 0 && len(text)-from > 1 && strings.HasPrefix(key, text[from:]) {
					return key[len(text)-from:]
				}
			}
			return ""
		},
	}
}

// bound is ask with a grammar.
func bound(limit int, mode inference.ForcedText) *Request {
	r := ask("write", limit)
	r.Grammar, r.Forced = &inference.Grammar{GBNF: "root ::= key"}, mode
	return r
}

// TestForcedTextSavesSteps: what the grammar leaves no choice about takes fewer
// steps, guessed as well as appended, and is the same.
func TestForcedTextSavesSteps(t *testing.T) {
	off, none, _ := stepsOf(t, keyed(), Config{}, bound(100, inference.ForcedOff))
	for _, mode := range []inference.ForcedText{"", inference.ForcedGuess, inference.ForcedAppend} {
		a, seen, _ := stepsOf(t, keyed(), Config{}, bound(100, mode))
		if a.err != nil || a.text[0] != keyDocument || off.text[0] != keyDocument || a.usage.CompletionTokens != off.usage.CompletionTokens || a.finish[0] != off.finish[0] {
			t.Errorf("%q: %+v\nwithout %+v", mode, a, off)
		}
		if seen.get("steps") > none.get("steps")/2 {
			t.Errorf("%q: %d steps, %d without", mode, seen.get("steps"), none.get("steps"))
		}
		appends := mode == inference.ForcedAppend
		if (seen.get("appended") > 30) != appends || (seen.get("foreseen right") > 30) == appends || none.get("foreseen") > 0 {
			t.Errorf("%q: %v", mode, seen)
		}
	}
}

// TestForcedTextIsSwitched by the configuration, by the request, and by what the
// backend can do.
func TestForcedTextIsSwitched(t *testing.T) {
	for _, c := range []struct {
		o                enginetest.Options
		conf             inference.ForcedText
		mode             inference.ForcedText
		guesses, appends bool
	}{
		{keyed(), "", "", true, false},
		{keyed(), inference.ForcedOff, "", false, false},
		{keyed(), inference.ForcedAppend, "", true, true},
		{keyed(), inference.ForcedOff, inference.ForcedAppend, true, true},
		{keyed(), inference.ForcedAppend, inference.ForcedOff, false, false},
		{enginetest.Options{Reply: keyed().Reply, Forced: keyed().Forced, NoTrim: true}, "", "", false, false},
		{enginetest.Options{Reply: keyed().Reply, Forced: keyed().Forced, Guesses: -1}, "", inference.ForcedAppend, false, true},
	} {
		a, seen, _ := stepsOf(t, c.o, Config{Forced: ForcedConfig{Mode: c.conf}}, bound(100, c.mode))
		if a.err != nil || a.text[0] != keyDocument || (seen.get("foreseen") > 0) != c.guesses || (seen.get("appended") > 0) != c.appends {
			t.Errorf("configured %q, asked for %q: %+v, %v", c.conf, c.mode, a, seen)
		}
	}
	free := ask("write", 100)
	if _, seen, _ := stepsOf(t, keyed(), Config{}, free); seen.get("foreseen") > 0 {
		t.Error("something was foreseen without a grammar")
	}
}

// TestForcedTextKeepsLimits: an answer that ends inside of what is forced ends
// there, and what it leaves in the cache is right.
func TestForcedTextKeepsLimits(t *testing.T) {
	for _, mode := range []inference.ForcedText{inference.ForcedGuess, inference.ForcedAppend} {
		for limit := 1; limit < 60; limit += 2 {
			for _, stop := range []string{"", "the", "part:2"} {
				o := keyed()
				o.Batch, o.Sequences = 7, 2
				h := newHarness(t, o, Config{Reserve: 3, Prefix: PrefixConfig{MinShare: 1, MinKeep: 1}})
				r := bound(limit, mode)
				want := keyDocument[:min(limit, len(keyDocument))]
				if stop != "" {
					r.Stop = []string{stop}
					want, _, _ = strings.Cut(want, stop)
				}
				s := h.put(r)
				h.settle()
				if a := read(t, s); a.err != nil || a.text[0] != want {
					t.Fatalf("%s, limit %d, stop %q: %+v", mode, limit, stop, a)
				}
				h.shut()
			}
		}
	}
}

// TestForcedTextWithoutLimit: promises grow in the middle of what is appended.
func TestForcedTextWithoutLimit(t *testing.T) {
	o := keyed()
	o.Cells, o.Sequences = 150, 2
	h := newHarness(t, o, Config{Reserve: 4})
	var all []*Stream
	for i := range 3 {
		r := bound(0, inference.ForcedAppend)
		r.Prompt = append(r.Prompt, enginetest.Tokens(fmt.Sprint(i))...)
		all = append(all, h.put(r))
	}
	h.settle()
	for _, s := range all {
		if a := read(t, s); a.err != nil || a.text[0] != keyDocument || a.finish[0] != inference.FinishStop {
			t.Errorf("%+v", a)
		}
	}
	h.shut()
}

// TestForcedEnd: an end that the grammar forces needs no step.
func TestForcedEnd(t *testing.T) {
	o := enginetest.Options{Reply: func(string) string { return "ab!" }}
	o.OnSample = func(rows []inference.SampleRow, out []inference.Sampled) error {
		if out[0].Token == '!' {
			out[0].Appended = []int32{enginetest.EOG}
		}
		return nil
	}
	a, seen, _ := stepsOf(t, o, Config{}, bound(100, ""))
	if a.err != nil || a.text[0] != "ab!" || a.finish[0] != inference.FinishStop || a.usage.CompletionTokens != 4 || seen.get("steps") != 3 {
		t.Errorf("%+v, %v", a, seen)
	}
}

// TestForcedTextSharesRows: the guesses of all sequences together keep the bound.
func TestForcedTextSharesRows(t *testing.T) {
	h := newHarness(t, keyed(), Config{Sequences: 4, Forced: ForcedConfig{Rows: 4, Tokens: 5}})
	for i := range 4 {
		r := bound(100, "")
		r.Prompt = append(r.Prompt, enginetest.Tokens(fmt.Sprint(i))...)
		h.put(r)
	}
	most := 0
	for h.turn(); h.l.running > 0; h.turn() {
		most = max(most, h.l.guessed)
	}
	if most != 5 {
		t.Errorf("%d guesses in a step, want 5", most)
	}
	h.shut()
}
