package chat

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"hearth/inference"
)

// openThought is a thought in a template's grammar that may end without its mark:
// an answer could be over inside of it.
var openThought = regexp.MustCompile(`(until-[0-9]+ )\(("(?:[^"\\]|\\.)*") \| \)`)

// formatGrammar returns what holds an answer to f behind a thought: the grammar of
// the template's parser or, where that has none for schemas, one that is made here.
func (m *Model) formatGrammar(f inference.Format, out *applyOutput) (*inference.Grammar, error) {
	if g := out.grammar(); g != nil && !g.Lazy {
		g.GBNF = openThought.ReplaceAllString(g.GBNF, "$1$2")
		return g, nil
	}
	opening, ok := m.answerOpening(out)
	if !ok {
		return nil, fmt.Errorf("%w: the chat template of %s offers no way to hold an answer to response_format", inference.ErrUnsupported, m.info.ID)
	}
	value, err := m.schemaGrammar(f)
	if err != nil {
		return nil, err
	}
	value = strings.TrimRight(rootRule.ReplaceAllString(value, "hearth-value ::="), "\n") + "\n"
	th := out.thinking()
	root := ""
	switch {
	case th == nil:
	case th.Open:
		root = "hearth-thought "
	case !strings.Contains(out.GenerationPrompt, th.Start):
		root = fmt.Sprintf("(%s hearth-thought)? ", quoteGBNF(th.Start))
	}
	blanks := ""
	if opening == "" {
		blanks = `[ \n]{0,2} ` // elsewhere they would be in front of a mark
	}
	gbnf := fmt.Sprintf("root ::= %s%s%s hearth-value\n", root, blanks, quoteGBNF(opening))
	if root != "" {
		gbnf += fmt.Sprintf("hearth-thought ::= hearth-without-0 %s\n", quoteGBNF(th.Ends[0])) + withoutRules("hearth-without", th.Ends)
	}
	return &inference.Grammar{GBNF: gbnf + value}, nil
}

// answerOpening returns what a model writes between its thought and the content of
// its answer, as the template shows it in a past answer. It is right if the
// template's parser then finds the content, and the thought before it.
func (m *Model) answerOpening(out *applyOutput) (string, bool) {
	const word, thought = "Zebrafish", "Xylophone"
	past := []applyMessage{{Role: inference.RoleUser, Content: "Hello"}}
	render := func(gen bool) string {
		o, err := m.apply(&applyInput{Messages: past, ToolChoice: inference.ToolNone, AddGenerationPrompt: gen, EnableThinking: true})
		if err != nil {
			return ""
		}
		return o.Prompt
	}
	before := render(true)
	past = append(past, applyMessage{Role: inference.RoleAssistant, Content: word})
	th := out.thinking()
	if th != nil {
		if i := strings.LastIndex(before, th.Start); i >= 0 && th.Open {
			before = before[:i]
		}
	}
	rest, ok := strings.CutPrefix(render(false), before)
	opening, _, found := strings.Cut(rest, word)
	if !ok || !found {
		return "", false
	}
	text, want := "", message{Content: word}
	if th != nil {
		if _, behind, closed := strings.Cut(opening, th.Ends[0]); closed {
			opening = behind
		}
		if text, want.Reasoning = thought+th.Ends[0], thought; !th.Open {
			text = th.Start + text
		}
	}
	opening = strings.TrimLeft(opening, " \n")
	p, err := m.lm.NewParser(out.raw, false)
	if err != nil {
		return "", false
	}
	g := &guardedParser{p: p}
	defer g.close()
	got, err := parserFunc(g)(text+opening+word, false)
	return opening, err == nil && got.Content == want.Content && got.Reasoning == want.Reasoning
}

// quoteGBNF writes text as a literal of a grammar.
func quoteGBNF(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		b.WriteString(escapeGBNF(r))
	}
	b.WriteByte('"')
	return b.String()
}

// escapeGBNF writes a character so that it means itself in literals and classes.
func escapeGBNF(r rune) string {
	if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
		return string(r)
	}
	return fmt.Sprintf(`\U%08X`, r)
}

// withoutRules returns rules for text in which none of the marks stands, the first
// of them name-0. They are the states of the marks' automaton (Aho and Corasick,
// "Efficient string matching", 1975) but for those at the end of a mark.
func withoutRules(name string, marks []string) string {
	// A state is what of the text's end begins a mark.
	states, index := []string{""}, map[string]int{"": 0}
	var alphabet []rune
	for _, mark := range marks {
		for i, r := range mark {
			if !slices.Contains(alphabet, r) {
				alphabet = append(alphabet, r)
			}
			if _, ok := index[mark[:i]]; !ok {
				index[mark[:i]] = len(states)
				states = append(states, mark[:i])
			}
		}
	}
	var b strings.Builder
	for i, state := range states {
		fmt.Fprintf(&b, "%s-%d ::= ", name, i)
		others := ""
		for _, r := range alphabet {
			next, whole := 0, false
			for text := state + string(r); text != ""; {
				if whole = whole || slices.Contains(marks, text); next == 0 {
					next = index[text] // of the longest end that is a state
				}
				_, n := utf8.DecodeRuneInString(text)
				text = text[n:]
			}
			if whole || next != 0 {
				others += escapeGBNF(r)
			}
			if !whole && next != 0 {
				fmt.Fprintf(&b, "| [%s] %s-%d ", escapeGBNF(r), name, next)
			}
		}
		fmt.Fprintf(&b, "| [^%s] %s-0\n", others, name)
	}
	return b.String()
}
