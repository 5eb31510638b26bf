package llama

/*
#include "shim.h"
*/
import "C"

import (
	"bytes"

	"hearth/inference"
)

// Tokens that are searched for apart from all others (control tokens, and the
// ones that a vocabulary defines by itself: Gemma has runs of line ends) cut a
// text into fragments. llama.cpp keeps the fragments in a list, and walks it from
// its beginning for each one found: 100 KB of "a\n" takes a minute with Gemma.
// Long texts are therefore tokenized in parts, cut where the result is the same.
//
// Where that is: right behind an occurrence T of such a token, at [q,p), if all
// occurrences of such tokens that touch a byte of T lie within T.
//   - The tokens are searched for one after the other, the longest text first, and
//     each from left to right in what is still text. What is found before T is at
//     least as long, so it touches nothing of T: T is still whole when its turn
//     comes, and becomes a fragment that ends at p.
//   - No occurrence reaches over p, as it would touch T's last byte. So a search
//     in a text that spans p finds on the left what it finds in text[:p], and on
//     the right what it finds in text[p:].
//   - Fragments are turned into tokens each by itself. Only a space that some
//     vocabularies put in front depends on the fragment before: it is put where
//     the text begins, and behind such a token, which are the same case.
//
// It does not hold where tokens take the white space beside them along, nor for
// the tokenizers that look at the tokens before: there nothing is cut.
const (
	// apartPerPart is how many occurrences a part has, about.
	apartPerPart = 256
	// maxApart is the most occurrences in a part, where no cut is found: they take
	// 1.5 s, and the time grows with their square.
	maxApart = 8192
)

// cutter finds where texts can be cut. It holds the texts of the tokens that are
// searched for apart, as a tree with a node for each beginning of one.
type cutter struct {
	root  [256]int32 // 0: none
	nodes []cutNode  // the first is not used
	whole bool       // nothing can be cut
}

type cutNode struct {
	next map[byte]int32
	end  bool
	// token is the control token with this text; -1 for none, or several.
	token   int32
	control bool // there is one
}

// add takes the text of a token; control is the token where it is a control token,
// else -1.
func (c *cutter) add(text string, control int32) {
	at := int32(0)
	for i := range len(text) {
		var next int32
		if i == 0 {
			next = c.root[text[0]]
		} else {
			next = c.nodes[at].next[text[i]]
		}
		if next == 0 {
			next = int32(len(c.nodes))
			c.nodes = append(c.nodes, cutNode{next: map[byte]int32{}, token: -1})
			if i == 0 {
				c.root[text[0]] = next
			} else {
				c.nodes[at].next[text[i]] = next
			}
		}
		at = next
	}
	if at > 0 {
		n := &c.nodes[at]
		n.control = n.control || control >= 0
		if n.end {
			control = -1 // which of two is meant is llama.cpp's to say
		}
		n.end, n.token = true, control
	}
}

// longest returns the end of the longest occurrence that begins at i, i for none.
func (c *cutter) longest(text string, i int) int {
	end := i
	at := c.root[text[i]]
	for j := i + 1; at != 0; j++ {
		if c.nodes[at].end {
			end = j
		}
		if j == len(text) {
			break
		}
		at = c.nodes[at].next[text[j]]
	}
	return end
}

// parts returns text in parts, "" as one, each but the last with at least atLeast
// occurrences. The error is an InvalidError where a part would take too long.
func (c *cutter) parts(text string, atLeast int) ([]string, error) {
	var parts []string
	from, found, counted := 0, 0, 0 // counted: where the last one counted ends
	reach, cut := 0, -1             // reach: where the occurrences so far end; cut: where T ends
	for i := range len(text) {
		if i == cut {
			if found >= atLeast && !c.whole {
				parts = append(parts, text[from:i])
				from, found = i, 0
			}
			cut = -1
		}
		end := c.longest(text, i)
		if end == i {
			continue
		}
		if i >= counted {
			counted = end
			if found++; found > maxApart {
				return nil, inference.Invalid("", "the text has more than %d special tokens, or runs of line ends or the like, that cannot be tokenized apart from each other: shorten it, or send it in parts", maxApart)
			}
		}
		switch {
		case reach <= i:
			cut = end
		case end > reach:
			cut = -1 // two that overlap
		}
		reach = max(reach, end)
	}
	return append(parts, text[from:]), nil
}

// cutters are for texts with and without control tokens, read once.
type cutters struct {
	special, plain cutter
	begins         bool // a text has a token in front, where it is asked for
}

func (c *cutters) read(h *C.hearth_model, v *vocabulary) {
	c.special.nodes, c.plain.nodes = make([]cutNode, 1), make([]cutNode, 1)
	for token, flags := range v.flags {
		if flags&C.HEARTH_TOKEN_APART == 0 {
			continue
		}
		text := C.GoString(C.hearth_vocab_text(h, C.int32_t(token)))
		// the text of a token with a zero byte cannot be had
		zero := bytes.IndexByte(v.special[v.specialFrom[token]:v.specialFrom[token+1]], 0) >= 0
		whole := flags&C.HEARTH_TOKEN_STRIPS != 0 || zero
		control := int32(-1)
		if flags&C.HEARTH_TOKEN_CONTROL != 0 {
			control = int32(token)
		}
		c.special.add(text, control)
		c.special.whole = c.special.whole || whole
		if flags&C.HEARTH_TOKEN_CONTROL == 0 {
			c.plain.add(text, -1)
			c.plain.whole = c.plain.whole || whole
		}
	}
	c.begins = C.hearth_vocab_adds_bos(h) != 0
}

// remembers reports whether the tokenizer of that name looks at the tokens before.
func remembers(tokenizer string) bool {
	switch tokenizer {
	case "llama", "gpt2", "bert", "t5", "rwkv", "plamo2", "gemma4":
		return false
	}
	return true
}

// around returns the tokens in front of a text and behind it.
func (m *Model) around() (begin, end []int32, err error) {
	both, err := m.tokenizePart("", inference.TokenizeOptions{AddSpecial: true})
	n := 0
	if len(both) > 1 || len(both) == 1 && m.cuts.begins {
		n = 1
	}
	return both[:n:n], both[n:], err
}
