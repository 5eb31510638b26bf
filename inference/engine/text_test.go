package engine

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// assemble feeds pieces to an assembler and returns what came out at each, the
// flush at the end, and whether a stop string ended it.
func assembleAll(stops []string, pieces ...string) (out []string, rest string, stopped bool) {
	a := newAssembler(stops, false)
	for _, p := range pieces {
		text, _, stop := a.add([]byte(p), inference.TokenLogprob{})
		out = append(out, string(text))
		if stop {
			return out, "", true
		}
	}
	text, _ := a.flush()
	return out, string(text), false
}

func TestAssembler(t *testing.T) {
	for _, c := range []struct {
		name    string
		stops   []string
		pieces  []string
		out     []string
		rest    string
		stopped bool
	}{
		{"plain", nil, []string{"a", "bc"}, []string{"a", "bc"}, "", false},
		{"empty piece", nil, []string{"", "a"}, []string{"", "a"}, "", false},
		{"character in pieces", nil, []string{"\xe2", "\x82", "\xac!"}, []string{"", "", "€!"}, "", false},
		{"four bytes", nil, []string{"a\xf0\x9f", "\x98\x80b"}, []string{"a", "😀b"}, "", false},
		{"unfinished at the end", nil, []string{"a\xf0\x9f\x98"}, []string{"a"}, "�", false},
		{"invalid in the middle", nil, []string{"a\xffb"}, []string{"a�b"}, "", false},
		{"unfinished, then another", nil, []string{"\xe2\x82", "a"}, []string{"", "�a"}, "", false},
		{"surrogate", nil, []string{"\xed\xa0\x80"}, []string{"���"}, "", false},
		{"stop in one piece", []string{"END"}, []string{"abENDcd"}, []string{"ab"}, "", true},
		{"stop across pieces", []string{"END"}, []string{"aE", "N", "Dx"}, []string{"a", "", ""}, "", true},
		{"not a stop after all", []string{"END"}, []string{"aE", "N", "x"}, []string{"a", "", "ENx"}, "", false},
		{"begins again", []string{"aab"}, []string{"a", "a", "a", "b"}, []string{"", "", "a", ""}, "", true},
		{"held at the end", []string{"END"}, []string{"aEN"}, []string{"a"}, "EN", false},
		{"first completed wins", []string{"abcd", "bc"}, []string{"abcd"}, []string{"a"}, "", true},
		{"longer of two at once", []string{"bc", "abc"}, []string{"xabc"}, []string{"x"}, "", true},
		{"stop within a character", []string{"€"}, []string{"a\xe2", "\x82", "\xac"}, []string{"a", "", ""}, "", true},
		{"unfinished before a stop", []string{"X"}, []string{"\xe2\x82X"}, []string{"�"}, "", true},
	} {
		out, rest, stopped := assembleAll(c.stops, c.pieces...)
		if !slices.Equal(out, c.out) || rest != c.rest || stopped != c.stopped {
			t.Errorf("%s: got %q, %q, %v; want %q, %q, %v", c.name, out, rest, stopped, c.out, c.rest, c.stopped)
		}
	}
}

// wholeText is what the answer must be, computed from all its bytes at once.
func wholeText(stops []string, all []byte) (string, bool) {
	for end := 1; end <= len(all); end++ {
		start, found := end, false
		for _, s := range stops {
			if bytes.HasSuffix(all[:end], []byte(s)) {
				start, found = min(start, end-len(s)), true
			}
		}
		if found {
			return string(appendValid(nil, all[:start])), true
		}
	}
	return string(appendValid(nil, all)), false
}

func checkAssembler(t interface {
	Fatalf(string, ...any)
}, stops []string, pieces [][]byte,
) {
	a := newAssembler(stops, true)
	var got strings.Builder
	var tokens []int32
	stopped := false
	for i, p := range pieces {
		text, lps, stop := a.add(p, inference.TokenLogprob{Token: int32(i)})
		if !utf8.Valid(text) {
			t.Fatalf("text %q is not valid UTF-8", text)
		}
		got.Write(text)
		for _, lp := range lps {
			tokens = append(tokens, lp.Token)
		}
		if stop {
			stopped = true
			break
		}
	}
	if !stopped {
		text, lps := a.flush()
		got.Write(text)
		for _, lp := range lps {
			tokens = append(tokens, lp.Token)
		}
		if len(tokens) != len(pieces) {
			t.Fatalf("%d of %d log probabilities came out", len(tokens), len(pieces))
		}
	}
	for i, token := range tokens {
		if int(token) != i {
			t.Fatalf("log probabilities of tokens %v", tokens)
		}
	}
	want, wantStop := wholeText(stops, bytes.Join(pieces, nil))
	if got.String() != want || stopped != wantStop {
		t.Fatalf("stops %q, pieces %q:\ngot  %q, %v\nwant %q, %v", stops, pieces, got.String(), stopped, want, wantStop)
	}
}

func TestAssemblerIgnoresTokenBorders(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		letter := rapid.SampledFrom([]string{"a", "b", "ab", "€", "\xe2", "\x82", "\xf0\x9f", "\xff", "😀", ""})
		var stops []string
		for _, s := range rapid.SliceOfN(rapid.SliceOfN(letter, 1, 3), 0, 3).Draw(rt, "stops") {
			if j := strings.Join(s, ""); j != "" {
				stops = append(stops, j)
			}
		}
		var pieces [][]byte
		for _, p := range rapid.SliceOfN(rapid.SliceOfN(letter, 0, 3), 0, 12).Draw(rt, "pieces") {
			pieces = append(pieces, []byte(strings.Join(p, "")))
		}
		checkAssembler(rt, stops, pieces)
	})
}

func FuzzAssembler(f *testing.F) {
	f.Add([]byte("hello END world"), "END", uint8(3))
	f.Add([]byte("\xe2\x82\xac\xf0\x9f\x98"), "\x82", uint8(1))
	f.Fuzz(func(t *testing.T, all []byte, stop string, size uint8) {
		var stops []string
		if stop != "" {
			stops = []string{stop}
		}
		n := max(int(size), 1)
		checkAssembler(t, stops, slices.Collect(slices.Chunk(all, n)))
	})
}

func TestLogprobsFollowTheText(t *testing.T) {
	reply := "one two STOP three"
	e, _ := start(t, enginetest.Options{Reply: func(string) string { return reply }}, Config{})
	r := ask("go", 100)
	r.Logprobs, r.TopLogprobs, r.Stop = true, 2, []string{"STOP"}
	a := read(t, submit(t, e, r))
	if a.text[0] != "one two " || a.finish[0] != inference.FinishStop {
		t.Fatalf("%+v", a)
	}
	var joined []byte
	for _, lp := range a.lps[0] {
		joined = append(joined, lp.Bytes...)
		if len(lp.Top) != 2 || len(lp.Top[1].Bytes) != 1 || lp.Top[0].Token != lp.Token {
			t.Errorf("token %d has alternatives %+v", lp.Token, lp.Top)
		}
	}
	if string(joined) != a.text[0] {
		t.Errorf("log probabilities of %q, text %q", joined, a.text[0])
	}
	if a.usage.CompletionTokens != len("one two STOP") {
		t.Errorf("usage %+v", a.usage)
	}
}

func TestControlTokens(t *testing.T) {
	answer := []int32{'a', enginetest.Control, 'b', enginetest.Control + 1, 'c', enginetest.EOG, 'd'}
	e, _ := start(t, enginetest.Options{Next: func(h []int32) int32 { return answer[len(h)-1] }}, Config{})
	for _, c := range []struct {
		preserved []int32
		want      string
	}{
		{nil, "abc"},
		{[]int32{enginetest.Control + 1}, "ab<|c1|>c"},
		{[]int32{enginetest.Control, enginetest.EOG}, "a<|c0|>bc"},
	} {
		r := ask("x", 100)
		r.Preserved = c.preserved
		if a := read(t, submit(t, e, r)); a.text[0] != c.want || a.finish[0] != inference.FinishStop {
			t.Errorf("preserved %v: %+v", c.preserved, a)
		}
	}
}

func TestTokenLimitFlushesWhatWasHeld(t *testing.T) {
	e, _ := start(t, enginetest.Options{Reply: func(string) string { return "abcEN\xe2\x82" }}, Config{})
	r := ask("x", 7)
	r.Stop = []string{"END", "\xe2\x82!"}
	if a := read(t, submit(t, e, r)); a.text[0] != "abcEN�" || a.finish[0] != inference.FinishLength {
		t.Errorf("%+v", a)
	}
}
