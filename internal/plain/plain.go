package plain

import (
	"strings"
	"unicode/utf8"
)

// Text drops characters that nobody sees and that can carry text for models only:
// tags, zero-width characters, directions, controls. Line ends and tabs stay, and
// so do the joiners that some scripts and emoji need.
func Text(s string) string {
	if strings.IndexFunc(s, Invisible) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if Invisible(r) {
			return -1
		}
		return r
	}, s)
}

// Invisible says that Text drops the character.
func Invisible(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < ' ' || r >= 0x7f && r < 0xa0:
		return true
	case r == 0xad || r == 0x200b || r == 0x2060 || r == 0xfeff || r == 0x180e:
		return true
	case r >= 0x200e && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2061 && r <= 0x206f, r >= 0xfff0 && r <= 0xfffb:
		return true
	case r >= 0xe0000 && r <= 0xe0fff: // tags, and variation selectors beyond the usual
		return true
	}
	return false
}

// Line brings a text onto one line of at most limit characters, as Text has it. A
// longer one ends in an ellipsis.
func Line(s string, limit int) string {
	s = strings.Join(strings.Fields(Text(s)), " ")
	if utf8.RuneCountInString(s) > limit {
		s = string([]rune(s)[:limit]) + "…"
	}
	return s
}
