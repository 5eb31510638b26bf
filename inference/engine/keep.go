package engine

import (
	"hearth/inference"
	"hearth/inference/prefixstore"
)

// This file moves cells between the cache and the store of prefixes: what leaves
// the cache goes there, and a request that begins alike gets it back.
//
// Copying takes the loop's time, so a step moves a bounded number of bytes. Of a
// prefix that has to go at once what is beyond that is lost, from its end.

const (
	// maxBlock is the most tokens of a block: what is stored is moved in whole ones.
	maxBlock = 64
	// saveBytes and loadBytes are what one step moves at most, a block beside.
	saveBytes = 64 << 20
	loadBytes = 64 << 20
	// minTail is how many tokens behind the last whole block are worth a block.
	minTail = 8
	// readAhead is how many blocks are read from files before they are needed.
	readAhead = 8
)

// BlockTokens is how many tokens the blocks of a store have to have. A block must
// not be longer than a sliding window, or its first cells would be missing.
func BlockTokens(t inference.Traits) int {
	n := maxBlock
	for t.Window > 0 && n > t.Window && n > 1 {
		n /= 2
	}
	return n
}

// waits reports whether cells of s are still to come from elsewhere.
func (s *sequence) waits() bool { return s.source != nil || len(s.blocks) > 0 }

// prefix finds the best beginning for c: in the cache, or blocks of the store, with
// as much before them from the cache as there is.
func (l *loop) prefix(c *choice, ticket uint64) hit {
	h := l.lookup(c, ticket, 0)
	if l.store == nil || c.req.probe || l.running == 0 && c.req.repeatable() {
		return h
	}
	chain, end := l.stored(c)
	if len(chain) == 0 {
		return h
	}
	least := l.leastShare(c)
	if h.leader != nil && end < h.want+least || end < h.have+least {
		return h
	}
	k := 0
	for chain[k].End() <= h.have {
		k++
	}
	h.leader, h.want = nil, 0
	h.blocks, h.have, h.until = chain[k:], chain[k].Start(), end
	if h.have == 0 || !l.b.SeqIntact(h.source.id, int32(h.have)) {
		h.source, h.have, h.blocks = nil, 0, chain
	}
	return h
}

// stored searches the store for c, and returns the blocks and up to where they hold
// its tokens. The same is found until the store changes.
func (l *loop) stored(c *choice) (chain []*prefixstore.Block, end int) {
	if v := l.store.Version(); c.storedAt != v+1 || c.storedFor != len(c.tokens) {
		room := 0 // where the end of what was loaded cannot be given up again
		if l.t.TrimTail && l.t.Window == 0 {
			room = c.reserve(l.cfg.Reserve)
		}
		c.stored, c.storedEnd = l.store.FindMost(c.req.scope.key(), c.tokens[:len(c.tokens)-1], room, c.stored[:0])
		c.storedAt, c.storedFor = v+1, len(c.tokens)
	}
	return c.stored, c.storedEnd
}

// key names a scope for the store.
func (s scope) key() string { return s.tenant + "\x00" + string(s.adapters) }

// claim keeps the blocks of h where they are until they are loaded.
func (l *loop) claim(c *choice, h hit) {
	if len(h.blocks) > 0 {
		l.store.Use(c.stored)
		l.store.Pin(h.blocks)
	}
}

// load begins to give s the cells of blocks that were claimed. It must hold all
// before them.
func (l *loop) load(s *sequence, h hit) {
	if len(h.blocks) == 0 {
		return
	}
	if s.held != h.have {
		l.store.Unpin(h.blocks)
		return
	}
	s.blocks, s.until = append(s.blocks[:0], h.blocks...), h.until
	l.loading++
}

// endLoad stops loading: what s holds by then is what it begins with.
func (l *loop) endLoad(s *sequence) {
	if len(s.blocks) == 0 {
		return
	}
	l.store.Unpin(s.blocks)
	s.blocks = s.blocks[:0]
	l.loading--
}

// loadBlocks goes on with all loads, and reports whether any came further. Those
// whose blocks are being read from files wait.
func (l *loop) loadBlocks() (any bool) {
	if l.loading == 0 {
		return false
	}
	room := loadBytes
	for _, s := range l.seqs[:l.t.Sequences] {
		for s != nil && len(s.blocks) > 0 && room > 0 {
			n, wait := l.loadSome(s, room)
			if wait {
				break
			}
			room -= n
			any = true
		}
	}
	return any
}

// loadSome loads the next blocks of s, as many as are there and begin within room
// bytes, and returns how many bytes those are; or it waits for the first.
func (l *loop) loadSome(s *sequence, room int) (bytes int, wait bool) {
	l.runs, l.ends = l.runs[:0], l.ends[:0]
	end := s.held
	for i, b := range s.blocks {
		if b.Start() != end || bytes >= room {
			break
		}
		data, wait := l.store.Data(b)
		for _, next := range s.blocks[i+1 : min(len(s.blocks), i+1+readAhead)] {
			l.store.Data(next) // has it read meanwhile
		}
		if i == 0 && wait {
			return 0, true
		}
		if data == nil {
			break
		}
		l.runs, l.ends, end = append(l.runs, data), append(l.ends, int32(b.End())), b.End()
		bytes += len(data)
	}
	n, err := 0, error(nil)
	if len(l.runs) > 0 {
		n, err = l.b.LoadRuns(s.id, int32(s.held), l.ends, l.runs)
	}
	for _, b := range s.blocks[:n] {
		l.cells.extend(&s.chain, b.End()-b.Start())
		l.change(s, b.End(), s.promised, s.end)
		l.store.Restored(b, min(b.End(), s.until)-b.Start())
	}
	clear(l.runs)
	l.store.Unpin(s.blocks[:n])
	s.blocks = s.blocks[n:]
	switch {
	case len(s.blocks) == 0:
		l.loading--
		l.loaded(s)
	case err != nil:
		l.store.Drop(s.blocks[0])
		l.loaded(s)
		l.recount(s) // of what was loaded, too, some may be lost
	case n == 0:
		l.loaded(s) // its file is gone, or the backend has lost cells
	}
	return bytes, false
}

// loaded lets s, of which nothing more is to be loaded, compute the rest.
func (l *loop) loaded(s *sequence) {
	l.endLoad(s)
	l.cut(s, s.until) // the last block may go on otherwise
	if !l.b.SeqIntact(s.id, int32(s.held)) {
		l.cut(s, 0)
	}
	l.noteFollowed(s.owner)
}

// save stores what s holds of key before it leaves the cache. What the step has no
// bytes left for is lost, and counted.
func (l *loop) save(s *sequence, key []int32) {
	if left := l.keep(s, key); left > 0 {
		l.store.Lost(left)
	}
}

// keep stores what s holds of key, as far as it is not stored yet and the step has
// bytes left to move, and returns how many blocks those were not enough for.
func (l *loop) keep(s *sequence, key []int32) (left int) {
	block := 0
	if l.store != nil {
		block = l.store.BlockTokens()
	}
	if block == 0 || s.held < block || s.owner != nil && s.owner.req.probe {
		return 0
	}
	key = key[:s.held]
	l.chain = l.store.Find(s.scope.key(), key, l.chain[:0])
	chain := l.chain
	if n := len(chain); n > 0 && chain[n-1].End()-chain[n-1].Start() < block {
		if len(key)-chain[n-1].End() < minTail {
			l.store.Use(chain)
			return 0
		}
		chain = chain[:n-1] // a longer block takes the place of the last one
	}
	l.store.Use(chain)
	var last *prefixstore.Block
	pos := 0
	if len(chain) > 0 {
		last = chain[len(chain)-1]
		pos = last.End()
	}
	for len(key)-pos >= minTail && l.saved < l.saveMost {
		n := min(block, len(key)-pos)
		size := l.b.RunBytes(n)
		b, err := l.store.Add(s.scope.key(), last, key[pos:pos+n], size, func(buf []byte) (int, error) {
			return l.b.SaveRun(s.id, int32(pos), int32(pos+n), buf)
		})
		if err != nil {
			return 0 // no room, or a window has moved on: what is not kept is computed again
		}
		l.saved += size
		last, pos = b, pos+n
	}
	return (len(key) - pos + block - minTail) / block
}

// keepIdle stores a further part of the idle prefixes where that outlives the
// process, and reports whether there was one. It is for when nothing else is to do.
func (l *loop) keepIdle() bool {
	if l.store == nil || l.idle == 0 || !l.store.HasDisk() || l.store.Busy() {
		return false
	}
	for _, s := range l.seqs {
		if s == nil || s.owner != nil || s.kept {
			continue
		}
		l.keep(s, l.index.keys[s.id])
		s.kept = l.saved == 0 // else there may be more
		return true
	}
	return false
}

// keepAll stores what is idle when the engine ends.
func (l *loop) keepAll() {
	if l.store == nil || !l.store.HasDisk() {
		return
	}
	for _, s := range l.seqs {
		for s != nil && s.owner == nil && !s.kept {
			l.saved = 0
			l.keep(s, l.index.keys[s.id])
			s.kept = l.saved == 0
		}
	}
}

// evict stores an idle prefix and frees its cells.
func (l *loop) evict(s *sequence) {
	l.save(s, l.index.keys[s.id])
	l.drop(s)
}
