package llama

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"hearth/inference"
	"hearth/internal/testkit"
)

// sound are grammars that llama.cpp takes, too.
var sound = map[string]string{
	"choice":              `root ::= "yes" | "no" | "yes, but"`,
	"classes":             `root ::= [a-fA-F0-9] [^"\\\x00-\x1f]* [-_\]] .`,
	"repetitions":         `root ::= "ab"{2} [0-9]{1,3} ("x" | "y"){0,2} "z"{2,} "q"? "end"{0}`,
	"groups":              "root ::= (\n  (\"a\" | # a comment\n   \"b\") (\"c\" | \"d\")+\n)* \".\"",
	"not ascii":           `root ::= "é" ("日本" | "日曜")+ [α-ω]* "🙂"`,
	"escapes":             `root ::= "\"\\\n\t" [\x41-\x43\u00e9\U0001F600]+ "\[\-\]"`,
	"empty alternatives":  "root ::= a b a\na ::= \"x\" | \"\"\nb ::= | \"y\" b",
	"ambiguous":           "root ::= a | b | \"t\" a\na ::= (\"t\" | \"th\" | \"the\" | \"he\" | \"e\")+\nb ::= \"the\"{1,4}",
	"nullable inside":     "root ::= (\"a\"? \"b\"?)* \"c\"",
	"nested":              "root ::= e\ne ::= \"(\" e \")\" e | \"x\" |",
	"right recursion":     "root ::= \"a\" root | \"b\"",
	"recursion in middle": "root ::= \"a\" root \"b\" | \"c\" | \"a\" root \"d\"",
	"repeated repetition": `root ::= ("a"*)+ "b"{2}{2}`,
	"only empty":          `root ::= ""`,
}

// grammars returns sound, and the examples of llama.cpp.
func grammars(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testkit.Templates(t), "..", "..", "grammars", "*.gbnf"))
	if err != nil || len(files) < 8 {
		t.Fatalf("found %d example grammars, %v", len(files), err)
	}
	all := map[string]string{}
	for name, text := range sound {
		all[name] = text
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = string(text)
	}
	return all
}

func grammarSampler(t testing.TB, m *Model, gbnf string, client bool) *Sampler {
	t.Helper()
	spec := greedySpec()
	spec.Grammar = &inference.Grammar{GBNF: gbnf, Client: client}
	return newSampler(t, m, spec, false)
}

func allowed(t testing.TB, s *Sampler) []uint8 {
	t.Helper()
	mask, err := s.Allowed()
	if err != nil {
		t.Fatal(err)
	}
	return mask
}

// begins reports whether b is the beginning of UTF-8.
func begins(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return !utf8.FullRune(b)
		}
		b = b[n:]
	}
	return true
}

// At every place of random texts, the same tokens are allowed as by llama.cpp,
// but for control tokens, which have no text that an answer shows, for the end in
// the middle of a character, for what is not UTF-8, and for beginnings of
// characters, which llama.cpp refuses before an inverted class where one of those
// that may come is not in it.
func TestClientGrammarIsAsLlamaCpp(t *testing.T) {
	m := sharedModel(t)
	r := rand.New(rand.NewPCG(1, 2))
	for name, gbnf := range grammars(t) {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				theirs, ours := grammarSampler(t, m, gbnf, false), grammarSampler(t, m, gbnf, true)
				var text []byte
				inverted := strings.Contains(gbnf, "[^")
				for range 12 {
					want, got := allowed(t, theirs), allowed(t, ours)
					var next []int32
					end := false
					for tok := range want {
						switch {
						case m.EndOfGeneration(int32(tok)):
							if !utf8.Valid(text) {
								want[tok] = 0
							}
							end = end || want[tok] != 0
						case got[tok] != want[tok] && !begins(slices.Concat(text, m.Piece(int32(tok), false))):
							want[tok] = 0
						case got[tok] != want[tok] && inverted && !utf8.Valid(slices.Concat(text, m.Piece(int32(tok), false))):
							want[tok] = got[tok]
						case len(m.Piece(int32(tok), false)) == 0:
							want[tok] = 0
						case want[tok] != 0:
							next = append(next, int32(tok))
						}
						if got[tok] != want[tok] {
							t.Fatalf("after %q, token %d %q: allowed %d, llama.cpp %d", text, tok, m.Piece(int32(tok), true), got[tok], want[tok])
						}
					}
					if len(next) == 0 {
						if !end {
							t.Fatalf("after %q nothing is possible", text)
						}
						break
					}
					tok := next[r.IntN(len(next))]
					must(t, theirs.Accept(tok))
					must(t, ours.Accept(tok))
					text = append(text, m.Piece(tok, false)...)
				}
			}
		})
	}
}

func TestClientGrammarRefuses(t *testing.T) {
	m := sharedModel(t)
	deep := strings.Repeat("(", 30_000)
	for name, test := range map[string]struct{ gbnf, why string }{
		"no root":              {"a ::= \"x\"", "no rule root"},
		"blank":                {"# nothing\n", "no rule root"},
		"undefined":            {"root ::= \"a\"\n  | b", "line 2, column 3: the name of a rule"},
		"undefined rule":       {"root ::= (\"a\"\n  | bb)", "line 2, column 5: the rule bb is not defined"},
		"defined twice":        {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: the rule root is defined twice"},
		"no definition":        {"root = \"a\"", "column 6: ::= is expected here, not '='"},
		"two on a line":        {"root ::= \"a\" ) \"b\"", "column 14: an element, | or the end of the line is expected"},
		"open group":           {"root ::= (\"a\"", "an element, | or ) is expected"},
		"open text":            {"root ::= \"a", "column 10: this text has no closing quote"},
		"open class":           {"root ::= [a", "column 10: this class of characters has no closing bracket"},
		"ends with an escape":  {`root ::= "\`, "escaped character"},
		"unknown escape":       {`root ::= "é\q"`, "column 12: this escape is unknown"},
		"short escape":         {`root ::= "\u00g0"`, "needs 4 hexadecimal digits"},
		"too high":             {`root ::= [\U00110000]`, "no character above U+10FFFF"},
		"empty class":          {"root ::= [^]", "class of characters is empty"},
		"backward range":       {"root ::= [z-a]", "ends before it begins"},
		"nothing repeated":     {"root ::= *", "nothing before this to be repeated"},
		"empty text repeated":  {`root ::= ""+`, "nothing before this to be repeated"},
		"token":                {"root ::= <|im_end|>", "tokens (<...>) cannot be named"},
		"token by number":      {"root ::= !<[2]>", "tokens (<...>) cannot be named"},
		"not UTF-8":            {"root ::= \"ab\xff\"", "column 13: this is not UTF-8"},
		"zero byte":            {"root ::= \"\x00\"", "zero byte"},
		"too long":             {"root ::= \"" + strings.Repeat("a", MaxClientGrammarBytes) + "\"", fmt.Sprint(MaxClientGrammarBytes)},
		"deep":                 {"root ::= " + deep, "deeper than 128"},
		"deep and closed":      {"root ::= " + deep + `"a"` + strings.Repeat(")", 30_000), "deeper than 128"},
		"many times":           {`root ::= "a"{1,100000}`, "at most 2000 times"},
		"times without end":    {`root ::= "a"{99999999999999999999}`, "at most 2000 times"},
		"backward times":       {`root ::= "a"{3,2}`, "ends before it begins"},
		"open times":           {`root ::= "a"{3`, "ends where } or a comma"},
		"times of times":       {`root ::= (("a"{2000} "b"){2000} [cd]{0,2000}` + strings.Repeat(` "e"{2000}`, 60) + ")", "more than 100000 places"},
		"optional times":       {`root ::= ` + strings.Repeat(`"a"{0,2000} `, 100), "more than"},
		"many rules":           {"root ::= " + strings.Repeat(`("")?`, 12_000), "20000 rules"},
		"many ranges":          {"root ::= " + manyRanges(), "20000 ranges"},
		"left recursion":       {"root ::= e\n\ne ::= e \"+\" e | \"1\"", "line 3, column 1: the rule e may begin with itself"},
		"indirect":             {"root ::= a\na ::= b \"x\"\nb ::= c\nc ::= \"c\" | a \"y\"", "the rule a may begin with itself (by way of c, b, a)"},
		"behind what is empty": {"root ::= s root \"x\" | \"y\"\ns ::= \" \"*", "the rule root may begin with itself"},
		"behind two":           {"root ::= s t root \"x\" | \"y\"\ns ::= t t\nt ::= |\"t\"", "the rule root may begin with itself"},
		"in a repetition":      {"root ::= \"a\"? (root)* \"b\"", "the rule root may begin with itself"},
		"itself alone":         {"root ::= root", "the rule root may begin with itself"},
		"in an unused rule":    {"root ::= \"a\"\nx ::= x", "the rule x may begin with itself"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := greedySpec()
			spec.Grammar = &inference.Grammar{GBNF: test.gbnf, Client: true}
			s, err := m.newSampler(&spec, false)
			if err == nil {
				must(t, s.Close())
			}
			var inv *inference.InvalidError
			if !errors.As(err, &inv) || inv.Field != "grammar" || !strings.Contains(inv.Reason, test.why) || len(inv.Reason) > 500 {
				t.Errorf("got %v, want one with %q", err, test.why)
			}
		})
	}
}

func manyRanges() string {
	var b strings.Builder
	for i := range 10_800 {
		fmt.Fprintf(&b, `[^%c]`, 0x3400+i)
	}
	return b.String()
}

// Grammars that llama.cpp follows for exponential time, or for ever: here they
// are followed, or end with an error that says what to do, and quickly.
func TestClientGrammarIsBounded(t *testing.T) {
	m := sharedModel(t)
	chain := func(n int, line string) string {
		var b strings.Builder
		b.WriteString("root ::= r0\n")
		for i := range n {
			fmt.Fprintf(&b, line, i, i+1)
		}
		fmt.Fprintf(&b, "r%d ::= \"a\" |\n", n)
		return b.String()
	}
	for name, test := range map[string]struct {
		gbnf, text string
		why        string // "" where the text has to fit
	}{
		"doubled references":  {chain(60, "r%d ::= r%[2]d | r%[2]d\n"), "a", ""},
		"doubled and empty":   {chain(60, "r%d ::= r%[2]d r%[2]d\n"), strings.Repeat("a", 200), "remember too much"},
		"ambiguous sums":      {"root ::= \"a\" root root | \"a\"", strings.Repeat("a", 301), ""},
		"every split":         {"root ::= (\"a\" | \"aa\" | \"aaa\")* \"b\"", strings.Repeat("a", 500) + "b", ""},
		"optional in a row":   {"root ::= " + strings.Repeat(`"a"? `, 500), strings.Repeat("a", 500), ""},
		"repeated and empty":  {`root ::= ((("a"?)* "b"?)* ("c"*)*)* "d"`, "abccbacbd", ""},
		"never ends":          {"root ::= \"a\" root", strings.Repeat("a", 1000), ""},
		"nests":               {"root ::= \"(\" root \")\" | \"x\"", strings.Repeat("(", 3000) + "x" + strings.Repeat(")", 3000), ""},
		"nests without bound": {"root ::= \"(\" root \")\" | \"x\"", strings.Repeat("(", 70_000), "remember too much"},
		"many stacks":         {"root ::= a \"b\" | a \"c\" | a \"d\"\na ::= \"x\" a \"y\" | \"x\" a \"z\" | \"x\" a a | \"x\"", strings.Repeat("x", 150) + strings.Repeat("y", 10), ""},
		"long row":            {"root ::= " + strings.Repeat("(\"\" ", 100) + strings.Repeat(`"a"? `, 12_000) + strings.Repeat(")", 100), strings.Repeat("a", 50), ""},
		"all in a row":        {"root ::= " + strings.Repeat(".? ", 500), strings.Repeat("a", 100), "too ambiguous"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := greedySpec()
			spec.Grammar = &inference.Grammar{GBNF: test.gbnf, Client: true}
			s, err := m.newSampler(&spec, false)
			start := time.Now()
			if err == nil {
				defer func() { must(t, s.Close()) }()
				err = follow(m, s, test.text)
			}
			t.Logf("%v", time.Since(start))
			switch {
			case test.why == "" && err != nil:
				t.Error(err)
			case test.why != "" && (err == nil || !strings.Contains(err.Error(), test.why)):
				t.Errorf("got %v, want one with %q", err, test.why)
			}
		})
	}
}

// follow accepts a text byte by byte, and asks every hundredth time which of all
// tokens are allowed.
func follow(m *Model, s *Sampler, text string) error {
	for i := range len(text) {
		tokens, err := m.Tokenize(text[i:i+1], inference.TokenizeOptions{})
		if err != nil {
			return err
		}
		for _, tok := range tokens {
			if err := s.Accept(tok); err != nil {
				return fmt.Errorf("at %d: %w", i, err)
			}
		}
		if i%100 == 99 {
			if _, err := s.Allowed(); err != nil {
				return fmt.Errorf("all tokens at %d: %w", i, err)
			}
		}
	}
	return nil
}

// A class that is inverted allows the first bytes of every character that it
// holds, also of those that share them with what it leaves out.
func TestClientGrammarCompletesCharacters(t *testing.T) {
	m := sharedModel(t)
	s := grammarSampler(t, m, `root ::= [^é]`, true)
	var tokens []int32 // of è, byte by byte
	for _, b := range []byte("è") {
		for tok := range int32(m.info.Vocabulary) {
			if p := m.Piece(tok, false); len(p) == 1 && p[0] == b {
				tokens = append(tokens, tok)
				break
			}
		}
	}
	if len(tokens) != 2 {
		t.Fatalf("the vocabulary has %v for its bytes", tokens)
	}
	must(t, s.Accept(tokens[0]))
	for tok, ok := range allowed(t, s) {
		p := m.Piece(int32(tok), false)
		if fits := len(p) == 1 && p[0] >= 0x80 && p[0] < 0xC0 && p[0] != 0xA9; fits != (ok != 0) {
			t.Errorf("token %d %q: allowed %d", tok, p, ok)
		}
	}
	must(t, s.Accept(tokens[1]))
	eog := tokenize(t, m, "<|im_end|>")[0]
	must(t, s.Accept(eog))
}

// Where the prompt ends in a thinking block, a client's grammar waits for its
// end, and the answer cannot end before.
func TestClientGrammarWaitsForThinking(t *testing.T) {
	m := sharedModel(t)
	spec := greedySpec()
	spec.Grammar = &inference.Grammar{GBNF: `root ::= "yes"`, Client: true, Thinking: &inference.Thinking{Start: "<think>", Ends: []string{"</think>"}, Open: true, Budget: -1}}
	s := newSampler(t, m, spec, false)
	eog := tokenize(t, m, "<|im_end|>")[0]
	word := tokenize(t, m, " no")[0]
	if mask := allowed(t, s); mask[eog] != 0 || mask[word] == 0 {
		t.Error("inside the block: the end is allowed, or a word is not")
	}
	for _, tok := range tokenize(t, m, "I think no</think>") {
		must(t, s.Accept(tok))
	}
	if mask := allowed(t, s); mask[eog] != 0 || mask[word] != 0 || mask[tokenize(t, m, "yes")[0]] == 0 {
		t.Error("behind the block the grammar does not hold")
	}
	for _, tok := range tokenize(t, m, "yes<|im_end|>") {
		must(t, s.Accept(tok))
	}
}

func TestClientGrammarFailsItsRowOnly(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 2, Unified: true})
	index := prompt(t, c, 0, 0, tokenize(t, m, "The sky is"))
	s := grammarSampler(t, m, `root ::= "\uFFFF"`, true) // byte by byte
	bounded := grammarSampler(t, m, "root ::= x\nx ::= \"x\" x \"y\" | \"x\"", true)
	for range 70_000 {
		if err := bounded.Accept(tokenize(t, m, "x")[0]); err != nil {
			break
		}
	}
	free := newSampler(t, m, greedySpec(), false)
	out := make([]inference.Sampled, 3)
	must(t, c.Sample([]inference.SampleRow{{Index: index, Sampler: s}, {Index: index, Sampler: bounded}, {Index: index, Sampler: free}}, out))
	if out[0].Err != nil || out[2].Err != nil {
		t.Errorf("the other rows: %v, %v", out[0].Err, out[2].Err)
	}
	var inv *inference.InvalidError
	if !errors.As(out[1].Err, &inv) || inv.Field != "grammar" || !strings.Contains(inv.Reason, "remember too much") {
		t.Errorf("the bounded row: %v", out[1].Err)
	}
}

func FuzzGBNF(f *testing.F) {
	m := sharedModel(f)
	for _, g := range grammars(f) {
		f.Add(g, "ab(1")
	}
	f.Add("root ::= <a> [^]", "")
	f.Add("root ::= [^a]*", "\x00a")
	f.Add("root ::= (\"a\"{2,3}|b?)*\nb::=[^\\x41-\\u00e9]", "aaa")
	f.Fuzz(func(t *testing.T, gbnf, text string) {
		spec := greedySpec()
		spec.Grammar = &inference.Grammar{GBNF: gbnf, Client: true}
		s, err := m.newSampler(&spec, false)
		if err != nil {
			if !errors.Is(err, inference.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		defer func() { must(t, s.Close()) }()
		tokens, err := m.Tokenize(text, inference.TokenizeOptions{})
		if err != nil {
			return
		}
		// what the mask allows can be accepted, and nothing else
		for _, tok := range tokens[:min(len(tokens), 8)] {
			mask, err := s.Allowed()
			if err != nil {
				return
			}
			if err := s.Accept(tok); (err == nil) != (mask[tok] != 0) {
				t.Fatalf("token %d %q: allowed %d, accepted: %v", tok, m.Piece(tok, true), mask[tok], err)
			} else if err != nil {
				return
			}
		}
	})
}
