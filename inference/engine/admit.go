package engine

import "hearth/inference/prefixstore"

// hit is what the index of prefixes has for a prompt.
type hit struct {
	source *sequence // holds the first have tokens now
	have   int
	leader *sequence // will hold the first want tokens: worth waiting for
	want   int
	blocks []*prefixstore.Block // of the store, from position have on
	until  int                  // the position behind the last token of use in them
}

// lookup finds the best prefix for c, among the sequences of its scope. Only
// leaders admitted before ticket are considered, so that nobody waits in a
// circle. The last token is left to compute: its logits are needed.
func (l *loop) lookup(c *choice, ticket uint64, have int) hit {
	var h hit
	if !l.share || c.req.probe {
		return h
	}
	least := l.leastShare(c)
	h.have = have
	takeover := false
	l.index.match(c.req.scope, c.tokens[:len(c.tokens)-1], func(id int32, n int) {
		s := l.seqs[id]
		if s.owner == c {
			return
		}
		if ready := min(n, s.held); ready >= have+least && l.b.SeqIntact(id, int32(ready)) {
			over := l.replaceable(s, ready)
			if ready > h.have || ready == h.have && over && !takeover {
				h.source, h.have, takeover = s, ready, over
			}
		}
		if s.owner != nil && s.ticket < ticket && n > s.held && n > h.want {
			h.leader, h.want = s, n
		}
	})
	if h.leader != nil && h.want < h.have+least {
		h.leader, h.want = nil, 0
	}
	return h
}

// leastShare is the fewest tokens that c begins with rather than computes.
func (l *loop) leastShare(c *choice) int {
	if c.index > 0 || len(c.tokens) > len(c.req.Prompt) {
		return 1 // choices of one request, and what was preempted
	}
	return l.cfg.Prefix.MinShare
}

// replaceable reports whether a choice that begins with the first n cells of s
// can go on in s itself, and nothing kept is lost.
func (l *loop) replaceable(s *sequence, n int) bool {
	return s.owner == nil && int(s.id) < l.t.Sequences && s.held == n
}

// admit lets in those whose cells can be promised, in the queue's order.
func (l *loop) admit() {
	if !l.dirty {
		return
	}
	l.dirty = false
	for l.running < l.cfg.Sequences && l.queue.size > 0 {
		heads := l.queue.candidates()
		i := 0
		for i < len(heads) && !l.fits(heads[i]) {
			if heads[i].overtaken >= maxOvertaken {
				return
			}
			i++
		}
		if i == len(heads) {
			return
		}
		for _, passed := range heads[:i] {
			passed.overtaken++
		}
		c := heads[i]
		l.queue.take(c)
		l.place(c)
	}
}

// fits reports whether all cells that c may need can be promised now.
func (l *loop) fits(c *choice) bool {
	end := c.reserve(l.cfg.Reserve)
	switch {
	case !l.pool:
		return true // every sequence has its own
	case l.t.Unified:
	case end > l.t.Streams:
		l.layout.poolOnly = true
		return false
	default:
		return l.roomFor(end) // what is shared is copied
	}
	h := l.prefix(c, l.ticket+1)
	if h.leader != nil {
		return l.roomFor(end - h.want)
	}
	if h.source == nil {
		return l.roomFor(end)
	}
	// What an idle prefix shares becomes live, so it counts against the room.
	trial := chain{live: true}
	l.cells.share(&trial, &h.source.chain, h.have)
	ok := l.roomFor(end - h.have)
	l.cells.drop(&trial)
	return ok
}

// place gives c a sequence and the prefix there is for it.
func (l *loop) place(c *choice) {
	l.ticket++
	if l.running == 0 && c.req.repeatable() {
		// Sums depend in their last bits on where cells lie, and a draw on those:
		// the same seed gives the same tokens only from the same cache.
		for _, s := range l.seqs {
			if s != nil && s.owner == nil {
				l.evict(s)
			}
		}
		if l.streaming() {
			l.relayout(true)
		}
	}
	h := l.prefix(c, l.ticket)
	l.claim(c, h)
	if h.leader != nil {
		h.source, h.have = nil, 0 // copied once, when the leader has it all
	}
	id, inPlace := l.takeID(h.source, h.have)
	s := &sequence{id: id, scope: c.req.scope, own: l.streaming()}
	if inPlace {
		s = l.seqs[id]
		l.unfile(s)
		l.idle--
		l.cut(s, h.have)
		l.cells.setLive(&s.chain, true)
		s.noteShared(h.have)
	} else {
		s.id, s.chain.live = l.outside(id, c, h), true
		l.seqs[s.id] = s
	}
	s.owner, s.ticket = c, l.ticket
	c.seq, c.credit, c.overtaken = s, 0, 0
	end := c.reserve(l.cfg.Reserve)
	l.change(s, s.held, 0, end)
	c.makeSpace(end)
	l.running++
	if c.req.running++; c.req.running == 1 && !c.req.probe {
		l.serving++
	}
	switch {
	case h.leader != nil:
		s.source = h.leader
		l.change(s, 0, h.want, end)
	case h.source != nil && !inPlace:
		l.copyPrefix(h.source, s, h.have)
	}
	l.load(s, h)
	if l.share && !c.req.probe {
		l.file(s, c.tokens)
	}
	l.makeRoom()
	l.noteStart(c)
}

// noteStart keeps the request's accounts when a choice is admitted.
func (l *loop) noteStart(c *choice) {
	r := c.req
	if !r.started {
		r.started = true
		r.admitted = l.now()
		l.admitted(r)
	}
	if c.index == 0 && !c.seq.waits() {
		l.noteCached(c)
	}
}

// noteCached records how much of the prompt came from the cache, the first
// time that the first choice starts to compute.
func (l *loop) noteCached(c *choice) {
	if c.req.cached < 0 {
		c.req.cached = min(c.seq.held, len(c.req.Prompt))
	}
	l.progress(c)
}

// takeID finds a sequence id that may be decoded. If the source itself is idle
// and loses nothing that is worth more, it is taken over in place.
func (l *loop) takeID(source *sequence, have int) (id int32, inPlace bool) {
	if source != nil && l.replaceable(source, have) {
		return source.id, true
	}
	for id := range l.t.Sequences {
		if l.seqs[id] == nil {
			return int32(id), false
		}
	}
	victim := l.coldest(l.seqs[:l.t.Sequences], source)
	if l.t.Unified && len(l.seqs) > l.t.Sequences {
		if to := l.holder(source); to >= 0 {
			from := victim.id
			l.move(victim, to)
			return from, false
		}
	}
	if victim == source {
		return victim.id, true
	}
	l.evict(victim)
	return victim.id, false
}

// holder finds an id behind those that can be decoded, to keep an idle prefix
// in. That may cost a colder one its place, but not keep. It is -1 if none there
// is colder.
func (l *loop) holder(keep *sequence) int32 {
	for id := l.t.Sequences; id < len(l.seqs); id++ {
		if l.seqs[id] == nil {
			return int32(id)
		}
	}
	worst := l.coldest(l.seqs, keep)
	if int(worst.id) < l.t.Sequences {
		return -1
	}
	id := worst.id
	l.evict(worst)
	return id
}

// move gives a sequence another id.
func (l *loop) move(s *sequence, to int32) {
	key, filed := l.index.keys[s.id], s.filed
	l.unfile(s)
	if s.held > 0 {
		l.b.SeqCopy(s.id, to, 0, int32(s.held))
		l.b.SeqRemove(s.id, -1, -1)
	}
	l.seqs[s.id], l.seqs[to] = nil, s
	s.id = to
	if filed {
		l.file(s, key)
	}
}

// file puts s into the index of prefixes under key.
func (l *loop) file(s *sequence, key []int32) {
	l.index.insert(s.scope, s.id, key)
	s.filed, s.kept = true, false
}

// unfile takes it out, if it is there.
func (l *loop) unfile(s *sequence) {
	if s.filed {
		l.index.remove(s.scope, s.id)
		s.filed = false
	}
}
