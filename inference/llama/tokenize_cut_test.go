package llama

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/internal/testkit"
)

// vocabularies are the ones of llama.cpp's source tree and of Gemma 3.
func vocabularies(t *testing.T, each func(t *testing.T, file string, m *Model)) {
	t.Helper()
	initBackends(t)
	files, err := filepath.Glob(filepath.Join(testkit.Templates(t), "..", "ggml-vocab-*.gguf"))
	if err != nil || len(files) < 19 {
		t.Fatalf("found %d vocabularies, %v", len(files), err)
	}
	for _, file := range append(files, testkit.WindowModel(t)) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".gguf"), func(t *testing.T) {
			m, err := Load(file, ModelOptions{VocabOnly: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { must(t, m.Close()) }()
			each(t, file, m)
		})
	}
}

func TestTokenizeVocabularies(t *testing.T) {
	compared := 0
	vocabularies(t, func(t *testing.T, file string, m *Model) {
		if checkExpected(t, file, m) {
			compared++
		}
		checkParts(t, m)
		checkLongest(t, file, m)
	})
	if compared < 15 {
		t.Errorf("compared %d vocabularies", compared)
	}
}

// checkExpected compares with the expected tokens that lie beside a vocabulary.
func checkExpected(t *testing.T, file string, m *Model) bool {
	t.Helper()
	in, err := os.ReadFile(file + ".inp")
	if errors.Is(err, os.ErrNotExist) {
		return false // none came with it
	}
	must(t, err)
	out, err := os.ReadFile(file + ".out")
	must(t, err)
	texts := strings.Split(string(in), "\n__ggml_vocab_test__\n")
	lines := strings.Split(string(out), "\n")
	if len(lines) < len(texts) || len(texts) < 40 {
		t.Fatalf("%d texts and %d lines", len(texts), len(lines))
	}
	for i, text := range texts {
		want := strings.TrimSpace(lines[i])
		tokens, err := m.Tokenize(text, inference.TokenizeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := numbers(tokens); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	return true
}

// checkParts compares what is tokenized in parts with what one call gives, over
// texts of special tokens whole, cut short and run into each other.
func checkParts(t *testing.T, m *Model) {
	t.Helper()
	r := rand.New(rand.NewSource(1))
	atoms := []string{"a", " ", "\n", "\n\n", "\t", "x\n", "  ", "\u2581", "<", ">", "|", "é", "the quick brown", "</s>", "[MASK]", "<mask> "}
	var special []string
	for token, flags := range m.vocab.flags {
		if flags&4 != 0 { // HEARTH_TOKEN_APART
			special = append(special, string(m.Piece(int32(token), true)))
		}
	}
	cuts, apart := 0, 0
	for round := range 40 {
		var b strings.Builder
		some := append(slices.Clone(atoms[:1+r.Intn(len(atoms))]), "b")
		for range 3 {
			if len(special) > 0 {
				s := special[r.Intn(len(special))]
				some = append(some, s, s, s[:r.Intn(len(s)+1)], s[r.Intn(len(s)+1):])
			}
		}
		if controls := m.ControlTexts(); len(controls) > 0 {
			s := controls[r.Intn(len(controls))]
			some = append(some, s, s)
		}
		for b.Len() < 500 {
			b.WriteString(strings.ToValidUTF8(some[r.Intn(len(some))], "?"))
		}
		text := strings.ToValidUTF8(b.String(), "?")
		o := inference.TokenizeOptions{AddSpecial: round%2 == 0, ParseSpecial: round%3 > 0}
		want, err := m.tokenizePart(text, o)
		must(t, err)
		got, err := m.tokenizeParts(text, o, 1+r.Intn(3))
		must(t, err)
		if !slices.Equal(got, want) {
			t.Fatalf("in parts %q is %v, at once %v (%+v)", text, got, want, o)
		}
		if o.ParseSpecial && !m.cuts.special.whole {
			got, err := m.tokenizeApart(text, o.AddSpecial)
			must(t, err)
			if !slices.Equal(got, want) {
				t.Fatalf("apart %q is %v, at once %v (%+v)", text, got, want, o)
			}
			apart += len(m.cuts.special.stretches(text)) - 1
		}
		c := &m.cuts.plain
		if o.ParseSpecial {
			c = &m.cuts.special
		}
		parts, err := c.parts(text, 1)
		must(t, err)
		cuts += len(parts) - 1
		if strings.Join(parts, "") != text {
			t.Fatalf("the parts of %q are not it", text)
		}
	}
	if cuts == 0 && len(special) > 2 && !m.cuts.special.whole {
		t.Error("nothing was cut")
	}
	if apart == 0 && len(m.ControlTexts()) > 2 && !m.cuts.special.whole {
		t.Error("no control token was found apart")
	}
}

// checkLongest tokenizes the longest texts that are taken, also of what makes
// llama.cpp slow, and many special tokens as text and as what they are.
func checkLongest(t *testing.T, file string, m *Model) {
	t.Helper()
	longest := func(s string) string { return strings.Repeat(s, MaxTextBytes/len(s)) }
	if strings.Contains(file, "gemma-3") {
		tokens, err := m.Tokenize(longest("a\n"), inference.TokenizeOptions{})
		if err != nil || len(tokens) != MaxTextBytes {
			t.Errorf("lines of one letter: %d tokens, %v", len(tokens), err)
		}
		if _, err := m.Tokenize(longest("\n"), inference.TokenizeOptions{}); !errors.Is(err, inference.ErrInvalid) || !strings.Contains(err.Error(), "8192") {
			t.Errorf("one run of line ends: %v", err)
		}
	}
	if _, err := m.Tokenize("a\xff", inference.TokenizeOptions{}); !errors.Is(err, inference.ErrInvalid) {
		t.Errorf("invalid UTF-8: %v", err)
	}
	switch strings.TrimSuffix(filepath.Base(file), ".gguf") { // one of each kind
	case "ggml-vocab-gpt-2", "ggml-vocab-llama-bpe", "ggml-vocab-llama-spm", "ggml-vocab-bert-bge", "ggml-vocab-gemma-4":
		if tokens, err := m.Tokenize(longest("a"), inference.TokenizeOptions{}); err != nil || len(tokens) == 0 {
			t.Errorf("one letter: %d tokens, %v", len(tokens), err)
		}
	}
	// a special token in a text is text, unless it is asked for
	for token, flags := range m.vocab.flags {
		if flags&2 == 0 { // HEARTH_TOKEN_CONTROL
			continue
		}
		marker := string(m.Piece(int32(token), true))
		if len(marker) < 4 {
			continue
		}
		tokens, err := m.Tokenize(strings.Repeat(marker+"x", 600), inference.TokenizeOptions{})
		if err != nil || slices.Contains(tokens, int32(token)) {
			t.Errorf("%q in a text was read as special, %v", marker, err)
		}
		tokens, err = m.Tokenize(strings.Repeat(marker+"x", 600), inference.TokenizeOptions{ParseSpecial: true})
		if err != nil || !slices.Contains(tokens, int32(token)) {
			t.Errorf("%q was not read as special, %v", marker, err)
		}
		break
	}
}

func numbers(tokens []int32) string {
	return strings.Trim(fmt.Sprint(tokens), "[]")
}

// Random tokens that overlap much: the fragments of the parts are the fragments of
// the whole, found as llama.cpp finds them, a token at a time, the longest first.
func TestCutsKeepFragments(t *testing.T) {
	fragments := func(text string, special []string) []string {
		list := []string{text}
		for _, s := range special {
			var next []string
			for _, f := range list {
				for !strings.HasPrefix(f, "=") {
					at := strings.Index(f, s)
					if at < 0 {
						break
					}
					if at > 0 {
						next = append(next, f[:at])
					}
					next = append(next, "="+s)
					f = f[at+len(s):]
				}
				if f != "" {
					next = append(next, f)
				}
			}
			list = next
		}
		return list
	}
	r := rand.New(rand.NewSource(2))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abcd"[r.Intn(4)]
		}
		return string(b)
	}
	cuts, apart := 0, 0
	for range 3000 {
		c := cutter{nodes: make([]cutNode, 1)}
		var special, plain []string // plain: those that are no control tokens
		tokens := map[int32]string{}
		for range 1 + r.Intn(5) {
			w, control := word(1+r.Intn(4)), int32(-1)
			special = append(special, w)
			if r.Intn(3) > 0 {
				control = int32(len(tokens))
				tokens[control] = w
			} else {
				plain = append(plain, w)
			}
			c.add(w, control)
		}
		slices.SortFunc(plain, func(a, b string) int { return len(b) - len(a) })
		slices.SortFunc(special, func(a, b string) int { return len(b) - len(a) })
		text := word(40)
		parts, err := c.parts(text, 1)
		must(t, err)
		var got []string
		for _, p := range parts {
			got = append(got, fragments(p, special)...)
		}
		if want := fragments(text, special); !slices.Equal(got, want) {
			t.Fatalf("%q with %q in parts %q is %q, at once %q", text, special, parts, got, want)
		}
		cuts += len(parts) - 1
		got = nil
		for _, s := range c.stretches(text) {
			of := plain
			if s.special {
				of = special
			}
			if s.text != "" {
				got = append(got, fragments(s.text, of)...)
			}
			if s.token >= 0 {
				got = append(got, fragments(tokens[s.token], special)...)
				apart++
			}
		}
		if want := fragments(text, special); !slices.Equal(got, want) {
			t.Fatalf("%q with %q, of which %q are no control tokens, apart is %q, at once %q", text, special, plain, got, want)
		}
	}
	if cuts < 3000 || apart < 3000 {
		t.Errorf("%d cuts, %d control tokens apart", cuts, apart)
	}
}
