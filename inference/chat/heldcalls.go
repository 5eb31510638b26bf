package chat

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"hearth/inference"
)

// A bare call (barecall.go) is free text for a grammar that begins at the mark of
// the template: names of arguments, types and brackets are as the model writes them,
// and small models write them wrong. Here the grammar learns to begin at a bare call,
// too: where the answer is so far
//
//	{"name": "a_tool_of_the_request", "arguments
//
// with or without a fence around it, the rest is held to that tool's schema and to
// the end of the call. Before that nothing is held, so an answer that is no call is
// what it would have been; if the key goes on to be another one, all may follow.

// spaceRule is white space as the rules of a schema have it between two marks, and
// spacePattern the same as a regular expression.
const (
	spaceRule    = `( " " | "\n"{1,2} [ \t]{0,20} )?`
	spacePattern = `(?: |\n{1,2}[ \t]{0,20})?`
)

// maxNamesPattern bounds the names of tools in one trigger, in bytes.
const maxNamesPattern = 3000

// holdBareCalls lets the grammar of p begin at a bare call of one of the tools, too.
// Where the rules of both together would be too large, the grammar stays as it is.
func (m *Model) holdBareCalls(p *prepared, tools []inference.Tool) error {
	object, err := m.callObject(tools)
	if err != nil {
		return err
	}
	names := make([]string, len(tools))
	for i := range tools {
		names[i] = tools[i].Name
	}
	g := &inference.Grammar{Lazy: true}
	root := "root ::= held-fence held-bare held-end | held-bare"
	if p.grammar != nil {
		if !p.grammar.Lazy {
			return nil // all that the model writes is held already
		}
		root += " | held-marked"
		g.GBNF = strings.TrimRight(rootRule.ReplaceAllString(p.grammar.GBNF, "held-marked ::="), "\n") + "\n"
		g.Triggers = slices.Clone(p.grammar.Triggers)
	}
	g.GBNF += root + "\n" +
		"held-fence ::= \"```\" \"json\"? [ \\r]* \"\\n\" [ \\t\\r\\n]*\n" +
		"held-end ::= [ \\n]{0,2} (\"```\" \"\\n\"?)?\n" +
		"held-bare ::= held-hearth-object | held-other\n" +
		fmt.Sprintf(`held-other ::= "{" %[1]s "\"name\"" %[1]s ":" %[1]s "\"" ("%[2]s") "\"" %[1]s "," %[1]s "\"arguments" [^"] .*`, spaceRule, strings.Join(names, `" | "`)) + "\n" +
		renameRules(object, "held-")
	g.Triggers = append(g.Triggers, bareTriggers(names, p.thinking)...)
	if len(g.GBNF) <= maxGrammarBytes {
		p.grammar = g
	}
	return nil
}

// bareTriggers begin the grammar at a bare call of one of the tools, which begins
// the answer.
func bareTriggers(names []string, th *inference.Thinking) []inference.Trigger {
	before := ""
	if th != nil { // the text that is searched has the mark behind the thought
		var ends []string
		for _, end := range th.Ends {
			ends = append(ends, regexp.QuoteMeta(end))
		}
		before = `(?:[\s\S]*(?:` + strings.Join(ends, "|") + `))?`
	}
	var out []inference.Trigger
	for len(names) > 0 {
		n, size := 0, 0
		for n < len(names) && (n == 0 || size+len(names[n]) < maxNamesPattern) {
			size += len(names[n]) + 1
			n++
		}
		out = append(out, inference.Trigger{Kind: inference.TriggerPatternFull, Value: fmt.Sprintf(
			`^%[1]s\s*((?:`+"```"+`(?:json)?[ \r]*\n\s*)?\{%[2]s"name"%[2]s:%[2]s"(?:%[3]s)"%[2]s,%[2]s"arguments[\s\S]*)$`,
			before, spacePattern, strings.Join(names[:n], "|"),
		)})
		names = names[n:]
	}
	return out
}

// renameRules puts prefix before the names of all rules, so that they can stand
// beside those of another grammar.
func renameRules(gbnf, prefix string) string {
	var b strings.Builder
	for i := 0; i < len(gbnf); {
		end := i + 1
		switch c := gbnf[i]; {
		case c == '"' || c == '[':
			closing := byte('"')
			if c == '[' {
				closing = ']'
			}
			for ; end < len(gbnf) && gbnf[end] != closing; end++ {
				if gbnf[end] == '\\' {
					end++
				}
			}
			end = min(end+1, len(gbnf))
		case c == '{':
			for ; end < len(gbnf) && gbnf[end] != '}'; end++ {
			}
		case c == '#':
			for ; end < len(gbnf) && gbnf[end] != '\n'; end++ {
			}
		case isRuleName(c):
			for ; end < len(gbnf) && isRuleName(gbnf[end]); end++ {
			}
			b.WriteString(prefix)
		}
		b.WriteString(gbnf[i:end])
		i = end
	}
	return b.String()
}

func isRuleName(c byte) bool {
	return c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
