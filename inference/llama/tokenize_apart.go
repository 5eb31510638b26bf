package llama

// llama.cpp looks for each control token by itself, through the whole text: Gemma
// has 6,400, and a text of 900 KB of "<", where each of them begins everywhere,
// takes a minute. In a long text the control tokens are therefore found here, by
// the tree of the cutter, and what stands between them is tokenized as text that
// has none.
//
// Which are found: those at [q,p) that cutter.parts would cut behind, because all
// occurrences that touch them lie within them. What it says of the cut at p holds
// for one at q, too: no occurrence reaches over q, and the fragment that ends there
// does not depend on what follows. Where a stretch between them has an occurrence
// of a control token nevertheless, one that overlaps another, llama.cpp looks for
// it as before.

// stretch is a part of a text, and the control token behind it, -1 for none.
type stretch struct {
	text    string
	special bool // a control token occurs in it
	token   int32
}

// stretches divides text at its control tokens. It must not be called where whole
// is set.
func (c *cutter) stretches(text string) []stretch {
	var all []stretch
	from := 0
	reach, cut, begin := 0, -1, 0 // as in parts; begin: where the one that ends at cut does
	last, before := -1, -1        // where the last control token begins, and the last before begin
	token := int32(-1)            // the one at begin
	for i := range len(text) {
		if i == cut {
			if token >= 0 {
				all = append(all, stretch{text[from:begin], before >= from, token})
				from = i
			}
			cut = -1
		}
		end, control, at := c.occurrences(text, i)
		if end == i {
			continue
		}
		switch {
		case reach <= i:
			cut, begin, before, token = end, i, last, at
		case end > reach:
			cut = -1 // two that overlap
		}
		reach = max(reach, end)
		if control {
			last = i
		}
	}
	if cut == len(text) && token >= 0 {
		all = append(all, stretch{text[from:begin], before >= from, token})
		from, last = cut, -1
	}
	return append(all, stretch{text[from:], last >= from, -1})
}

// occurrences returns the end of the longest occurrence that begins at i, i for
// none, whether a control token does, and the control token that is the longest,
// -1 for none.
func (c *cutter) occurrences(text string, i int) (end int, control bool, token int32) {
	end, token = i, -1
	at := c.root[text[i]]
	for j := i + 1; at != 0; j++ {
		if n := &c.nodes[at]; n.end {
			end, token = j, n.token
			control = control || n.control
		}
		if j == len(text) {
			break
		}
		at = c.nodes[at].next[text[j]]
	}
	return end, control, token
}
