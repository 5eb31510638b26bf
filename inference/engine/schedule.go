package engine

import (
	"cmp"
	"slices"
)

// plan fills the batch with at most limit tokens: first a row for every
// sequence that decodes, then chunks of prompts, all of those whose adapters
// have their turn.
func (l *loop) plan(limit int) {
	l.batch.Reset()
	l.parts, l.prefills, l.rowCount, l.rowTokens, l.guessed = l.parts[:0], l.prefills[:0], 0, 0, 0
	l.takeTurn()
	l.planRows(limit)
	room := limit - l.rowTokens - l.guessed
	if l.rowCount > 0 || l.turns.elsewhere > 0 {
		room = min(room, l.pace.chunk(crowd(l.rowCount+l.turns.elsewhere, l.running-l.rowCount-l.turns.elsewhere)))
	}
	l.orderPrefills()
	l.chooseAside()
	if l.aside.state != asideNone && l.rowCount > 0 {
		room /= 2 // the other half of the time is the chunk's
	}
	l.planPrefills(room)
}

// planRows adds the sequences that decode. They lie in the
// order of their ids: a backend with a cache for each sequence computes
// neighbours together. If they do not all fit, the rest begins the next step.
func (l *loop) planRows(limit int) {
	n := int32(l.t.Sequences)
	start := l.turn
	l.turn = 0
	for i := range n {
		s := l.seqs[(start+i)%n]
		if s == nil || s.owner == nil || s.waits() || s.aside {
			continue
		}
		c := s.owner
		if !l.inTurn(s) {
			if c.decodes() {
				l.turns.elsewhere++
			}
			continue
		}
		if !c.decodes() {
			l.prefills = append(l.prefills, c)
			continue
		}
		if l.rowTokens+l.guessed == limit {
			if l.turn == 0 {
				l.turn = s.id
			}
			continue
		}
		n := min(c.remaining(), limit-l.rowTokens-l.guessed, s.end-s.held)
		l.add(c, n)
		l.rowCount++
		l.rowTokens += n
		l.guess(c, limit)
	}
}

// orderPrefills sorts the prompts, the shortest first.
// Who waits gains on the others with every token that they get, so that a long
// prompt is not passed by short ones for ever. Of twice the share, a prompt counts
// as half as long. A leader is as urgent as the most urgent
// of those who follow it.
func (l *loop) orderPrefills() {
	if len(l.prefills) == 0 {
		return
	}
	for _, c := range l.prefills {
		c.urgency = urgency(c, c.remaining())
	}
	for _, f := range l.seqs[:l.t.Sequences] {
		if f == nil || f.source == nil {
			continue
		}
		head := f.source
		for head.source != nil {
			head = head.source
		}
		if head.owner != nil {
			head.owner.urgency = min(head.owner.urgency, urgency(f.owner, len(f.owner.tokens)-head.held))
		}
	}
	slices.SortFunc(l.prefills, func(a, b *choice) int {
		return cmp.Or(cmp.Compare(a.urgency, b.urgency), cmp.Compare(a.seq.ticket, b.seq.ticket))
	})
}

// planPrefills shares room tokens out among the prompts in their order.
func (l *loop) planPrefills(room int) {
	for _, c := range l.prefills {
		n := min(c.remaining(), room)
		if n <= 0 {
			break
		}
		if l.waitsForAside(c) {
			continue
		}
		l.add(c, n)
		room -= n
	}
}

// urgency is that of c, of whose prompt so many tokens are left to compute.
func urgency(c *choice, left int) float64 { return float64(left)/c.req.share() - float64(c.credit) }

// add puts the next n tokens of c into the batch. The row of its last token is
// wanted: the next token is drawn from it.
func (l *loop) add(c *choice, n int) {
	s := c.seq
	last := n == c.remaining()
	l.parts = append(l.parts, part{c: c, first: l.batch.Len(), n: n, last: last})
	for i := range n {
		pos := s.held + i
		l.batch.Add(c.tokens[pos], int32(pos), s.id, last && i == n-1)
	}
}

// account takes over what a successful decode put into the cache.
func (l *loop) account() (prefilled int) {
	for i := range l.parts {
		p := &l.parts[i]
		s := p.c.seq
		l.cells.extend(&s.chain, p.n)
		l.change(s, s.held+p.n, s.promised, s.end)
		if i >= l.rowCount {
			prefilled += p.n
			l.progress(p.c)
		}
	}
	l.decoded += uint64(l.rowCount)
	l.noteTurn(prefilled)
	if prefilled == 0 {
		return 0
	}
	l.giveCredit(prefilled)
	return prefilled
}

// giveCredit lets those who wait gain on those whose tokens were computed.
func (l *loop) giveCredit(prefilled int) {
	for _, s := range l.seqs[:l.t.Sequences] {
		if s != nil && s.owner != nil && !s.owner.decodes() {
			s.owner.credit += prefilled
		}
	}
}
