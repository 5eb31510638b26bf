package engine

// segment is a run of cells that lie behind one another in one or more
// sequences. A sequence's cells are a chain of segments from its last one up to
// the start; sequences that share a prefix share the upper segments.
type segment struct {
	parent *segment
	length int
	refs   int // chains that end here, and segments whose parent this is
	live   int // running sequences whose cells include these
}

// chain is what one sequence holds.
type chain struct {
	leaf   *segment
	length int
	live   bool // the sequence runs; otherwise it is an idle prefix
}

// ledger counts cells as the backend holds them, each once however many
// sequences share it. Where sequences have caches of their own, nothing is
// shared and a copy counts anew.
type ledger struct {
	unified bool
	used    int // cells held by any sequence
	live    int // cells held by a running sequence
	free    *segment
}

// get returns an empty segment; the ledger keeps those it gets back.
func (g *ledger) get() *segment {
	s := g.free
	if s == nil {
		return &segment{}
	}
	g.free = s.parent
	*s = segment{}
	return s
}

// extend adds n cells at the end of c.
func (g *ledger) extend(c *chain, n int) {
	if n == 0 {
		return
	}
	if c.leaf == nil || c.leaf.refs > 1 {
		s := g.get()
		s.parent, s.refs = c.leaf, 1
		if c.live {
			s.live = 1
		}
		c.leaf = s // the parent's reference by the chain is now the segment's
	}
	c.leaf.length += n
	c.length += n
	g.used += n
	if c.leaf.live > 0 {
		g.live += n
	}
}

// share gives dst, which is empty, the first n cells of src.
func (g *ledger) share(dst, src *chain, n int) {
	if n == 0 {
		return
	}
	if !g.unified {
		g.extend(dst, n)
		return
	}
	s, end := src.leaf, src.length
	for end-s.length >= n {
		end -= s.length
		s = s.parent
	}
	if n < end {
		upper := g.get()
		upper.parent, upper.length = s.parent, s.length-(end-n)
		upper.refs, upper.live = 1, s.live
		s.parent, s.length = upper, end-n
		s = upper
	}
	s.refs++
	dst.leaf, dst.length = s, n
	if dst.live {
		g.enliven(s)
	}
}

// trim takes away what c holds from cell n on.
func (g *ledger) trim(c *chain, n int) {
	if n >= c.length {
		return
	}
	if !g.unified {
		cut := c.length - n
		g.used -= cut
		if c.live {
			g.live -= cut
		}
		c.leaf.length -= cut
		c.length = n
		return
	}
	kept := chain{live: c.live}
	g.share(&kept, c, n)
	g.drop(c)
	*c = kept
}

// drop takes away all that c holds.
func (g *ledger) drop(c *chain) {
	if c.live {
		g.deaden(c.leaf)
	}
	for s := c.leaf; s != nil; {
		s.refs--
		if s.refs > 0 {
			break
		}
		g.used -= s.length
		up := s.parent
		s.parent, g.free = g.free, s
		s = up
	}
	c.leaf, c.length = nil, 0
}

// setLive marks c as running or idle.
func (g *ledger) setLive(c *chain, live bool) {
	switch {
	case live && !c.live:
		g.enliven(c.leaf)
	case !live && c.live:
		g.deaden(c.leaf)
	}
	c.live = live
}

func (g *ledger) enliven(s *segment) {
	for ; s != nil; s = s.parent {
		if s.live == 0 {
			g.live += s.length
		}
		s.live++
	}
}

func (g *ledger) deaden(s *segment) {
	for ; s != nil; s = s.parent {
		s.live--
		if s.live == 0 {
			g.live -= s.length
		}
	}
}
