package engine

import (
	"cmp"
	"slices"

	"hearth/inference"
)

// This file chooses how the cells lie, where the backend can have them either way.
//
// In one pool a prefix is shared without copying and read once for all, but each
// token of a batch looks at the places of all sequences to find those of its own.
// In streams it looks at its own only, and a prefix is copied and read by each. So
// sequences that have little in common are quicker in streams, and those that share
// a long prompt in one pool; which it is depends on who is being served.
//
// The loop adds up what the steps lost by the layout they had, against the other
// one, and moves the cells when that is twice what moving them costs. Whatever
// comes next, it then never loses much more than somebody who knew it would have.

const (
	// layoutPatience is how many times the cost of moving is lost before.
	layoutPatience = 2
	// layoutFixed is what moving costs however few cells there are, in nanoseconds.
	layoutFixed = 20e6
	// splitCost is what a further computation in a step costs, in parts of the
	// quickest step: about half of that would have been spent on its tokens anyway.
	splitCost = 0.5
	// gapSteps is for how many steps a sequence that is moved is expected to run.
	gapSteps = 4
)

// layout is what the loop knows of the other way to lay out the cells.
type layout struct {
	regret   float64 // ns that steps lost by the layout they had
	poolOnly bool    // somebody who waits, or grows, has no room in a stream
	off      bool    // the backend could not move them
	moved    uint64  // times
}

// streaming reports whether the cells lie in streams for now.
func (l *loop) streaming() bool { return l.pool && !l.t.Unified }

// noteLayout adds what the step in l.parts lost by the layout.
func (l *loop) noteLayout() {
	if l.t.Streams == 0 || l.layout.off {
		return
	}
	scan, dup, used := 0, 0, l.cells.used
	if !l.t.Unified {
		for _, p := range l.parts {
			used -= p.c.seq.copied()
		}
	}
	for _, p := range l.parts {
		s := p.c.seq
		scan += (p.n + p.guess) * max(used-s.held, 0)
		dup += s.copied()
	}
	// What the step costs more in one pool than in streams.
	lost := l.t.ScanCost*float64(scan) - l.t.ReadCost*float64(dup) - float64(l.splits())*l.pace.least*splitCost
	if !l.t.Unified {
		lost = -lost
	}
	l.layout.regret = max(l.layout.regret+lost, 0)
}

// splits is into how many computations more than one the batch in l.parts is cut in
// streams: those computed together have equally many tokens and are neighbours. Of
// neighbours with unequal numbers the least is computed of all, then the rest. In
// one pool, where streams would be assigned anew, gaps are not counted.
func (l *loop) splits() int {
	n, last, size := -1, int32(-2), 0
	for _, p := range l.parts {
		tokens := p.n + p.guess
		if tokens != size || !l.t.Unified && p.c.seq.id != last+1 {
			n++
		}
		last, size = p.c.seq.id, tokens
	}
	return max(n, 0)
}

// copied is how many of the cells that s holds another running sequence holds too,
// or would, if there were one pool; a cell of n sequences counts for n-1 of them.
func (s *sequence) copied() int {
	if s.copies > 0 {
		return min(s.copies, s.held)
	}
	n := 0
	for g := s.chain.leaf; g != nil; g = g.parent {
		if g.live > 1 {
			n += g.length * (g.live - 1) / g.live
		}
	}
	return n
}

// wantsLayout reports whether the cells should be moved.
func (l *loop) wantsLayout() bool {
	if l.layout.poolOnly {
		return true
	}
	return l.layout.regret > layoutPatience*layoutFixed &&
		l.layout.regret > layoutPatience*(layoutFixed+l.t.CopyCost*float64(l.cells.used))
}

// lay moves the cells if they should lie otherwise and can.
func (l *loop) lay() {
	if !l.wantsLayout() {
		return
	}
	if l.loading > 0 {
		return // those cells are asked for in the layout that there was
	}
	fits := !l.t.Unified || l.fitsStreams()
	if fits && l.keepLeft(!l.t.Unified) > 0 {
		return // the next step goes on
	}
	l.layout.regret, l.layout.poolOnly = 0, false
	if fits {
		l.relayout(!l.t.Unified)
	}
}

// keepLeft stores the idle prefixes for which there will be no place, as far as the
// step has bytes left to move, and returns how many blocks those were not enough for.
func (l *loop) keepLeft(unified bool) (left int) {
	if l.store == nil || l.idle == 0 {
		return 0
	}
	order := l.inOrder()
	_, ids := l.places(order, unified)
	for i, s := range order {
		if ids[i] < 0 && !s.kept {
			n := l.keep(s, l.index.keys[s.id])
			s.kept = n == 0
			left += n
		}
	}
	return left
}

// closeGaps makes neighbours of those that decode in streams, where copying their
// cells costs less than a few steps lose by the gaps between them. What lies in a gap,
// such as a sequence whose prompt is computed aside, changes places with one of them.
func (l *loop) closeGaps() {
	if !l.streaming() || l.running < 2 || l.loading > 0 {
		return
	}
	first, n, cells := l.closest()
	if cells == 0 || l.t.CopyCost*float64(cells) > gapSteps*l.pace.least {
		return
	}
	gap := first
	for id := range int32(l.t.Sequences) {
		if id >= first && id < first+n || !l.inStep(l.seqs[id]) {
			continue
		}
		for l.inStep(l.seqs[gap]) {
			gap++
		}
		l.exchange(l.seqs[id], gap)
	}
}

// closest finds the n places in a row, as many as sequences decode, that those can be
// brought to by copying the fewest cells, and returns how many that are.
func (l *loop) closest() (first, n int32, cells int) {
	seqs := l.seqs[:l.t.Sequences]
	for _, s := range seqs {
		if l.inStep(s) {
			n++
		}
	}
	cost := func(id int32, within bool) int {
		s := seqs[id]
		switch {
		case s == nil || l.inStep(s) == within:
			return 0
		case within: // set aside, copied, and put back elsewhere
			return 2 * s.held
		}
		return max(s.held, 1)
	}
	for id := range int32(len(seqs)) {
		cells += cost(id, id < n)
	}
	sum := cells
	for at := int32(1); at+n <= int32(len(seqs)); at++ {
		out, in := at-1, at+n-1 // what the places lose and gain
		sum += cost(out, false) - cost(out, true) + cost(in, true) - cost(in, false)
		if sum < cells {
			first, cells = at, sum
		}
	}
	return first, n, cells
}

// inStep reports whether s has a row in the next step, or in the one after.
func (l *loop) inStep(s *sequence) bool {
	return s != nil && s.owner != nil && !s.waits() && !s.aside && s.owner.ahead() < l.aside.least
}

// outside returns where c is to be placed instead of at id, which is free, if it has a
// prompt to compute and would lie between those that decode: at one of their ends,
// whose sequence goes to id. To exchange the two later costs three times as much.
func (l *loop) outside(id int32, c *choice, h hit) int32 {
	begun := h.have
	if len(h.blocks) > 0 {
		begun = h.until
	}
	if !l.streaming() || h.leader == nil && len(c.tokens)-begun <= l.aside.least {
		return id
	}
	var first, last *sequence
	for _, s := range l.seqs[:l.t.Sequences] {
		if l.inStep(s) {
			if first == nil {
				first = s
			}
			last = s
		}
	}
	if first == nil || id < first.id || id > last.id {
		return id
	}
	end := last
	if first.held < last.held {
		end = first
	}
	if l.t.CopyCost*float64(end.held) > gapSteps*l.pace.least {
		return id
	}
	at := end.id
	l.move(end, id)
	return at
}

// exchange brings s to place id, and who is there to its own.
func (l *loop) exchange(s *sequence, id int32) {
	o := l.seqs[id]
	if o == nil {
		l.move(s, id)
		return
	}
	keys, filed := [2][]int32{l.index.keys[s.id], l.index.keys[o.id]}, [2]bool{s.filed, o.filed}
	l.unfile(s)
	l.unfile(o)
	whole := l.b.SeqSwap(s.id, o.id)
	s.id, o.id = o.id, s.id
	l.seqs[s.id], l.seqs[o.id] = s, o
	for i, moved := range [2]*sequence{s, o} {
		if filed[i] {
			l.file(moved, keys[i])
		}
		if !whole {
			l.recount(moved)
		}
	}
}

// fitsStreams reports whether every running sequence has room in a stream, and all
// their promises together in the cache when nothing is shared.
func (l *loop) fitsStreams() bool {
	total := 0
	for _, s := range l.seqs[:l.t.Sequences] {
		if s == nil || s.owner == nil {
			continue
		}
		if s.end > l.t.Streams {
			return false
		}
		total += s.end
	}
	return total <= l.t.Cells
}

// places returns who is where when the sequences of order have moved, and the id of
// each; -1: there is no place for it.
func (l *loop) places(order []*sequence, unified bool) (next []*sequence, ids []int32) {
	next, ids = make([]*sequence, len(l.seqs)), make([]int32, len(order))
	low, room := int32(0), l.t.Cells
	for _, s := range order {
		if s.owner != nil {
			room -= s.end
		}
	}
	for i, s := range order {
		id := low
		switch {
		case s.owner != nil:
			low++
		case unified:
			id = lastFree(next, len(next))
		case s.held > min(room, l.t.Streams):
			id = -1
		default:
			id = lastFree(next, l.t.Sequences)
			room -= s.held
		}
		if ids[i] = id; id >= 0 {
			next[id] = s
		}
	}
	return next, ids
}

// relayout moves the running sequences and, as far as there is room, the idle
// prefixes, and puts the books in order. Those that run become neighbours. If the
// backend cannot, it is not asked again: what lies in one pool stays there, and
// what lies in streams, which is not where everything fits, is given up.
func (l *loop) relayout(unified bool) {
	order := l.inOrder()
	next, ids := l.places(order, unified)
	index := newPrefixes()
	moves := make([]inference.SeqMove, 0, len(order))
	gone := order[:0:0]
	kept := order[:0]
	for i, s := range order {
		id := ids[i]
		if id < 0 {
			if !s.kept {
				l.save(s, l.index.keys[s.id])
			}
			gone = append(gone, s)
			continue
		}
		kept = append(kept, s)
		m := inference.SeqMove{From: s.id, To: id}
		if s.filed {
			key := l.index.keys[s.id]
			if unified {
				l.shareMoved(&m, s, key, index, next)
			}
			index.insert(s.scope, id, key)
		}
		if s.held > 0 {
			moves = append(moves, m)
		}
	}
	if err := l.b.Relayout(unified, moves); err != nil {
		l.layout.off = true
		if unified {
			l.giveUpStreams(engineError(err))
		}
		return
	}
	l.layout.moved++
	for _, s := range gone {
		s.filed = false
		l.idle--
	}
	l.seqs, l.index, l.t.Unified, l.turn, l.dirty = next, index, unified, 0, true
	l.rebook(kept, moves)
	l.obs.Layout(!unified)
}

// giveUpStreams fails all that run, and begins with an empty pool.
func (l *loop) giveUpStreams(err error) {
	for _, s := range l.seqs {
		if s != nil && s.owner != nil {
			l.fail(s.owner.req, err, "error", false)
		}
	}
	l.dropIdle()
	if l.b.Relayout(true, nil) == nil {
		l.t.Unified, l.cells.unified = true, true
	}
}

// inOrder returns all sequences: those that decode by their ids, then the others that
// run, then the idle prefixes, those worth most first.
func (l *loop) inOrder() []*sequence {
	var order []*sequence
	for _, s := range l.seqs {
		if s != nil {
			order = append(order, s)
		}
	}
	slices.SortStableFunc(order, func(a, b *sequence) int {
		switch {
		case a.owner != nil && b.owner != nil:
			switch x, y := l.inStep(a), l.inStep(b); {
			case x && !y:
				return -1
			case y && !x:
				return 1
			}
			return cmp.Compare(a.id, b.id)
		case a.owner != nil:
			return -1
		case b.owner != nil:
			return 1
		case colder(b, a):
			return -1
		case colder(a, b):
			return 1
		}
		return cmp.Compare(a.id, b.id)
	})
	return order
}

// lastFree returns the highest id below n that is free: neighbours of those that
// run are left for those to come. It is -1 if there is none.
func lastFree(seqs []*sequence, n int) int32 {
	for id := n - 1; id >= 0; id-- {
		if seqs[id] == nil {
			return int32(id)
		}
	}
	return -1
}

// shareMoved lets s take its first cells from one that was moved before it.
func (l *loop) shareMoved(m *inference.SeqMove, s *sequence, key []int32, index *prefixes, next []*sequence) {
	index.match(s.scope, key, func(id int32, n int) {
		if n = min(n, s.held, next[id].held); n >= l.cfg.Prefix.MinShare && n > int(m.Shared) {
			m.With, m.Shared = id, int32(n)
		}
	})
}

// rebook makes the ledger anew after the cells were moved.
func (l *loop) rebook(kept []*sequence, moves []inference.SeqMove) {
	copies := make([]int, len(kept))
	for i, s := range kept {
		copies[i] = s.copied()
	}
	l.cells, l.future = ledger{unified: l.t.Unified}, 0
	for id, s := range l.seqs {
		if s != nil {
			s.id = int32(id)
		}
	}
	for i, s := range kept {
		s.chain = chain{live: s.owner != nil}
		s.copies, s.own = 0, !l.t.Unified
		shared := 0
		if len(moves) > 0 && moves[0].To == s.id {
			if shared = int(moves[0].Shared); shared > 0 {
				l.cells.share(&s.chain, &l.seqs[moves[0].With].chain, shared)
			}
			moves = moves[1:]
		}
		l.cells.extend(&s.chain, s.held-shared)
		if !l.t.Unified {
			s.copies = copies[i]
		}
		l.future += s.future()
	}
}
