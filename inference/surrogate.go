package inference

import (
	"bytes"
	"strconv"
)

// HalfSurrogate finds the first \u escape of a JSON text that is half of a
// surrogate pair. Every reader would replace it by another character, so the
// doors refuse it. Outside of strings a backslash is a syntax error, which is for
// the reader of the text to find.
func HalfSurrogate(text []byte) (half rune, found bool) {
	unit := func(at int) (rune, bool) {
		if at+6 > len(text) || text[at] != '\\' || text[at+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(text[at+2:at+6]), 16, 16)
		return rune(n), err == nil
	}
	for i := 0; i < len(text); {
		next := bytes.IndexByte(text[i:], '\\')
		if next < 0 {
			break
		}
		i += next
		first, ok := unit(i)
		switch {
		case !ok:
			i += 2
		case first < 0xD800 || first > 0xDFFF:
			i += 6
		default:
			second, ok := unit(i + 6)
			if first > 0xDBFF || !ok || second < 0xDC00 || second > 0xDFFF {
				return first, true
			}
			i += 12
		}
	}
	return 0, false
}
