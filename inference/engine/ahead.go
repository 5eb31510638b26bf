package engine

import (
	"errors"

	"hearth/inference"
)

// This file holds the steps that go ahead. Where the next batch is certain to be
// the tokens that are drawn from this one, the backend begins with it by itself,
// and the loop hands out those tokens meanwhile: otherwise the processors would
// rest for as long as it takes to wake one thread and then the other.
//
// While a batch is ahead the loop touches neither memory nor mailbox. It costs a
// stop string one row that nobody draws from; what was computed is the choice's
// own last token, so there is nothing to take back.

// housekeeping is how many steps may go ahead in a row before the loop does what
// it does between two steps, as taking back idle prefixes.
const housekeeping = 64

// goesOn reports whether the step after the one in l.parts is already known: a
// row for each choice that runs, with its cells promised.
func (l *loop) goesOn() bool {
	if l.cfg.StepByStep || len(l.rows) != l.running || len(l.rows) == 0 || l.guessed > 0 || l.dirty && l.queue.size > 0 || l.wantsLayout() || (l.steps+1)%housekeeping == 0 {
		return false
	}
	for _, p := range l.parts {
		s := p.c.seq
		if !p.last || s.held+p.n >= s.end || len(p.c.tokens)+2 > p.c.limit {
			return false
		}
		if len(l.followed(p.c)) > 0 {
			return false // a step that guesses is worth more than one that goes ahead
		}
	}
	return !l.mailed()
}

// catchUp does the loop's part of a step that went ahead.
func (l *loop) catchUp() {
	l.batch.Reset()
	l.parts, l.rowCount, l.rowTokens, l.guessed = l.parts[:0], 0, 0, 0
	for _, c := range l.sampling {
		l.add(c, 1)
		l.rowCount++
		l.rowTokens++
	}
	l.wantRows()
	err := l.run(nil, l.goesOn())
	if err == nil {
		l.sample()
	}
	if l.ahead {
		return
	}
	l.endStopped()
	if err != nil && !errors.Is(err, inference.ErrNoSlot) {
		l.resync(engineError(err))
	}
	// Without a slot nothing was computed: the next plan has the same rows.
}

// stop ends c, whose stop string came: once nothing is ahead.
func (l *loop) stop(c *choice) {
	l.cut(c.seq, min(c.seq.held, len(c.tokens))) // right guesses behind it are no part of the answer
	if !l.ahead {
		l.finish(c, inference.FinishStop)
		return
	}
	c.stopped = true
	l.stops = append(l.stops, c)
}

// endStopped ends those that had to wait for it.
func (l *loop) endStopped() {
	for _, c := range l.stops {
		l.finish(c, inference.FinishStop)
	}
	l.stops = l.stops[:0]
}
