package engine

import (
	"cmp"
	"slices"
)

// copyPrefix gives dst the first n cells of src. In a unified cache that is
// metadata, also while src is computed further.
func (l *loop) copyPrefix(src, dst *sequence, n int) {
	if dst.held > 0 {
		l.cut(dst, 0)
	}
	if !l.b.SeqIntact(src.id, int32(n)) {
		n = 0 // what is left of src is of no use: dst computes by itself
	} else if l.b.SeqCopy(src.id, dst.id, 0, int32(n)); !l.t.Unified && l.b.SeqPosMax(dst.id) != int32(n-1) {
		l.b.SeqRemove(dst.id, -1, -1)
		n = 0
	}
	l.cells.share(&dst.chain, &src.chain, n)
	l.change(dst, n, dst.promised, dst.end)
	src.used = l.decoded
	if n == 0 {
		return
	}
	if dst.own {
		dst.copies = n
	}
	if src.owner == nil || src.owner.req != dst.owner.req {
		src.noteShared(n) // another request began alike; a further choice tells nothing
	}
}

// noteShared remembers that another request began with the first n tokens of s.
func (s *sequence) noteShared(n int) {
	s.shared++
	s.sharedTo = max(s.sharedTo, n)
}

// cut removes what s holds from position n on; all of it, if the backend cannot
// remove a part.
func (l *loop) cut(s *sequence, n int) {
	if n >= s.held {
		return
	}
	if n == 0 || !l.b.SeqRemove(s.id, int32(n), -1) {
		l.b.SeqRemove(s.id, -1, -1)
		n = 0
	}
	l.cells.trim(&s.chain, n)
	l.change(s, n, s.promised, s.end)
}

// follow gives those who wait for a leader's prefix their copy as soon as the
// leader has computed it.
func (l *loop) follow() {
	for _, s := range l.seqs[:l.t.Sequences] {
		if s == nil || s.source == nil || s.source.held < s.promised {
			continue
		}
		l.copyPrefix(s.source, s, s.promised)
		l.unfollow(s)
		l.noteFollowed(s.owner)
	}
}

// unfollow ends the waiting of s.
func (l *loop) unfollow(s *sequence) {
	s.source = nil
	l.change(s, s.held, 0, s.end)
}

// noteFollowed keeps the request's accounts when a follower goes on by itself.
func (l *loop) noteFollowed(c *choice) {
	if c.index == 0 {
		l.noteCached(c)
	}
}

// leave gives the followers of s, which stops computing, what it has. The first
// of them computes the rest, and the others follow that one.
func (l *loop) leave(s *sequence) {
	var orphans []*sequence
	for _, f := range l.seqs[:l.t.Sequences] {
		if f != nil && f.source == s {
			orphans = append(orphans, f)
		}
	}
	slices.SortFunc(orphans, func(a, b *sequence) int { return cmp.Compare(a.ticket, b.ticket) })
	for _, f := range orphans {
		if n := min(f.promised, s.held); n > f.held {
			l.copyPrefix(s, f, n)
		}
		l.unfollow(f)
		if h := l.lookup(f.owner, f.ticket, f.held); h.leader != nil {
			f.source = h.leader
			l.change(f, f.held, h.want, f.end)
			continue
		}
		l.noteFollowed(f.owner)
	}
}

// release takes the sequence from its choice. What it holds is kept as an idle
// prefix if keep allows and it is worth its cells; else the cells are free.
func (l *loop) release(s *sequence, keep bool) {
	c := s.owner
	l.unfile(s)
	l.leave(s)
	l.leaveAside(s)
	l.endLoad(s)
	s.source = nil
	l.change(s, s.held, 0, 0)
	c.seq, s.owner = nil, nil
	l.running--
	if c.req.running--; c.req.running == 0 && !c.req.probe {
		l.serving--
	}
	l.dirty = true
	l.cells.setLive(&s.chain, false)
	l.idle++
	if !keep || !l.park(s, c) {
		l.drop(s)
	}
}

// drop frees an idle prefix.
func (l *loop) drop(s *sequence) {
	l.unfile(s)
	l.b.SeqRemove(s.id, -1, -1)
	l.cells.drop(&s.chain)
	l.seqs[s.id] = nil
	l.idle--
}

// park keeps what s holds of c for those who will begin alike, and reports
// whether it did. In a unified cache every step pays for it.
func (l *loop) park(s *sequence, c *choice) bool {
	if !l.share || c.req.probe || s.held < l.cfg.Prefix.MinShare {
		return false
	}
	if l.pool && s.held < l.cfg.Prefix.MinKeep && l.running > 0 {
		// Of a short one only what others began with is worth its cells.
		l.save(s, c.tokens)
		l.cut(s, s.sharedTo)
		if s.held < l.cfg.Prefix.MinShare {
			return false
		}
	}
	key := c.tokens[:s.held]
	var covered []*sequence
	known := false
	l.index.match(s.scope, key, func(id int32, n int) {
		switch p := l.seqs[id]; {
		case p.owner != nil:
		case n == s.held:
			known = true // p holds all that s does
			p.used = l.decoded
			p.inherit(s)
		case n == p.held:
			covered = append(covered, p)
		}
	})
	if known {
		return false
	}
	for _, p := range covered {
		s.inherit(p)
		l.drop(p)
	}
	l.file(s, key)
	s.used = l.decoded
	if l.t.Unified {
		l.bound(s)
	}
	return true
}

// inherit takes over what is known of p, which holds the same tokens.
func (s *sequence) inherit(p *sequence) {
	s.shared += p.shared
	s.sharedTo = max(s.sharedTo, min(p.sharedTo, s.held))
}

// bound keeps the idle prefixes of a unified cache few: of the short ones that
// were never shared only newest, and all others together with it within the
// limit. The newest itself may be longer: a lone conversation must not be
// computed anew at every turn.
func (l *loop) bound(newest *sequence) {
	for _, p := range l.seqs {
		if p != nil && p.owner == nil && p != newest && p.held < l.cfg.Prefix.MinKeep && p.shared == 0 {
			l.evict(p)
		}
	}
	for l.idle > 1 && l.cells.used-l.cells.live > l.cfg.Prefix.Cells {
		l.evict(l.coldest(l.seqs, newest))
	}
}

// coldest returns the idle prefix that is worth least: never shared before
// shared, then the one unused for longest. It is keep only if there is no other.
func (l *loop) coldest(among []*sequence, keep *sequence) *sequence {
	var worst *sequence
	for _, s := range among {
		if s == nil || s.owner != nil {
			continue
		}
		if worst == nil || worst == keep || s != keep && colder(s, worst) {
			worst = s
		}
	}
	return worst
}

func colder(a, b *sequence) bool {
	if (a.shared > 0) != (b.shared > 0) {
		return a.shared == 0
	}
	return a.used < b.used
}

// expire takes from the idle prefixes of a unified cache what has by now cost
// the others about as much as computing it again would: first what nobody ever
// began with, then the rest.
func (l *loop) expire() {
	if !l.t.Unified || l.idle == 0 {
		return
	}
	for _, s := range l.seqs {
		if s == nil || s.owner != nil {
			continue
		}
		patience := uint64(l.cfg.Prefix.IdleTokens)
		switch age := l.decoded - s.used; {
		case age <= patience:
		case s.shared == 0 || age > 4*patience:
			l.evict(s)
		case s.sharedTo < s.held:
			l.shorten(s, s.sharedTo)
		}
	}
}

// shorten leaves only the first n cells of an idle prefix, and nothing if
// another idle one holds them too.
func (l *loop) shorten(s *sequence, n int) {
	l.save(s, l.index.keys[s.id])
	key := l.index.keys[s.id][:n]
	l.unfile(s)
	l.cut(s, n)
	keeper := (*sequence)(nil)
	l.index.match(s.scope, key, func(id int32, common int) {
		if p := l.seqs[id]; p.owner == nil && common == n && p.held >= n {
			keeper = p
		}
	})
	if keeper != nil {
		keeper.inherit(s)
	}
	if keeper != nil || s.held < n {
		l.drop(s)
		return
	}
	l.file(s, key)
}

// makeRoom drops idle prefixes until every promise can be kept.
func (l *loop) makeRoom() {
	for l.pool && l.idle > 0 && l.cells.used+l.future > l.t.Cells {
		l.evict(l.coldest(l.seqs, nil))
	}
}

// dropIdle drops every idle prefix and reports whether there was one.
func (l *loop) dropIdle() bool {
	any := l.idle > 0
	for _, s := range l.seqs {
		if s != nil && s.owner == nil {
			l.drop(s)
		}
	}
	return any
}
