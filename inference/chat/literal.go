package chat

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"hearth/inference"
)

// A chat template writes the model's control tokens as text ("<|im_end|>"), and
// tokenizing the rendered prompt reads them back. The same text in a message, a
// tool or a result must not be read so: whoever wrote it could end the turn and
// speak as the system.
//
// So before rendering, every control text inside what the request brought is
// marked: a random word is put behind its first character. The template carries
// the mark along. In the rendered prompt the marks are taken out again, and what
// they stood in is tokenized as plain text.

// controls finds the texts of control tokens. Vocabularies have up to thousands of
// them, and texts of clients whatever begins like one at every byte, so they are a
// tree: what is found at a place takes no longer than the longest of them.
type controls struct {
	nodes  []controlNode       // the first is the root
	starts [utf8.RuneSelf]bool // first bytes, if all are ASCII
	ascii  bool
}

// controlNode is the beginning of a text, or a whole one: then order is its place
// in the vocabulary, from 1.
type controlNode struct {
	next  map[byte]int32
	order int
}

// newControls takes the texts of a vocabulary. One of a single character has no
// inside to mark, and no vocabulary known gives a control token such a text.
func newControls(texts []string) *controls {
	c := &controls{ascii: true, nodes: []controlNode{{next: map[byte]int32{}}}}
	for i, t := range texts {
		if utf8.RuneCountInString(t) < 2 {
			continue
		}
		at := int32(0)
		for k := range len(t) {
			next, known := c.nodes[at].next[t[k]]
			if !known {
				next = int32(len(c.nodes))
				c.nodes[at].next[t[k]] = next
				c.nodes = append(c.nodes, controlNode{next: map[byte]int32{}})
			}
			at = next
		}
		if c.nodes[at].order == 0 {
			c.nodes[at].order = i + 1
		}
		if t[0] < utf8.RuneSelf {
			c.starts[t[0]] = true
		} else {
			c.ascii = false
		}
	}
	return c
}

// at calls each with the length and the order of every control text that s begins
// with, the shortest first.
func (c *controls) at(s string, each func(length, order int)) {
	if c.ascii && (s[0] >= utf8.RuneSelf || !c.starts[s[0]]) {
		return
	}
	node := int32(0)
	for i := range len(s) {
		next, known := c.nodes[node].next[s[i]]
		if !known {
			return
		}
		if node = next; c.nodes[node].order > 0 {
			each(i+1, c.nodes[node].order)
		}
	}
}

// mark puts the mark into every control text in s, overlapping ones included.
func (c *controls) mark(s, mark string) (string, bool) {
	var b strings.Builder
	done := 0
	for i := 0; i < len(s); i++ {
		begins := false
		c.at(s[i:], func(int, int) { begins = true })
		if !begins {
			continue
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		b.WriteString(s[done : i+n])
		b.WriteString(mark)
		done = i + n
	}
	if done == 0 {
		return s, false
	}
	b.WriteString(s[done:])
	return b.String(), true
}

// markJSON marks the strings of a JSON document, keys too. The arguments of a
// call are a document in a string, which a template may open: the strings in
// there are marked too. changed tells whether there was anything to mark.
func (c *controls) markJSON(doc []byte, mark string) (marked []byte, changed bool) {
	done := 0
	arguments := false // the last string was the key "arguments"
	for i := 0; i < len(doc); i++ {
		if doc[i] != '"' {
			continue
		}
		end, plain := i+1, true
		for ; end < len(doc) && doc[end] != '"'; end++ {
			switch {
			case doc[end] == '\\':
				plain = false
				end++
			case !c.ascii || doc[end] < utf8.RuneSelf && c.starts[doc[end]]:
				plain = false
			}
		}
		end = min(end+1, len(doc))
		if !plain {
			if with, ok := c.markLiteral(doc[i:end], arguments, mark); ok {
				marked = append(append(marked, doc[done:i]...), with...)
				done = end
			}
		}
		arguments = string(doc[i:end]) == `"arguments"` && end < len(doc) && doc[end] == ':'
		i = end - 1
	}
	if done == 0 {
		return doc, false
	}
	return append(marked, doc[done:]...), true
}

// markLiteral marks one string of a document; nested tells that it may be a
// document itself.
func (c *controls) markLiteral(literal []byte, nested bool, mark string) ([]byte, bool) {
	var s string
	if json.Unmarshal(literal, &s) != nil || s == "" {
		return nil, false
	}
	inner := s
	changed := false
	if nested && json.Valid([]byte(s)) {
		var b []byte
		if b, changed = c.markJSON([]byte(s), mark); changed {
			inner = string(b)
		}
	}
	with, marked := c.mark(inner, mark)
	if !changed && !marked {
		return nil, false
	}
	out, err := jsonText(with)
	if err != nil {
		return nil, false // a string can always be written
	}
	return out, true
}

// promptText is a rendered prompt. Where mark is not empty it stands in every
// control text that is not one of the template's.
type promptText struct {
	text string
	mark string
}

// newMark returns a word that is in no request. It has letters and digits only,
// which every filter of a template leaves alone.
func newMark() string { return "m" + rand.Text() }

// span is a piece of a text, from start up to end.
type span struct{ start, end int }

// unmark takes the marks out, and returns the places where they stood.
func (p promptText) unmark() (text string, breaks []int) {
	var b strings.Builder
	for i, part := range strings.Split(p.text, p.mark) {
		if i > 0 {
			breaks = append(breaks, b.Len())
		}
		b.WriteString(part)
	}
	return b.String(), breaks
}

// genuine returns the control texts in text that no break splits, in order. As
// llama.cpp does, it looks for the longest first, and for each from left to right.
func (c *controls) genuine(text string, breaks []int) []span {
	type occurrence struct {
		span
		order int
	}
	var all []occurrence
	for i := range len(text) {
		c.at(text[i:], func(length, order int) { all = append(all, occurrence{span{i, i + length}, order}) })
	}
	slices.SortFunc(all, func(a, b occurrence) int {
		return cmp.Or(cmp.Compare(b.end-b.start, a.end-a.start), cmp.Compare(a.order, b.order), cmp.Compare(a.start, b.start))
	})
	var found []span
	taken := make([]bool, len(text))
	for _, s := range all {
		at, _ := slices.BinarySearch(breaks, s.start+1)
		broken := at < len(breaks) && breaks[at] < s.end
		// What was taken before is no shorter, so it reaches over one of the ends.
		if broken || taken[s.start] || taken[s.end-1] {
			continue
		}
		for i := s.start; i < s.end; i++ {
			taken[i] = true
		}
		found = append(found, s.span)
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	return found
}

// literals returns the stretches between control texts in which something was
// marked: they are to be tokenized as plain text.
func (c *controls) literals(text string, breaks []int) []span {
	var out []span
	start := 0
	for _, g := range append(c.genuine(text, breaks), span{len(text), len(text)}) {
		if at, _ := slices.BinarySearch(breaks, start); at < len(breaks) && breaks[at] < g.start {
			out = append(out, span{start, g.start})
		}
		start = g.end
	}
	return out
}

// promptTokens tokenizes a rendered prompt. The begin-of-sequence token is added
// where the vocabulary asks for it; a template's own was taken off by Apply.
func (m *Model) promptTokens(p promptText) ([]int32, error) {
	if p.mark == "" {
		return m.tokenizePrompt(p.text, true, true)
	}
	text, breaks := p.unmark()
	if len(text) > inference.MaxTextBytes { // whatever the pieces between the marks have
		return nil, inference.TextTooLong(len(text))
	}
	before, after, err := m.addedTokens()
	if err != nil {
		return nil, err
	}
	tokens := slices.Clone(before)
	add := func(from, to int, special bool) error {
		if from == to {
			return nil
		}
		more, err := m.tokenizePrompt(text[from:to], false, special)
		tokens = append(tokens, more...)
		return err
	}
	done := 0
	for _, l := range m.controls.literals(text, breaks) {
		if err := add(done, l.start, true); err != nil {
			return nil, err
		}
		if err := add(l.start, l.end, false); err != nil {
			return nil, err
		}
		done = l.end
	}
	if err := add(done, len(text), true); err != nil {
		return nil, err
	}
	return append(tokens, after...), nil
}

// addedTokens returns what tokenizing a prompt puts before and behind it.
func (m *Model) addedTokens() (before, after []int32, err error) {
	bare, err := m.tokenizePrompt("a", false, false)
	if err != nil {
		return nil, nil, err
	}
	full, err := m.tokenizePrompt("a", true, false)
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i+len(bare) <= len(full); i++ {
		if slices.Equal(full[i:i+len(bare)], bare) {
			return full[:i], full[i+len(bare):], nil
		}
	}
	return nil, nil, nil
}

func (m *Model) tokenizePrompt(text string, add, special bool) ([]int32, error) {
	tokens, err := m.lm.Tokenize(text, inference.TokenizeOptions{AddSpecial: add, ParseSpecial: special})
	if err != nil {
		return nil, fmt.Errorf("tokenize the prompt: %w", err)
	}
	return tokens, nil
}
