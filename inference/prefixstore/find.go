package prefixstore

import "slices"

// This file searches: for whole blocks, and for the beginning of one more.

// partsOfBlock is by how many beginnings of its tokens a block is found, itself
// counted: three quarters, a half and a quarter of a whole one.
const partsOfBlock = 4

// Find appends to chain the blocks that hold the beginning of tokens, in their
// order, and returns it. What it costs depends on the number of tokens and not on
// how many blocks there are.
func (s *Store) Find(scope string, tokens []int32, chain []*Block) []*Block {
	s.mu.Lock()
	defer s.mu.Unlock()
	chain, _, _ = s.find(scope, tokens, chain)
	return chain
}

// FindMost is Find for who can use a part of the last block: where the tokens turn
// off within a block that ends at position room or before, and it holds more of them
// than another that they go through, it ends the chain. end is up to where the blocks
// hold tokens. Fewer than a quarter of a block are not found, and of several
// blocks that begin alike that far only the newest.
func (s *Store) FindMost(scope string, tokens []int32, room int, chain []*Block) (blocks []*Block, end int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := len(chain)
	chain, parent, at := s.find(scope, tokens, chain)
	if n := len(chain); n > first {
		end = chain[n-1].End()
	}
	begun := 0
	if parent != nil {
		begun = parent.End()
	}
	b, n := s.part(parent, at, tokens[begun:])
	if b == nil || begun+n <= end || b.End() > room {
		return chain, end
	}
	if end > begun {
		chain = chain[:len(chain)-1] // a shorter block, which holds less
	}
	return append(chain, b), begun + n
}

// find is Find, and tells the last block that is no end of a prefix, with its digest.
func (s *Store) find(scope string, tokens []int32, chain []*Block) (blocks []*Block, parent *Block, at digest) {
	at = root(scope)
	shorts := s.roots[at]
	for {
		var next *Block
		if len(tokens) >= s.block {
			next = s.get(s.child(at, tokens[:s.block]), parent, tokens[:s.block])
		}
		if next == nil {
			// The end of a prefix may lie here: the longest that fits.
			for n := min(len(shorts), len(tokens)+1) - 1; n > 0 && next == nil; n-- {
				if shorts[n] > 0 {
					next = s.get(s.child(at, tokens[:n]), parent, tokens[:n])
				}
			}
			if next != nil {
				chain = append(chain, next)
			}
			return chain, parent, at
		}
		chain = append(chain, next)
		at, shorts, parent, tokens = next.key, next.shorts, next, tokens[s.block:]
	}
}

// get finds a block by its digest; a digest alone proves nothing.
func (s *Store) get(key digest, parent *Block, tokens []int32) *Block {
	b := s.blocks[key]
	if b == nil || b.parent != parent || !slices.Equal(b.tokens, tokens) {
		return nil
	}
	return b
}

// part finds a block behind parent that begins as tokens do, and for how long.
func (s *Store) part(parent *Block, at digest, tokens []int32) (b *Block, alike int) {
	step := s.partStep()
	for n := min(len(tokens), s.block-1) / step * step; n > 0; n -= step {
		b := s.parts[s.child(at, tokens[:n])]
		if b == nil || b.parent != parent || !slices.Equal(b.tokens[:n], tokens[:n]) {
			continue
		}
		for n < min(len(tokens), len(b.tokens)) && b.tokens[n] == tokens[n] {
			n++
		}
		return b, n
	}
	return nil, 0
}

func (s *Store) partStep() int { return max(s.block/partsOfBlock, 1) }

// enterParts lets b be found by its beginnings.
func (s *Store) enterParts(b *Block) {
	for n := s.partStep(); n < len(b.tokens); n += s.partStep() {
		s.parts[s.child(b.at, b.tokens[:n])] = b
	}
}

// leaveParts undoes enterParts, where no newer block has taken its place.
func (s *Store) leaveParts(b *Block) {
	for n := s.partStep(); n < len(b.tokens); n += s.partStep() {
		if key := s.child(b.at, b.tokens[:n]); s.parts[key] == b {
			delete(s.parts, key)
		}
	}
}
