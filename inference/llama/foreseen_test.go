package llama

import (
	"fmt"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/internal/testkit"
)

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
					must(t, s.Close())
				}
			})
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
