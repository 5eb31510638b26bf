package engine

import (
	"slices"
	"time"

	"hearth/inference"
)

// This file computes prompts aside: beside the steps, where the backend can.
//
// A prompt in the same batch as rows that decode comes in chunks of a few dozen
// tokens, because each holds those rows up, and so small a chunk costs half as
// much again for each token. Aside, a chunk of hundreds of tokens is computed in
// slices of time instead: a step of the rows, a slice of the chunk, the next step.
// Its cells join the sequences when all of it is computed; until then the books
// know nothing of them. The last token of a prompt is left for a step, which draws
// from its row as from any other.

const (
	// asideLeast is the fewest tokens that are computed aside: fewer cost as much
	// for each token as they do in a batch with rows.
	asideLeast = 64
	// asideMost is the most, however long they take: fewer cost more for each token.
	// Where asideTime is enough for more, it is as many as that, up to asideTimes as
	// many: others wait for them.
	asideMost  = 256
	asideTime  = 1600 * time.Millisecond
	asideTimes = 2
	// asideCells is the most cells of several sequences in one chunk, but for those
	// that they have in common: each token looks at the places of all of them.
	asideCells = 1024
)

// asidePart is what one sequence contributes to the chunk.
type asidePart struct {
	s       *sequence // nil: it has left
	id      int32     // that it had when the chunk began
	from, n int       // positions
	shared  int       // cells that it has in common with the first part
}

// asideState says how far the chunk is.
type asideState int

const (
	asideNone   asideState = iota
	asideChosen            // the plan has taken it, and the backend does not know yet
	asideBegun
)

// aside is the chunk that is computed beside the steps. The memory is reused.
type aside struct {
	least, most, cells int // asideLeast, asideMost and asideCells; tests have smaller ones

	state asideState
	parts []asidePart // stay until the next chunk is chosen
	batch inference.Batch
	moves []inference.SeqMove
	spent time.Duration
	token float64 // ns that one token costs; 0: not measured yet
	joins uint64  // chunks whose cells joined their sequences
	turns uint64  // slices that were computed
	off   bool    // the backend could not
}

// ahead is how many tokens of c are computed before the next step can draw.
func (c *choice) ahead() int { return c.remaining() - 1 - c.forced.appended }

// chooseAside takes the most urgent of the prompts in l.prefills that are worth it
// for a chunk, if there is none.
func (l *loop) chooseAside() {
	a := &l.aside
	if a.state != asideNone || a.off || l.t.Aside == 0 || l.rowCount == 0 {
		return
	}
	for i := range l.prefills {
		if l.gather(l.prefills[i:]) < a.least {
			continue
		}
		a.state, a.spent = asideChosen, 0
		for _, p := range a.parts {
			p.s.aside = true
		}
		l.prefills = slices.DeleteFunc(l.prefills, func(c *choice) bool { return c.seq.aside })
		return
	}
	a.parts = a.parts[:0]
}

// size is the most tokens of a chunk.
func (a *aside) size() int {
	if a.token <= 0 {
		return a.most
	}
	return int(min(max(float64(asideTime)/a.token, float64(a.most)), float64(asideTimes*a.most)))
}

// gather fills a.parts with the first of prompts, and with others that add few
// cells, and returns how many tokens that are.
func (l *loop) gather(prompts []*choice) int {
	a := &l.aside
	a.parts = a.parts[:0]
	most := min(a.size(), capacity(l.t))
	tokens, cells := 0, 0
	for _, c := range prompts {
		s := c.seq
		n := min(evenly(c.ahead(), most), most-tokens)
		p := asidePart{s: s, from: s.held, n: n}
		if n > 0 && len(a.parts) > 0 {
			p.shared = l.inCommon(c, a.parts[0].s.owner)
		}
		all := cells + s.held - p.shared + n
		if n <= 0 || all > l.t.Aside || len(a.parts) > 0 && all-p.shared > a.cells {
			if len(a.parts) == 0 {
				return 0
			}
			continue
		}
		a.parts = append(a.parts, p)
		tokens += n
		cells = all
	}
	return tokens
}

// inCommon is how many of its first cells c may share with b.
func (l *loop) inCommon(c, b *choice) int {
	if l.t.Window > 0 || !l.share || c.req.scope != b.req.scope || c.req.probe || b.req.probe {
		return 0
	}
	n, end := 0, min(c.seq.held, b.seq.held)
	for n < end && c.tokens[n] == b.tokens[n] {
		n++
	}
	if n < l.cfg.Prefix.MinShare {
		return 0
	}
	return n
}

// evenly is how many of n tokens to compute at once, at most that many, so that no
// few are left over in the end.
func evenly(n, most int) int {
	parts := (n + most - 1) / most
	if parts < 2 {
		return n
	}
	return (n + parts - 1) / parts
}

// waitsForAside reports whether c is worth a chunk to come, and computes nothing
// meanwhile.
func (l *loop) waitsForAside(c *choice) bool {
	return l.aside.state != asideNone && l.rowCount > 0 && c.ahead() >= l.aside.least && c.seq.held+l.aside.least <= l.t.Aside
}

// beginAside gives the chunk that was chosen to the backend, and reports whether it
// took it.
func (l *loop) beginAside() bool {
	a := &l.aside
	a.batch.Reset()
	a.moves = a.moves[:0]
	for i := range a.parts {
		p := &a.parts[i]
		if p.s == nil {
			continue
		}
		if l.t.Adapters > 0 && (l.turns.unknown || l.turns.loaded != p.s.scope.adapters) || p.s.held != p.from {
			l.endAside()
			return false
		}
		p.id = p.s.id
		if p.shared > 0 {
			a.moves = append(a.moves, inference.SeqMove{From: p.id, With: a.parts[0].id, Shared: int32(p.shared)})
		}
		for pos := p.from; pos < p.from+p.n; pos++ {
			a.batch.Add(p.s.owner.tokens[pos], int32(pos), p.id, false)
		}
	}
	if err := l.b.BeginAside(&a.batch, a.moves); err != nil {
		a.off = true
		l.endAside()
		return false
	}
	a.state = asideBegun
	return true
}

// advanceAside computes a slice of the chunk after a step that took so long, and
// reports whether there was one.
func (l *loop) advanceAside(took time.Duration) bool {
	a := &l.aside
	if a.state == asideNone || a.state == asideChosen && !l.beginAside() {
		return false
	}
	began := l.now()
	done, err := l.b.AdvanceAside(l.slice(took))
	a.spent += l.now().Sub(began)
	a.turns++
	switch {
	case err != nil:
		a.off = true
		l.dropAside()
	case done:
		l.joinAside()
	}
	return true
}

// slice is how long the chunk may be computed after a step that took so long.
func (l *loop) slice(took time.Duration) time.Duration {
	rows := l.rowCount + l.turns.elsewhere
	crowd := crowd(rows, l.running-rows)
	if rows == 0 {
		return time.Duration(l.pace.target * crowd)
	}
	return time.Duration(max(l.pace.limit(crowd)-float64(took), l.pace.decode/2, 1e6))
}

// joinAside adds the cells of the chunk to the sequences that still want them.
func (l *loop) joinAside() {
	a := &l.aside
	a.moves = a.moves[:0]
	for i := range a.parts {
		p := &a.parts[i]
		switch {
		case p.s == nil:
		case p.s.held != p.from: // the backend has lost cells
			p.s.aside, p.s = false, nil
		default:
			a.moves = append(a.moves, inference.SeqMove{From: p.id, To: p.s.id})
		}
	}
	err := l.b.EndAside(a.moves)
	joined := 0
	for _, p := range a.parts {
		switch {
		case p.s == nil:
		case err != nil:
			l.recount(p.s)
		default:
			l.cells.extend(&p.s.chain, p.n)
			l.change(p.s, p.from+p.n, p.s.promised, p.s.end)
			l.progress(p.s.owner)
			joined += p.n
		}
	}
	l.endAside()
	if err != nil {
		a.off = true
		l.keepPromises() // what is lost has to be computed again
		l.makeRoom()
		return
	}
	a.joins++
	if joined >= a.least {
		smooth(&a.token, float64(a.spent)/float64(joined))
	}
	l.obs.Step(0, joined, a.spent)
	l.giveCredit(joined)
}

// leaveAside takes s, which stops computing, out of the chunk.
func (l *loop) leaveAside(s *sequence) {
	if !s.aside {
		return
	}
	s.aside = false
	left := false
	for i := range l.aside.parts {
		if p := &l.aside.parts[i]; p.s == s {
			p.s = nil
		} else if p.s != nil {
			left = true
		}
	}
	if !left {
		l.dropAside()
	}
}

// dropAside gives up the chunk.
func (l *loop) dropAside() {
	if l.aside.state == asideBegun {
		// It has nothing to say: no cell of a sequence was touched.
		_ = l.b.EndAside(nil)
	}
	l.endAside()
}

// endAside lets the sequences of the chunk go on otherwise.
func (l *loop) endAside() {
	l.aside.state = asideNone
	for _, p := range l.aside.parts {
		if p.s != nil {
			p.s.aside = false
		}
	}
}
