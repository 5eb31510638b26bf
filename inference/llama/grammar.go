package llama

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"hearth/inference"
)

// Bounds of grammars, wherever they come from.
const (
	// MaxGrammarBytes is the longest GBNF text.
	MaxGrammarBytes = 256 << 10
	// MaxGrammarNesting is how deep parentheses may nest; the parser recurses.
	MaxGrammarNesting = 128
	// MaxGrammarExpansion bounds what repetitions ({m,n}) unfold to: the sum of
	// times × bytes of what is repeated.
	MaxGrammarExpansion = 1 << 20
	maxTriggers         = 64
	maxTriggerBytes     = 4096
	maxPrefillBytes     = 16 << 10
	maxMarkBytes        = 256
)

// gbnfScanner walks a GBNF text far enough to bound what its parser will do.
type gbnfScanner struct {
	text      string
	item      int   // where the item before the cursor begins
	groups    []int // where the open groups begin
	expansion int
}

// checkGBNF refuses what is too large or too deep to be parsed safely. That the
// grammar is well formed is for llama.cpp to say.
func checkGBNF(text string) error {
	if len(text) > MaxGrammarBytes {
		return fmt.Errorf("the grammar has %d bytes, and at most %d are possible: make the schema smaller, or offer fewer tools at once", len(text), MaxGrammarBytes)
	}
	if strings.ContainsRune(text, 0) {
		return errors.New("the grammar holds a zero byte")
	}
	if strings.HasPrefix(text, "%llguidance") {
		return errors.New("the grammar is not in GBNF")
	}
	s := &gbnfScanner{text: text}
	for i := 0; i < len(text); {
		next, err := s.step(i)
		if err != nil {
			return err
		}
		i = next
	}
	return nil
}

// step reads what begins at i and returns where the next thing begins.
func (s *gbnfScanner) step(i int) (int, error) {
	switch c := s.text[i]; c {
	case '#':
		if n := strings.IndexByte(s.text[i:], '\n'); n >= 0 {
			return i + n, nil
		}
		return len(s.text), nil
	case '"', '[':
		s.item = i
		return skipQuoted(s.text, i, map[byte]byte{'"': '"', '[': ']'}[c]), nil
	case '(':
		if len(s.groups) >= MaxGrammarNesting {
			return 0, fmt.Errorf("the grammar nests parentheses deeper than %d", MaxGrammarNesting)
		}
		s.groups = append(s.groups, i)
		return i + 1, nil
	case ')':
		if n := len(s.groups); n > 0 {
			s.item, s.groups = s.groups[n-1], s.groups[:n-1]
		}
		return i + 1, nil
	case '{':
		end := strings.IndexByte(s.text[i:], '}')
		if end < 0 {
			return len(s.text), nil
		}
		times, err := repetitions(s.text[i+1 : i+end])
		if err != nil {
			return 0, err
		}
		s.expansion += min(times, MaxGrammarExpansion) * max(1, i-s.item)
		if s.expansion > MaxGrammarExpansion {
			return 0, fmt.Errorf("the grammar's repetitions unfold to more than %d places: lower maxLength, maxItems or the bounds in patterns", MaxGrammarExpansion)
		}
		return i + end + 1, nil
	case ' ', '\t', '\r', '\n', '|', '*', '+', '?':
		return i + 1, nil
	default:
		s.item = i
		for i++; i < len(s.text) && isName(s.text[i]); i++ {
		}
		return i, nil
	}
}

func isName(c byte) bool {
	return c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func skipQuoted(text string, i int, end byte) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case end:
			return i + 1
		}
	}
	return len(text)
}

// unboundedRepeat is llama.cpp's limit: it takes a greater upper bound for none,
// and refuses a greater lower one.
const unboundedRepeat = 2000

// repetitions returns to how many places "m", "m," or "m,n" unfolds. An upper
// bound below the lower one makes llama.cpp count down past zero, and on for
// ever.
func repetitions(bounds string) (int, error) {
	lower, upper, ranged := strings.Cut(bounds, ",")
	least, err := strconv.ParseUint(strings.TrimSpace(lower), 10, 31)
	if err != nil {
		return 0, fmt.Errorf("the repetition {%.20s} is not possible", bounds)
	}
	most := least
	if upper = strings.TrimSpace(upper); ranged && upper != "" {
		if most, err = strconv.ParseUint(upper, 10, 31); err != nil {
			return 0, fmt.Errorf("the repetition {%.20s} is not possible", bounds)
		}
		if most < least {
			return 0, fmt.Errorf("the repetition {%.20s} ends before it begins", bounds)
		}
		if most > unboundedRepeat {
			most = least
		}
	}
	return int(most) + 1, nil
}

// packedGrammar is a grammar as C takes it: texts one after the other.
type packedGrammar struct {
	text        []byte
	len         []int64
	kind, token []int32
	lazy        bool
}

// packGrammar checks g and lays it out for C; nil gives an empty layout.
func packGrammar(g *inference.Grammar) (packedGrammar, error) {
	var p packedGrammar
	if g == nil {
		return p, nil
	}
	invalid := func(format string, args ...any) (packedGrammar, error) {
		return packedGrammar{}, inference.Invalid("grammar", format, args...)
	}
	if g.GBNF == "" && g.Thinking == nil {
		return invalid("the grammar is empty")
	}
	gbnf := g.GBNF
	if g.Client {
		if g.Lazy || len(g.Triggers) > 0 || g.Prefill != "" {
			return invalid("a client's grammar has neither triggers nor text before the answer")
		}
		gbnf = "" // it goes its own way: clientRules
	} else if err := checkGBNF(gbnf); err != nil {
		return invalid("%v", err)
	}
	if len(g.Prefill) > maxPrefillBytes {
		return invalid("the text before the answer has %d bytes, at most %d are possible", len(g.Prefill), maxPrefillBytes)
	}
	if len(g.Triggers) > maxTriggers {
		return invalid("at most %d triggers are possible, got %d", maxTriggers, len(g.Triggers))
	}
	if g.Lazy && len(g.Triggers) == 0 {
		return invalid("a lazy grammar needs a trigger")
	}
	p.lazy = g.Lazy
	p.text = append(append(p.text, gbnf...), g.Prefill...)
	p.len = append(p.len, int64(len(gbnf)), int64(len(g.Prefill)))
	for i, t := range g.Triggers {
		if t.Kind < inference.TriggerToken || t.Kind > inference.TriggerPatternFull {
			return invalid("trigger %d has the unknown kind %d", i, t.Kind)
		}
		if len(t.Value) > maxTriggerBytes || t.Kind != inference.TriggerToken && t.Value == "" {
			return invalid("trigger %d must have 1 to %d bytes, got %d", i, maxTriggerBytes, len(t.Value))
		}
		p.text = append(p.text, t.Value...)
		p.len = append(p.len, int64(len(t.Value)))
		p.kind, p.token = append(p.kind, int32(t.Kind)), append(p.token, t.Token)
	}
	return p, p.think(g.Thinking)
}

// think adds the marks of a thinking block, as triggers of kinds of their own.
func (p *packedGrammar) think(t *inference.Thinking) error {
	if t == nil {
		return nil
	}
	if len(t.Ends) == 0 || len(t.Ends) > maxTriggers {
		return inference.Invalid("grammar", "a thinking block needs 1 to %d texts that end it, got %d", maxTriggers, len(t.Ends))
	}
	kind := int32(C.HEARTH_MARK_THINK)
	if t.Open {
		kind = C.HEARTH_MARK_THINK_OPEN
	}
	for i, text := range append([]string{t.Start}, t.Ends...) {
		if text == "" || len(text) > maxMarkBytes {
			return inference.Invalid("grammar", "the mark %d of a thinking block must have 1 to %d bytes, got %d", i, maxMarkBytes, len(text))
		}
		p.text = append(p.text, text...)
		p.len = append(p.len, int64(len(text)))
		p.kind, p.token = append(p.kind, kind), append(p.token, int32(min(t.Budget, math.MaxInt32)))
		kind = C.HEARTH_MARK_THINK_END
	}
	return nil
}

// SchemaToGrammar turns a JSON Schema into a GBNF grammar that compiles. A schema
// that is too large, too deep or cannot be expressed is an
// *inference.InvalidError. Upper bounds (maxLength, maxItems) above 2000 are not
// enforced by the grammar.
func (m *Model) SchemaToGrammar(schema []byte) (string, error) {
	const field = "json_schema"
	if err := checkSchema(field, schema); err != nil {
		return "", err
	}
	if err := checkFeasible(field, schema); err != nil {
		return "", err
	}
	cschema := C.CString(string(schema))
	defer C.free(ptr(cschema))
	var cerr *C.char
	text := C.hearth_schema_to_grammar(cschema, &cerr)
	if text == nil {
		return "", inference.Invalid(field, "the schema cannot be turned into a grammar: %v", takeError(&cerr))
	}
	gbnf := takeString(text)
	if err := checkGBNF(gbnf); err != nil {
		return "", inference.Invalid(field, "%v", err)
	}
	err := m.use(func(h *C.hearth_model) error {
		cgbnf := C.CString(gbnf)
		defer C.free(ptr(cgbnf))
		if C.hearth_grammar_check(h, cgbnf, &cerr) != 0 {
			return inference.Invalid(field, "the schema cannot be turned into a grammar: %v", takeError(&cerr))
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return gbnf, nil
}
