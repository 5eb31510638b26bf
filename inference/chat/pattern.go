package chat

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"

	"hearth/inference"
)

// enforceablePattern refuses regular expressions that the grammar compiler would
// replace by "any string", and those whose strings could break out of the JSON
// string they stand in: it writes what they match as it is, unescaped.
func enforceablePattern(at, p string) error {
	if len(p) < 2 || p[0] != '^' || p[len(p)-1] != '$' {
		return inference.Invalid(at, "must begin with ^ and end with $, so that it describes the whole string")
	}
	if err := enforceableEscapes(at, p); err != nil {
		return err
	}
	// The anchors come off before parsing, so that any that is left is inside.
	re, err := syntax.Parse(p[1:len(p)-1], syntax.Perl)
	if err != nil {
		why := err.Error()
		if e := (*syntax.Error)(nil); errors.As(err, &e) {
			why = fmt.Sprintf("%s: %.100q", e.Code, e.Expr) // the expression may be long
		}
		return inference.Invalid(at, "is not a regular expression that can be enforced: %s", why)
	}
	return enforceableNode(at, re)
}

func enforceableEscapes(at, p string) error {
	class := false
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '[':
			class = true
		case ']':
			class = false
		case '(':
			if !class && strings.HasPrefix(p[i:], "(?") && !strings.HasPrefix(p[i:], "(?:") {
				return inference.Invalid(at, "lookaround, flags and named groups cannot be enforced")
			}
		case '\\':
			if i++; i == len(p) {
				return inference.Invalid(at, "ends in a backslash")
			}
			allowed := `^$.[](){}|*+?-x`
			if class {
				allowed = `[]-x`
			}
			if strings.IndexByte(allowed, p[i]) < 0 {
				return inference.Invalid(at, `\%c cannot be enforced: write the characters out, as in [0-9] for \d`, p[i])
			}
		}
	}
	return nil
}

func enforceableNode(at string, re *syntax.Regexp) error {
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if err := enforceableRunes(at, r, r); err != nil {
				return err
			}
		}
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if err := enforceableRunes(at, re.Rune[i], re.Rune[i+1]); err != nil {
				return err
			}
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return inference.Invalid(at, "the dot cannot be enforced, because it matches the quote that ends a string: write the characters out, as in [A-Za-z0-9 ]")
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return inference.Invalid(at, "an anchor inside the pattern cannot be enforced")
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		if re.Flags&syntax.NonGreedy != 0 {
			return inference.Invalid(at, "a lazy quantifier cannot be enforced: leave its question mark out")
		}
	case syntax.OpConcat, syntax.OpAlternate, syntax.OpCapture, syntax.OpEmptyMatch:
	default:
		return inference.Invalid(at, "%s cannot be enforced", re.Op)
	}
	for _, sub := range re.Sub {
		if err := enforceableNode(at, sub); err != nil {
			return err
		}
	}
	return nil
}

// enforceableRunes refuses a range with a character that JSON strings escape.
func enforceableRunes(at string, lo, hi rune) error {
	for _, r := range []rune{'"', '\\'} {
		if lo <= r && r <= hi {
			return inference.Invalid(at, "matches %q, which a JSON string cannot hold as it is: write the allowed characters out, as in [A-Za-z0-9 ]", r)
		}
	}
	if lo < ' ' {
		return inference.Invalid(at, "matches control characters, which a JSON string cannot hold as they are")
	}
	return nil
}
