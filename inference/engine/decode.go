package engine

import (
	"errors"
	"fmt"
	"time"

	"hearth/inference"
)

// compute plans, decodes and samples one batch, and reports whether there was
// one.
func (l *loop) compute() bool {
	limit := capacity(l.t)
	l.certain = false
	for {
		l.plan(limit)
		if l.batch.Len() == 0 {
			return false
		}
		if err := l.adapt(); err != nil {
			l.failParts(engineError(err))
			return true
		}
		l.wantRows()
		l.began = l.now()
		err := l.run(&l.batch, l.goesOn())
		switch {
		case err == nil:
			l.sample()
			return true
		case errors.Is(err, inference.ErrNoSlot) && l.guessed > 0:
			l.certain = true
		case errors.Is(err, inference.ErrNoSlot):
			var again bool
			if limit, again = l.squeeze(); !again {
				l.failParts(engineError(err))
				return true
			}
		default:
			l.resync(engineError(err))
			return true
		}
	}
}

// wantRows asks for a token for every part that ends in a wanted row.
func (l *loop) wantRows() {
	l.rows, l.sampling = l.rows[:0], l.sampling[:0]
	for _, p := range l.parts {
		if p.last && !p.c.stopped {
			for i := range 1 + p.guess {
				l.rows = append(l.rows, inference.SampleRow{Index: p.first + p.n - 1 + i, Sampler: p.c.sampler, Guess: i > 0})
			}
			l.sampling = append(l.sampling, p.c)
		}
	}
}

// run computes b, or the batch that the step before went ahead with, and draws.
func (l *loop) run(b *inference.Batch, more bool) (err error) {
	l.ahead, err = l.b.Step(b, l.rows, l.sampled[:len(l.rows)], more)
	return err
}

// squeeze reacts to a cache that is fuller than the ledger says: it drops what
// is idle, then makes the batch smaller, then preempts the youngest of the
// others. again is false when a single token of a single sequence has no room.
func (l *loop) squeeze() (limit int, again bool) {
	if l.dropIdle() {
		return capacity(l.t), true
	}
	if n := l.batch.Len(); n > 1 {
		return n / 2, true
	}
	if victim := l.youngest(func(c *choice) bool { return c != l.parts[0].c }); victim != nil {
		l.preempt(victim)
		return capacity(l.t), true
	}
	return 0, false
}

// engineError marks what the backend reports as the engine's failure.
func engineError(err error) error {
	if errors.Is(err, inference.ErrInvalid) {
		return err // of what the client asked for
	}
	return fmt.Errorf("%w: %w", inference.ErrEngine, err)
}

// failParts fails the requests that the batch touched.
func (l *loop) failParts(err error) {
	for _, p := range l.parts {
		l.fail(p.c.req, err, "error", false)
	}
}

// resync follows a decode that failed half-way: those in the batch are failed,
// and of every other sequence only what the backend still holds counts.
func (l *loop) resync(err error) {
	l.failParts(err)
	for _, s := range l.seqs {
		if s == nil {
			continue
		}
		l.recount(s)
	}
}

// recount takes over what the backend holds of s where that is not what the books
// say. An idle prefix of which that is so is dropped.
func (l *loop) recount(s *sequence) {
	holds := int(l.b.SeqPosMax(s.id)) + 1
	switch {
	case holds == s.held:
	case s.owner == nil:
		l.drop(s)
	case holds < s.held:
		l.cells.trim(&s.chain, max(holds, 0))
		l.change(s, max(holds, 0), s.promised, s.end)
	default:
		if !l.b.SeqRemove(s.id, int32(s.held), -1) {
			l.b.SeqRemove(s.id, -1, -1)
			l.cells.trim(&s.chain, 0)
			l.change(s, 0, s.promised, s.end)
		}
	}
}

// sample takes over what was computed and hands out the tokens that were drawn.
func (l *loop) sample() {
	prefilled := l.account()
	l.noteLayout()
	l.settleGuesses()
	now := l.now()
	l.steps++
	l.obs.Step(l.rowCount, prefilled, now.Sub(l.began))
	if len(l.rows) > 0 {
		l.pace.observe(l.rowCount, prefilled, now.Sub(l.began))
	}
	l.began = now // of the step that goes ahead
	row := 0
	for _, c := range l.sampling {
		drawn := &l.sampled[row]
		l.acceptRow(c, drawn, now)
		for row++; row < len(l.rows) && l.rows[row].Guess; row++ {
			if !l.sampled[row].Skipped {
				drawn = &l.sampled[row]
			}
			l.acceptRow(c, &l.sampled[row], now)
		}
		l.takeForeseen(c, drawn, now)
	}
}

// acceptRow takes what was drawn for c from one row.
func (l *loop) acceptRow(c *choice, t *inference.Sampled, now time.Time) {
	switch {
	case c.ended: // with another choice of its request, or at the row before
	case t.Skipped || c.stopped:
	case t.Err != nil:
		l.fail(c.req, engineError(t.Err), "error", false)
	default:
		l.accept(c, t, now)
	}
}

// accept takes a token that was drawn for c.
func (l *loop) accept(c *choice, t *inference.Sampled, now time.Time) {
	r := c.req
	l.lastToken = now
	c.tokens = append(c.tokens, t.Token)
	if !r.probe {
		if r.first.IsZero() {
			l.obs.FirstToken(now.Sub(r.submitted))
		}
		if !c.last.IsZero() {
			l.obs.InterToken(now.Sub(c.last))
		}
	}
	if r.first.IsZero() {
		r.first = now
	}
	c.last = now
	if l.b.EndOfGeneration(t.Token) {
		l.finish(c, inference.FinishStop)
		return
	}
	if l.emit(c, t) {
		l.stop(c)
		return
	}
	if len(c.tokens) >= c.limit {
		l.finish(c, inference.FinishLength)
	}
}

// emit hands out the text that t makes certain, and reports whether it
// completed a stop string.
func (l *loop) emit(c *choice, t *inference.Sampled) (stopped bool) {
	r := c.req
	var lp inference.TokenLogprob
	if r.Logprobs {
		lp = inference.TokenLogprob{Token: t.Token, Bytes: l.b.Piece(t.Token, true), Logprob: t.Logprob}
		lp.Top = append(lp.Top, t.Top...)
		for i := range lp.Top {
			lp.Top[i].Bytes = l.b.Piece(lp.Top[i].Token, true)
		}
	}
	text, lps, stopped := c.text.add(l.b.Piece(t.Token, r.shows(t.Token)), lp)
	l.say(c, text, lps)
	return stopped
}

// say puts text into the request's stream.
func (l *loop) say(c *choice, text []byte, lps []inference.TokenLogprob) {
	if len(text) > 0 || len(lps) > 0 {
		c.req.stream.push(record{kind: KindText, choice: c.index, logprobs: lps}, text)
	}
}

// progress tells how much of the prompt is in the cache, while no text came yet.
func (l *loop) progress(c *choice) {
	r := c.req
	if c.index > 0 || !r.first.IsZero() {
		return
	}
	r.stream.push(record{kind: KindProgress, progress: inference.Progress{
		Prefilled: min(c.seq.held, len(r.Prompt)), Prompt: len(r.Prompt),
	}}, nil)
}
