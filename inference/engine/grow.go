package engine

// grow extends the promises of those who are about to compute beyond theirs,
// the oldest first. Where no cells are left the youngest growing choice is
// preempted, which may be the one that asks: never one whose whole answer was
// promised.
func (l *loop) grow() {
	for {
		c := l.oldestShort()
		if c == nil || l.extend(c) {
			if c == nil {
				return
			}
			continue
		}
		l.preempt(l.youngest((*choice).openEnded))
	}
}

// keepPromises preempts the youngest while more is promised than there is: a
// follower computes its prefix by itself where the window of its leader has moved
// past it, and needs cells that it was to share. Idle prefixes go first.
func (l *loop) keepPromises() {
	if !l.pool {
		return
	}
	for l.running > 1 && l.cells.live+l.future > l.t.Cells {
		l.preempt(l.youngest(func(*choice) bool { return true }))
	}
	l.makeRoom()
}

// oldestShort finds the oldest choice whose next token has no promised cell.
func (l *loop) oldestShort() *choice {
	var oldest *choice
	for _, s := range l.seqs[:l.t.Sequences] {
		if s == nil || s.owner == nil || s.held < s.end {
			continue
		}
		if oldest == nil || compareAge(s.owner, oldest) < 0 {
			oldest = s.owner
		}
	}
	return oldest
}

// extend promises c a further block, or as much of it as there is, and reports
// whether that is anything.
func (l *loop) extend(c *choice) bool {
	s := c.seq
	n := min(l.cfg.Reserve, c.limit-1-s.end)
	if l.pool {
		n = min(n, l.t.Cells-l.cells.live-l.future)
	}
	if l.streaming() && s.end+n > l.t.Streams {
		if s.end == l.t.Streams {
			l.relayout(true)
			return c.seq != nil && l.t.Unified && l.extend(c)
		}
		n = l.t.Streams - s.end
	}
	if n <= 0 {
		return false
	}
	l.change(s, s.held, s.promised, s.end+n)
	c.makeSpace(s.end)
	l.makeRoom()
	return true
}

// youngest returns the youngest running choice that may be preempted.
func (l *loop) youngest(may func(*choice) bool) *choice {
	var found *choice
	for _, s := range l.seqs[:l.t.Sequences] {
		if s == nil || s.owner == nil || !may(s.owner) {
			continue
		}
		if found == nil || compareAge(s.owner, found) > 0 {
			found = s.owner
		}
	}
	return found
}

// preempt frees the cells of c, which goes back to the queue with its tokens. It
// resumes with what the store has of them and computes the rest again. Its sampler keeps its state, so the
// answer goes on as if nothing had happened.
func (l *loop) preempt(c *choice) {
	l.preempted++
	l.save(c.seq, c.tokens)
	l.release(c.seq, false)
	l.queue.pushResumed(c)
}
