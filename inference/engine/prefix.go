package engine

import (
	"math/bits"
	"slices"
)

// seqSet is a set of sequence ids.
type seqSet [maxSequences / 64]uint64

func (s *seqSet) add(id int32) { s[id>>6] |= 1 << (id & 63) }
func (s *seqSet) del(id int32) { s[id>>6] &^= 1 << (id & 63) }
func (s *seqSet) empty() bool  { return *s == seqSet{} }

// first returns the smallest id of a set that is not empty.
func (s *seqSet) first() int32 {
	for i, w := range s {
		if w != 0 {
			return int32(i<<6 + bits.TrailingZeros64(w))
		}
	}
	return -1
}

// scope is who may share a prefix: the requests of one tenant that compute with
// the same adapters, whose cells depend on them.
type scope struct {
	tenant   string
	adapters adapterKey
}

// prefixes is a radix tree over the tokens of sequences, one for each scope:
// no walk crosses from one scope to another. A sequence is in it with the
// tokens it holds or is going to hold; how many of them are computed by now is
// the sequence's affair.
type prefixes struct {
	roots map[scope]*branch
	keys  [maxSequences][]int32
	path  []step // of the last walk; reused
}

// branch is a node: the tokens on the way to it from its parent, and the
// sequences whose tokens go through them.
type branch struct {
	label    []int32 // a part of the key of one of seqs
	seqs     seqSet
	children []*branch // distinct first tokens
}

type step struct {
	seqs  seqSet
	depth int
}

func newPrefixes() *prefixes { return &prefixes{roots: map[scope]*branch{}} }

// insert files sequence id under key, which must not change while it is there.
func (p *prefixes) insert(in scope, id int32, key []int32) {
	root := p.roots[in]
	if root == nil {
		root = &branch{}
		p.roots[in] = root
	}
	p.keys[id] = key
	n := root
	n.seqs.add(id)
	for len(key) > 0 {
		i := n.child(key[0])
		if i < 0 {
			leaf := &branch{label: key}
			leaf.seqs.add(id)
			n.children = append(n.children, leaf)
			return
		}
		c := n.children[i]
		k := common(c.label, key)
		if k < len(c.label) {
			upper := &branch{label: c.label[:k], seqs: c.seqs, children: []*branch{c}}
			c.label = c.label[k:]
			n.children[i] = upper
			c = upper
		}
		c.seqs.add(id)
		n, key = c, key[k:]
	}
}

// remove takes sequence id out again.
func (p *prefixes) remove(in scope, id int32) {
	key := p.keys[id]
	p.keys[id] = nil
	root := p.roots[in]
	root.seqs.del(id)
	if root.seqs.empty() {
		delete(p.roots, in)
		return
	}
	p.prune(root, id, key, 0)
}

// prune removes id below n, which lies depth tokens into key.
func (p *prefixes) prune(n *branch, id int32, key []int32, depth int) {
	if depth == len(key) {
		return
	}
	i := n.child(key[depth])
	c := n.children[i]
	c.seqs.del(id)
	if c.seqs.empty() {
		n.children = slices.Delete(n.children, i, i+1)
		return
	}
	end := depth + len(c.label)
	p.prune(c, id, key, end)
	if len(c.children) == 1 && c.children[0].seqs == c.seqs {
		// Only id ended or turned off here: the two runs become one.
		end += len(c.children[0].label)
		c.children = c.children[0].children
	}
	// The label may have been a part of the key that goes.
	c.label = p.keys[c.seqs.first()][depth:end]
}

// match calls fn for each sequence that begins as key does, with the number of
// tokens they have in common, the longest first.
func (p *prefixes) match(in scope, key []int32, fn func(id int32, n int)) {
	n := p.roots[in]
	if n == nil {
		return
	}
	p.path = p.path[:0]
	for depth := 0; depth < len(key); {
		i := n.child(key[depth])
		if i < 0 {
			break
		}
		n = n.children[i]
		k := common(n.label, key[depth:])
		depth += k
		p.path = append(p.path, step{n.seqs, depth})
		if k < len(n.label) {
			break
		}
	}
	var seen seqSet
	for i := len(p.path) - 1; i >= 0; i-- {
		s := &p.path[i]
		for w, word := range s.seqs {
			fresh := word &^ seen[w]
			seen[w] |= fresh
			for ; fresh != 0; fresh &= fresh - 1 {
				fn(int32(w<<6+bits.TrailingZeros64(fresh)), s.depth)
			}
		}
	}
}

func (b *branch) child(token int32) int {
	for i, c := range b.children {
		if c.label[0] == token {
			return i
		}
	}
	return -1
}

// common is the number of tokens that a and b begin with alike.
func common(a, b []int32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
