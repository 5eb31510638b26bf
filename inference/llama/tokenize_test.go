package llama

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"hearth/inference"
	"hearth/internal/testkit"
)

func TestTokenizeRoundTrip(t *testing.T) {
	m := sharedModel(t)
	for _, text := range []string{
		"", " ", "\n\n\n", "Hello, world!", "  two  spaces ", "naïve façade — “quoted”", "日本語のテキスト", "🙂🙃👩‍👩‍👧‍👦",
		"zero\x00byte", "tab\tand\r\nlines", strings.Repeat("a", 10_000), strings.Repeat("ab ", 5_000),
	} {
		tokens, err := m.Tokenize(text, inference.TokenizeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		back, err := m.Detokenize(tokens)
		if err != nil {
			t.Fatal(err)
		}
		if back != text {
			t.Errorf("%.40q came back as %.40q", text, back)
		}
		var pieces bytes.Buffer
		for _, tok := range tokens {
			pieces.Write(m.Piece(tok, true))
		}
		if pieces.String() != text {
			t.Errorf("the pieces of %.40q are %.40q", text, pieces.String())
		}
	}
}

func TestSpecialTokens(t *testing.T) {
	m := sharedModel(t)
	const marker = "<|im_end|>"
	one, err := m.Tokenize(marker, inference.TokenizeOptions{ParseSpecial: true})
	if err != nil || len(one) != 1 {
		t.Fatalf("parsed as special: %v, %v", one, err)
	}
	plain, err := m.Tokenize(marker, inference.TokenizeOptions{})
	if err != nil || len(plain) < 2 {
		t.Fatalf("parsed as text: %v, %v", plain, err)
	}
	if !m.EndOfGeneration(one[0]) {
		t.Error("it does not end the generation")
	}
	if got := m.Piece(one[0], false); len(got) != 0 {
		t.Errorf("as hidden text it is %q", got)
	}
	if got := string(m.Piece(one[0], true)); got != marker {
		t.Errorf("as shown text it is %q", got)
	}
	for _, token := range []int32{-1, 49152, 1 << 30, -1 << 31} {
		if m.Piece(token, true) != nil || m.EndOfGeneration(token) {
			t.Errorf("token %d exists", token)
		}
	}
	if got := m.Piece(100, true); cap(got) != len(got) {
		t.Error("a piece can be appended to, over its neighbour")
	}
}

func TestTokenizeRefuses(t *testing.T) {
	m := sharedModel(t)
	_, err := m.Tokenize(strings.Repeat("x", MaxTextBytes+1), inference.TokenizeOptions{})
	if !errors.Is(err, inference.ErrInvalid) || !strings.Contains(err.Error(), "1048577") || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("a text of 1 MiB and a byte: %v", err)
	}
	for _, text := range []string{"\xff", "a\xc3", "\xf4\x9e\x9e\x9e", "\xed\xa0\x80"} {
		if _, err := m.Tokenize(text, inference.TokenizeOptions{}); !errors.Is(err, inference.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, tokens := range [][]int32{{1, -1}, {1, 49152}, make([]int32, MaxDetokenize+1)} {
		if _, err := m.Detokenize(tokens); !errors.Is(err, inference.ErrInvalid) {
			t.Errorf("%d tokens: %v", len(tokens), err)
		}
	}
}

func TestTokenizeIsConcurrent(t *testing.T) {
	m := sharedModel(t)
	texts := make([]string, 16)
	want := make([][]int32, len(texts))
	for i := range texts {
		texts[i] = fmt.Sprintf("Request %d: %s", i, strings.Repeat("lorem ipsum ", 20+600*(i%2)))
		want[i] = tokenize(t, m, texts[i])
	}
	var wg sync.WaitGroup
	for i := range texts {
		wg.Go(func() {
			for range 10 {
				got, err := m.Tokenize(texts[i], inference.TokenizeOptions{AddSpecial: true, ParseSpecial: true})
				if err != nil {
					t.Error(err)
					return
				}
				equalTokens(t, m, "concurrent", got, want[i])
			}
		})
	}
	wg.Wait()
}

// Some pre-tokenizers recurse for each character of a run without a break and
// overflow an ordinary stack. Every vocabulary of llama.cpp's collection.
func TestTokenizeLongRuns(t *testing.T) {
	initBackends(t)
	files, err := filepath.Glob(filepath.Join(testkit.Templates(t), "..", "ggml-vocab-*.gguf"))
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d vocabularies, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".gguf"), func(t *testing.T) {
			m, err := Load(file, ModelOptions{VocabOnly: true}, nil)
			if err != nil {
				t.Skipf("not a vocabulary of a model that llama.cpp loads alone: %v", err)
			}
			defer func() { must(t, m.Close()) }()
			for _, n := range []int{4_000, 4_097, 50_000} {
				for _, run := range []string{"a", "1", " ", "中", "!"} {
					text := strings.Repeat(run, n/len(run))
					tokens, err := m.Tokenize(text, inference.TokenizeOptions{})
					if err != nil {
						t.Fatalf("%d bytes of %q: %v", n, run, err)
					}
					if len(tokens) == 0 && strings.TrimSpace(run) != "" {
						t.Errorf("%d bytes of %q gave no token", n, run)
					}
				}
			}
		})
	}
}

func FuzzTokenize(f *testing.F) {
	m := sharedModel(f)
	for _, s := range []string{"", "Hello", "\xff\xfe", "<|im_start|>", "<|im_start|>\x00", strings.Repeat(" ", 300), "é日🙂"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, special bool) {
		tokens, err := m.Tokenize(text, inference.TokenizeOptions{ParseSpecial: special})
		if err != nil {
			if len(text) > MaxTextBytes || !utf8.ValidString(text) {
				return
			}
			t.Fatal(err)
		}
		back, err := m.Detokenize(tokens)
		if err != nil {
			t.Fatal(err)
		}
		// not every vocabulary has all control characters
		odd := func(r rune) bool { return r == utf8.RuneError || r != '\n' && !unicode.IsPrint(r) }
		if strings.IndexFunc(text, odd) < 0 && back != text {
			t.Errorf("%q came back as %q", text, back)
		}
	})
}
