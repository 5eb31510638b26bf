package engine

import (
	"bytes"
	"unicode/utf8"

	"hearth/inference"
)

// assembler turns the bytes of tokens into text: whole UTF-8 characters, cut
// before the first stop string. Where tokens begin and end makes no difference
// to the text. What may still become a stop string or a character is held back.
type assembler struct {
	stops   [][]byte
	pending []byte // bytes held back, then those of the token being added
	seen    int    // of pending, already searched for stop strings
	out     []byte // text of the last call; reused

	// With log probabilities: tokens not handed out yet, with the offsets of
	// their bytes counted from the start of pending.
	keep   bool
	tokens []placed
}

type placed struct {
	start, end int
	logprob    inference.TokenLogprob
}

func newAssembler(stops []string, logprobs bool) assembler {
	a := assembler{keep: logprobs}
	for _, s := range stops {
		a.stops = append(a.stops, []byte(s))
	}
	return a
}

// add takes the bytes of one token. It returns the text that is certain now,
// valid until the next call, and whether a stop string was completed.
func (a *assembler) add(piece []byte, lp inference.TokenLogprob) (text []byte, lps []inference.TokenLogprob, stopped bool) {
	if a.keep {
		a.tokens = append(a.tokens, placed{len(a.pending), len(a.pending) + len(piece), lp})
	}
	a.pending = append(a.pending, piece...)
	if at, ok := a.findStop(); ok {
		a.pending = a.pending[:at]
		text, lps = a.flush()
		return text, lps, true
	}
	a.seen = len(a.pending)
	cut := len(a.pending) - a.heldForStop()
	cut -= partialRune(a.pending[:cut])
	text, lps = a.take(cut, false)
	return text, lps, false
}

// flush returns all that was held back: nothing more will come.
func (a *assembler) flush() ([]byte, []inference.TokenLogprob) {
	return a.take(len(a.pending), true)
}

// findStop returns where the stop string begins that is completed first; of two
// completed by the same byte, the longer.
func (a *assembler) findStop() (start int, found bool) {
	end := len(a.pending) + 1
	for _, s := range a.stops {
		from := max(a.seen-len(s)+1, 0)
		i := bytes.Index(a.pending[from:], s)
		if i < 0 {
			continue
		}
		i += from
		if e := i + len(s); e < end || e == end && i < start {
			start, end, found = i, e, true
		}
	}
	return start, found
}

// heldForStop is the length of the longest end of pending that begins a stop
// string.
func (a *assembler) heldForStop() int {
	held := 0
	for _, s := range a.stops {
		for n := min(len(s)-1, len(a.pending)); n > held; n-- {
			if bytes.HasSuffix(a.pending, s[:n]) {
				held = n
				break
			}
		}
	}
	return held
}

// take hands out the first n bytes of pending as valid UTF-8.
func (a *assembler) take(n int, last bool) ([]byte, []inference.TokenLogprob) {
	a.out = appendValid(a.out[:0], a.pending[:n])
	var lps []inference.TokenLogprob
	if len(a.tokens) > 0 {
		lps = a.takeLogprobs(n, last)
	}
	rest := copy(a.pending, a.pending[n:])
	a.pending = a.pending[:rest]
	a.seen = max(a.seen-n, 0)
	return a.out, lps
}

// takeLogprobs hands out the tokens whose text begins before n. Behind a stop
// string they are no part of the answer.
func (a *assembler) takeLogprobs(n int, last bool) []inference.TokenLogprob {
	k := 0
	var lps []inference.TokenLogprob
	for k < len(a.tokens) && (a.tokens[k].start < n || a.tokens[k].end <= n) {
		lps = append(lps, a.tokens[k].logprob)
		k++
	}
	a.tokens = a.tokens[:copy(a.tokens, a.tokens[k:])]
	if last {
		a.tokens = a.tokens[:0]
	}
	for i := range a.tokens {
		a.tokens[i].start -= n
		a.tokens[i].end -= n
	}
	return lps
}

// partialRune is the length of an unfinished but so far valid UTF-8 character
// at the end of b.
func partialRune(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		tail := b[len(b)-n:]
		if utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return n
			}
			return 0
		}
	}
	return 0
}

// appendValid appends src with every maximal part of a character that is not
// valid UTF-8 replaced by U+FFFD, as browsers do.
func appendValid(dst, src []byte) []byte {
	for len(src) > 0 {
		if src[0] < utf8.RuneSelf {
			n := 1
			for n < len(src) && src[n] < utf8.RuneSelf {
				n++
			}
			dst, src = append(dst, src[:n]...), src[n:]
			continue
		}
		r, n := utf8.DecodeRune(src)
		if r == utf8.RuneError && n == 1 {
			for k := min(len(src), utf8.UTFMax-1); k > 1; k-- {
				if !utf8.FullRune(src[:k]) {
					n = k
					break
				}
			}
			dst = append(dst, "\uFFFD"...)
		} else {
			dst = append(dst, src[:n]...)
		}
		src = src[n:]
	}
	return dst
}
