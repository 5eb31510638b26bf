package llama

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"hearth/inference"
)

// Bounds of grammars that a client sends.
const (
	// MaxClientGrammarBytes is the longest text.
	MaxClientGrammarBytes = 64 << 10
	// MaxGrammarElements is how many places (characters, classes, references) the
	// rules may have when repetitions are written out.
	MaxGrammarElements = 100_000
	// MaxGrammarRules is how many rules there may be, those of groups and
	// repetitions included.
	MaxGrammarRules = 20_000
	// MaxGrammarRepeat is the greatest bound of a repetition {m,n}.
	MaxGrammarRepeat = 2000
	// MaxGrammarRanges is how many ranges of characters all classes may have.
	MaxGrammarRanges = 20_000
)

// What stands at a place of a rule: a reference to rule n is n; a character of
// class n is gbnfClass-n.
const (
	gbnfEnd   = -1 // of an alternative
	gbnfClass = -2
)

// gbnfSpan is an inclusive range of code points.
type gbnfSpan struct{ lo, hi uint32 }

// gbnfAny is above every code point that bytes of UTF-8 can be taken for.
const gbnfAny = 1<<31 - 1

// gbnfRule is a rule of the text, or one made for a group or a repetition.
type gbnfRule struct {
	name   string // of the rule of the text that it belongs to
	at     int    // offset of the name
	alts   [][]int32
	loop   bool // made for a repetition without end: refers to itself at its end
	exists bool // it is defined, not only referred to
}

// gbnfGrammar is a grammar that was read. Rule root is where it begins.
type gbnfGrammar struct {
	rules   []gbnfRule
	classes [][]gbnfSpan
	root    int
}

// gbnfParser reads GBNF as llama.cpp does, with every bound checked on the way.
type gbnfParser struct {
	text     string
	pos      int
	depth    int
	rule     string // being read
	g        gbnfGrammar
	names    map[string]int
	interned map[string]int32
	elements int
	ranges   int
}

// parseGBNF reads a client's grammar. It refuses what is not GBNF, not closed in
// itself, or too large, with an *inference.InvalidError that names line and
// column. Time and memory are linear in the text and the bounds above.
func parseGBNF(text string) (*gbnfGrammar, error) {
	if len(text) > MaxClientGrammarBytes {
		return nil, inference.Invalid("grammar", "has %d bytes, and at most %d are possible: leave out what the answer does not need", len(text), MaxClientGrammarBytes)
	}
	p := &gbnfParser{text: text, names: map[string]int{}, interned: map[string]int32{}}
	if !utf8.ValidString(text) {
		at := 0
		for r, n := utf8.DecodeRuneInString(text); r != utf8.RuneError || n > 1; r, n = utf8.DecodeRuneInString(text[at:]) {
			at += n
		}
		return nil, p.fail(at, "this is not UTF-8: send the text in UTF-8")
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return nil, p.fail(i, "there is a zero byte: leave it out")
	}
	p.space(true)
	for p.pos < len(text) {
		if err := p.definition(); err != nil {
			return nil, err
		}
	}
	if err := p.complete(); err != nil {
		return nil, err
	}
	return &p.g, p.leftRecursion()
}

// fail is an error at an offset of the text.
func (p *gbnfParser) fail(at int, format string, args ...any) error {
	before := p.text[:min(at, len(p.text))]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return inference.Invalid("grammar", "line %d, column %d: %s", line, column, fmt.Sprintf(format, args...))
}

// expected is the error of something else than wanted at the cursor.
func (p *gbnfParser) expected(wanted string) error {
	if p.pos >= len(p.text) {
		return p.fail(p.pos, "the grammar ends where %s is expected", wanted)
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.pos:])
	return p.fail(p.pos, "%s is expected here, not %q", wanted, r)
}

func (p *gbnfParser) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

// space skips blanks and comments, and line ends where they mean nothing.
func (p *gbnfParser) space(lines bool) {
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == ' ' || c == '\t' || lines && (c == '\r' || c == '\n'):
			p.pos++
		case c == '#':
			if n := strings.IndexAny(p.text[p.pos:], "\r\n"); n >= 0 {
				p.pos += n
			} else {
				p.pos = len(p.text)
			}
		default:
			return
		}
	}
}

// name reads the name of a rule.
func (p *gbnfParser) name() (string, error) {
	from := p.pos
	for p.pos < len(p.text) && isName(p.text[p.pos]) {
		p.pos++
	}
	if p.pos == from {
		return "", p.expected("the name of a rule (letters, digits and -)")
	}
	return p.text[from:p.pos], nil
}

// refer returns the rule of a name, which may be defined later.
func (p *gbnfParser) refer(name string, at int) (int, error) {
	if id, ok := p.names[name]; ok {
		return id, nil
	}
	id, err := p.newRule(gbnfRule{name: name, at: at})
	p.names[name] = id
	return id, err
}

func (p *gbnfParser) newRule(r gbnfRule) (int, error) {
	if len(p.g.rules) >= MaxGrammarRules {
		return 0, p.fail(p.pos, "the grammar has more than %d rules, those of groups and repetitions included: lower the bounds of its repetitions", MaxGrammarRules)
	}
	p.g.rules = append(p.g.rules, r)
	return len(p.g.rules) - 1, nil
}

// count bounds what the rules unfold to.
func (p *gbnfParser) count(elements int) error {
	if p.elements += elements; p.elements > MaxGrammarElements {
		return p.fail(p.pos, "the rules have more than %d places when repetitions are written out: lower the bounds of repetitions, or write * or +", MaxGrammarElements)
	}
	return nil
}

// definition reads "name ::= alternatives" and the end of the line.
func (p *gbnfParser) definition() error {
	at := p.pos
	name, err := p.name()
	if err != nil {
		return err
	}
	p.space(false)
	if !strings.HasPrefix(p.text[p.pos:], "::=") {
		return p.expected("::=")
	}
	id, err := p.refer(name, at)
	if err != nil {
		return err
	}
	if p.g.rules[id].exists {
		return p.fail(at, "the rule %s is defined twice: join the two with |", short(name))
	}
	p.rule = name
	p.pos += len("::=")
	p.space(true)
	alts, err := p.alternatives(false)
	if err != nil {
		return err
	}
	r := &p.g.rules[id]
	r.at, r.alts, r.exists = at, alts, true
	if c := p.peek(); p.pos < len(p.text) && c != '\r' && c != '\n' {
		return p.expected("an element, | or the end of the line")
	}
	p.space(true)
	return nil
}

func (p *gbnfParser) alternatives(nested bool) ([][]int32, error) {
	var alts [][]int32
	for {
		alt, err := p.sequence(nested)
		if err != nil {
			return nil, err
		}
		if err := p.count(1); err != nil {
			return nil, err
		}
		alts = append(alts, alt)
		if p.peek() != '|' {
			return alts, nil
		}
		p.pos++
		p.space(true)
	}
}

// sequence reads elements up to |, ), or the end of the line.
func (p *gbnfParser) sequence(nested bool) ([]int32, error) {
	var seq []int32
	item := 0 // where the last element begins in seq
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		if strings.IndexByte("*+?{", c) >= 0 {
			var err error
			if seq, err = p.repetition(seq, item, nested); err != nil {
				return nil, err
			}
			continue
		}
		read, ok := p.element(c)
		if !ok {
			return seq, nil
		}
		more, err := read()
		if err != nil {
			return nil, err
		}
		if err := p.count(len(more)); err != nil {
			return nil, err
		}
		item = len(seq)
		seq = append(seq, more...)
		p.space(nested)
	}
	return seq, nil
}

// element returns what reads the element that begins with c.
func (p *gbnfParser) element(c byte) (read func() ([]int32, error), ok bool) {
	switch {
	case c == '"':
		return p.literal, true
	case c == '[':
		return p.class, true
	case c == '(':
		return p.group, true
	case c == '.':
		return p.any, true
	case c == '<' || c == '!':
		return p.token, true
	case isName(c):
		return p.reference, true
	}
	return nil, false
}

func (p *gbnfParser) token() ([]int32, error) {
	return nil, p.fail(p.pos, "tokens (<...>) cannot be named, since control tokens are not part of an answer: write the text in quotes")
}

func (p *gbnfParser) any() ([]int32, error) {
	p.pos++
	return p.oneOf([]gbnfSpan{{0, gbnfAny}})
}

func (p *gbnfParser) reference() ([]int32, error) {
	at := p.pos
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	id, err := p.refer(name, at)
	return []int32{int32(id)}, err
}

func (p *gbnfParser) group() ([]int32, error) {
	at := p.pos
	if p.depth >= MaxGrammarNesting {
		return nil, p.fail(at, "parentheses nest deeper than %d: give the inner part a rule of its own", MaxGrammarNesting)
	}
	p.depth++
	p.pos++
	p.space(true)
	alts, err := p.alternatives(true)
	if err != nil {
		return nil, err
	}
	if p.peek() != ')' {
		return nil, p.expected("an element, | or )")
	}
	p.pos++
	p.depth--
	id, err := p.newRule(gbnfRule{name: p.rule, at: at, alts: alts, exists: true})
	return []int32{int32(id)}, err
}

func (p *gbnfParser) literal() ([]int32, error) {
	from := p.pos
	p.pos++
	var seq []int32
	for p.peek() != '"' {
		if p.pos >= len(p.text) {
			return nil, p.fail(from, "this text has no closing quote")
		}
		r, err := p.char()
		if err != nil {
			return nil, err
		}
		one, err := p.oneOf([]gbnfSpan{{r, r}})
		if err != nil {
			return nil, err
		}
		seq = append(seq, one...)
	}
	p.pos++
	return seq, nil
}

func (p *gbnfParser) class() ([]int32, error) {
	from := p.pos
	p.pos++
	not := p.peek() == '^'
	if not {
		p.pos++
	}
	var spans []gbnfSpan
	for p.peek() != ']' {
		if p.pos >= len(p.text) {
			return nil, p.fail(from, "this class of characters has no closing bracket")
		}
		at := p.pos
		lo, err := p.char()
		if err != nil {
			return nil, err
		}
		hi := lo
		if p.peek() == '-' && p.pos+1 < len(p.text) && p.text[p.pos+1] != ']' {
			p.pos++
			if hi, err = p.char(); err != nil {
				return nil, err
			}
		}
		if hi < lo {
			return nil, p.fail(at, "this range of characters ends before it begins: swap its ends")
		}
		spans = append(spans, gbnfSpan{lo, hi})
	}
	if len(spans) == 0 {
		return nil, p.fail(from, "this class of characters is empty: write . for any character")
	}
	p.pos++
	spans = normalize(spans)
	if not {
		spans = invert(spans)
	}
	return p.oneOf(spans)
}

// char reads one character of a text or class, or an escape.
func (p *gbnfParser) char() (uint32, error) {
	at := p.pos
	if p.text[p.pos] != '\\' {
		r, size := utf8.DecodeRuneInString(p.text[p.pos:])
		p.pos += size
		return uint32(r), nil
	}
	if p.pos++; p.pos >= len(p.text) {
		return 0, p.expected("an escaped character")
	}
	c := p.text[p.pos]
	p.pos++
	switch c {
	case 't':
		return '\t', nil
	case 'r':
		return '\r', nil
	case 'n':
		return '\n', nil
	case '\\', '"', '[', ']', '-':
		return uint32(c), nil
	case 'x', 'u', 'U':
		return p.hex(at, map[byte]int{'x': 2, 'u': 4, 'U': 8}[c])
	}
	return 0, p.fail(at, `this escape is unknown: there are \t \r \n \\ \" \[ \] \- \xHH \uHHHH \UHHHHHHHH`)
}

func (p *gbnfParser) hex(at, digits int) (uint32, error) {
	var v uint32
	for range digits {
		c := p.peek()
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | uint32(c-'0')
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			v = v<<4 | (uint32(c|0x20) - 'a' + 10)
		default:
			return 0, p.fail(at, "this escape needs %d hexadecimal digits", digits)
		}
		p.pos++
	}
	if v > utf8.MaxRune {
		return 0, p.fail(at, "there is no character above U+10FFFF")
	}
	return v, nil
}

// oneOf returns the place for a character of spans, which are in order.
func (p *gbnfParser) oneOf(spans []gbnfSpan) ([]int32, error) {
	key := make([]byte, 0, 64)
	for _, s := range spans {
		key = fmt.Appendf(key, "%x-%x,", s.lo, s.hi)
	}
	id, ok := p.interned[string(key)]
	if !ok {
		if p.ranges += len(spans); p.ranges > MaxGrammarRanges {
			return nil, p.fail(p.pos, "the classes of characters have more than %d ranges: use fewer or wider ones", MaxGrammarRanges)
		}
		id = int32(len(p.g.classes))
		p.g.classes = append(p.g.classes, spans)
		p.interned[string(key)] = id
	}
	return []int32{gbnfClass - id}, nil
}

// normalize orders spans and joins those that touch.
func normalize(spans []gbnfSpan) []gbnfSpan {
	sort.Slice(spans, func(i, j int) bool { return spans[i].lo < spans[j].lo })
	out := spans[:1]
	for _, s := range spans[1:] {
		if last := &out[len(out)-1]; s.lo <= last.hi+1 {
			last.hi = max(last.hi, s.hi)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// invert returns what normalized spans leave out.
func invert(spans []gbnfSpan) []gbnfSpan {
	var out []gbnfSpan
	var next uint32
	for _, s := range spans {
		if s.lo > next {
			out = append(out, gbnfSpan{next, s.lo - 1})
		}
		next = s.hi + 1
	}
	return append(out, gbnfSpan{next, gbnfAny})
}

// short keeps a name of the client's within an error's bounds.
func short(name string) string {
	if len(name) > 40 {
		return name[:40] + "..."
	}
	return name
}
