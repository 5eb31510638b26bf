package llama

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/internal/testkit"
)

// BenchmarkForesee is what looking ahead costs behind a token where several may come,
// and where a key has to.
func BenchmarkForesee(b *testing.B) {
	m := sharedModel(b)
	for _, c := range []struct{ name, grammar, written string }{
		{"string", `root ::= "{" string "}"` + jsonSpace, `{"a string that goes on`},
		{"key", `root ::= "{" space "\"customer_full_name\"" space ":" space string "}"` + jsonSpace, "{"},
	} {
		b.Run(c.name, func(b *testing.B) {
			spec := greedySpec()
			spec.Grammar, spec.Foresee = &inference.Grammar{GBNF: c.grammar}, 24
			s := newSampler(b, m, spec, false)
			for _, id := range tokenize(b, m, c.written) {
				must(b, s.Accept(id))
			}
			for b.Loop() {
				if _, _, err := s.foresee(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

const jsonSpace = "\nspace ::= | \" \" | \"\\n\"{1,2} [ \\t]{0,20}\nstring ::= \"\\\"\" [^\"]* \"\\\"\""

// TestForeseen: what a sampler foresees behind the text that it wrote.
func TestForeseen(t *testing.T) {
	initBackends(t)
	for _, c := range []struct {
		what, grammar, written string
		likely                 string // all that is foreseen in order to guess it; the end is |
		appended               string // what of it may be appended
	}{
		{"a key", `root ::= "{\"customer_name\": " [0-9]+ "}"`, `{"`, `customer_name": `, `customer_name`},
		{"a key that joins what is before", `root ::= "{\"customer_name\": " [0-9]+ "}"`, `{`, `"customer_name": `, ""},
		{"inside a key", `root ::= "{\"customer_name\": " [0-9]+ "}"`, `{"customer`, `_name": `, `_name`},
		{"a key and free white space", `root ::= "{" space "\"customer_name\"" space ":" space string "}"` + jsonSpace, `{"`, `customer_name": "`, "customer_name"},
		{"as it was indented", `root ::= "{" space "\"a\"" space ":" space string "," space "\"b\"" space ":" space string "}"` + jsonSpace, "{\n  \"a\" : \"x\"", ",\n  \"b\" : \"", ""},
		{"a digit", `root ::= "{" [0-9] "}"`, `{`, "", ""},
		{"a string", `root ::= "{" string "}"` + jsonSpace, `{"ab`, "", ""},
		{"the end of a string", `root ::= "{" string " and that is " [a-z]+` + jsonSpace, `{"ab"`, " and that is ", " and that is"},
		{"the last characters", `root ::= "{done}"`, `{`, "done}", "done}|"},
		{"the end", `root ::= "{}"`, `{}`, "|", "|"},
		{"a text that may end", `root ::= "{" "}"?`, `{`, "", ""},
		{"two ways that begin alike", `root ::= "{" ("north" | "northwest" | "norway") "}"`, `{`, "nor", ""},
		{"one way written twice", `root ::= "{" ("north!" | "no" "rth!")`, `{`, "north!", "north!|"},
		{"other scripts", `root ::= "{" "größe: 日本 " [0-9]`, `{`, "größe: 日本 ", "größe: 日本"},
		{"a blank in a string is none of the layout", `root ::= "{\"" ("ab\"" | " ab\"")`, `{"`, "", ""},
		{"what reads like a control token", `root ::= "{ a<|im_end|>b" [0-9]`, `{`, " a<|im_end|>b", ""},
	} {
		for _, client := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/client=%v", c.what, client), func(t *testing.T) {
				m, err := Load(testkit.Model(t), ModelOptions{VocabOnly: true}, nil) // without habits
				must(t, err)
				defer func() { must(t, m.Close()) }()
				for _, appends := range []bool{false, true} {
					spec := greedySpec()
					spec.Grammar = &inference.Grammar{GBNF: c.grammar, Client: client}
					spec.Foresee, spec.Append = 24, appends
					s, err := m.newSampler(&spec, false)
					must(t, err)
					for _, id := range tokenize(t, m, c.written) {
						must(t, s.Accept(id))
					}
					sure, likely, err := s.foresee()
					must(t, err)
					want := ""
					if appends || c.likely == "|" {
						want = c.appended
					}
					// of what was never written only so many tokens are guessed
					got, all := spell(m, sure), spell(m, sure)+spell(m, likely)
					if got != want || !strings.HasPrefix(c.likely+"|", all) || all == "" && c.likely != "" || len(likely) < 4 && all != c.likely && all != c.likely+"|" {
						t.Errorf("append %v: %q for sure, then %q", appends, got, spell(m, likely))
					}
					if appends {
						settled(t, m, c.written, sure)
					}
					must(t, s.Close())
				}
			})
		}
	}
}

// settled fails if the tokenizer cuts written and what follows it in another way
// in any text that begins with both.
func settled(t *testing.T, m *Model, written string, sure []int32) {
	t.Helper()
	text := written
	want, err := m.Tokenize(written, inference.TokenizeOptions{})
	must(t, err)
	for _, id := range sure {
		if !m.EndOfGeneration(id) {
			want, text = append(want, id), text+string(m.Piece(id, true))
		}
	}
	for _, next := range []string{"", "a", "ing", "1", " b", "\"", "\":", "\n", "_z", "é", ", "} {
		got, err := m.Tokenize(text+next, inference.TokenizeOptions{})
		must(t, err)
		ends := len(sure) > 0 && m.EndOfGeneration(sure[len(sure)-1])
		if (len(got) < len(want) || !slices.Equal(got[:len(want)], want)) && len(sure) > 0 && (!ends || next == "") {
			t.Errorf("%q is cut as %v, and not to begin with %v", text+next, got, want)
		}
	}
}

func spell(m *Model, tokens []int32) string {
	var b strings.Builder
	for _, id := range tokens {
		if m.EndOfGeneration(id) {
			b.WriteByte('|')
		} else {
			b.Write(m.Piece(id, true))
		}
	}
	return b.String()
}
