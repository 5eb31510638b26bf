package prefixstore

import "slices"

// This file keeps the tree of blocks: what hangs where, and what is dropped.

// insert puts b into the tree.
func (s *Store) insert(b *Block) {
	s.blocks[b.key] = b
	s.enterParts(b)
	s.version++
	if b.parent != nil {
		b.parent.children++
	}
	if n := len(b.tokens); n < s.block {
		shorts := s.shortsAt(b.parent, b.at)
		if shorts == nil {
			shorts = make([]uint32, s.block)
			s.setShorts(b.parent, b.at, shorts)
		}
		shorts[n]++
	}
}

func (s *Store) shortsAt(parent *Block, at digest) []uint32 {
	if parent != nil {
		return parent.shorts
	}
	return s.roots[at]
}

func (s *Store) setShorts(parent *Block, at digest, shorts []uint32) {
	if parent != nil {
		parent.shorts = shorts
		return
	}
	s.roots[at] = shorts
}

// replaceShorter drops the ends of prefixes that b goes on from.
func (s *Store) replaceShorter(b *Block) {
	shorts := s.shortsAt(b.parent, b.at)
	for n := 1; n < min(len(shorts), len(b.tokens)); n++ {
		if shorts[n] == 0 {
			continue
		}
		if old := s.get(s.child(b.at, b.tokens[:n]), b.parent, b.tokens[:n]); old != nil && old.pins == 0 {
			s.remove(old, Replaced)
		}
	}
}

// Drop removes a block that is of no use, and those that go on from it.
func (s *Store) Drop(b *Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(b, Refused)
	s.report()
}

// drop removes b and all below it, whoever has them pinned.
func (s *Store) drop(b *Block, reason string) {
	if b.gone {
		return
	}
	if b.children > 0 {
		// Rare, so the tree keeps no lists for it.
		for _, c := range s.blocks {
			if c.parent == b {
				s.drop(c, reason)
			}
		}
	}
	s.remove(b, reason)
}

// makeRoom drops what was used longest ago until n more bytes fit. In the order of
// use a block comes before the one that it goes on from.
func (s *Store) makeRoom(n int64) bool {
	if n > s.limit {
		return false
	}
	for b := s.order.order[inRAM].newer; s.held[inRAM].bytes+n > s.limit; {
		if b == &s.order {
			return false
		}
		next := b.order[inRAM].newer
		switch {
		case b.pins > 0:
		case b.file > 0:
			s.leave(b, inRAM, roundUp(b.size), Evicted)
			freeSlab(b.data)
			b.data = nil
		case b.children == 0:
			s.remove(b, Evicted)
		}
		b = next
	}
	return true
}

// remove takes b, which nothing goes on from, out of the tree.
func (s *Store) remove(b *Block, reason string) {
	delete(s.blocks, b.key)
	s.leaveParts(b)
	if b.data != nil {
		s.leave(b, inRAM, roundUp(b.size), reason)
	}
	if b.file > 0 {
		s.leave(b, onDisk, b.file, reason)
		s.disk.forget(b)
	}
	b.file, b.gone = 0, true
	s.version++
	if b.parent != nil {
		b.parent.children--
	}
	if n := len(b.tokens); n < s.block {
		shorts := s.shortsAt(b.parent, b.at)
		if shorts[n]--; b.parent == nil && !slices.ContainsFunc(shorts, func(n uint32) bool { return n > 0 }) {
			delete(s.roots, b.at)
		}
	}
	s.release(b)
}

// release frees the memory of a block that is gone, when nobody uses it.
func (s *Store) release(b *Block) {
	if b.gone && b.pins == 0 {
		freeSlab(b.data)
		b.data = nil
	}
}

func (s *Store) report() {
	for t, name := range [tiers]string{RAM, Disk} {
		s.obs.Stored(name, s.held[t].bytes, s.held[t].blocks)
	}
}
