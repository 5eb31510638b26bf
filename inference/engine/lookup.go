package engine

// This file holds prompt lookup (Saxena 2023, "Prompt Lookup Decoding"): where the
// last tokens of a text came before in it, the tokens that followed there are
// guessed to follow again. A step computes the guesses beside the token that is
// certain, and the sampler draws from one row after the other for as long as it
// draws what was guessed. The tokens are those that it would have drawn one by one.

const (
	lookupMatch = 3       // tokens that must have come before
	lookupBack  = 1 << 14 // how far back they are looked for
	lookupPause = 8       // tokens without a guess after a wrong one, doubled by each further
	lookupMost  = 1024    // and never more than that
)

// lookup is how well guessing goes in one choice.
type lookup struct {
	size int // guesses in the next step; 0: the first
	from int // length of the text from which on to guess
	miss int // steps in a row whose first guess was wrong

	seen     int     // length of the text that followed belongs to
	followed []int32 // what match found
}

// match finds the last place before the end where the last tokens came before,
// and returns what followed there, up to the end; empty: nowhere.
func match(tokens []int32) []int32 {
	n := len(tokens)
	if n <= lookupMatch {
		return nil
	}
	a, b, c := tokens[n-3], tokens[n-2], tokens[n-1]
	for i := n - 2; i >= max(lookupMatch-1, n-lookupBack); i-- {
		if tokens[i] == c && tokens[i-1] == b && tokens[i-2] == a {
			return tokens[i+1:]
		}
	}
	return nil
}

// followed returns what may be guessed to follow the last token of c; empty:
// nothing. The text is searched once, however often a step asks.
func (l *loop) followed(c *choice) []int32 {
	k := &c.lookup
	if l.cfg.Lookup.Off || l.certain || c.req.probe || l.running > l.cfg.Lookup.Rows || len(c.tokens) < k.from {
		return nil
	}
	if k.seen != len(c.tokens) {
		k.seen, k.followed = len(c.tokens), match(c.tokens)
	}
	return k.followed
}

// guess adds guesses behind the row of c that was added last. They take at most
// half of a batch: what is certain goes first. What the sampler foresaw goes
// before what came in the text.
func (l *loop) guess(c *choice, limit int) {
	p := &l.parts[len(l.parts)-1]
	s := c.seq
	next := s.held + p.n // the first position of a guess
	most := min(limit/2-l.guessed, limit-l.rowTokens-l.guessed, s.end-next, c.limit-len(c.tokens)-1)
	if !p.last || most <= 0 {
		return
	}
	followed := l.foreseen(c)
	if p.forced = len(followed) > 0; p.forced {
		most = min(most, l.cfg.Forced.Tokens-l.guessed, len(followed))
	} else if followed = l.followed(c); len(followed) > 0 {
		most = min(most, l.cfg.Lookup.Tokens-l.guessed, max(c.lookup.size, 1))
	}
	if len(followed) == 0 || most <= 0 {
		return
	}
	for i := range most {
		// Behind the end of the text the guesses themselves go on: a loop.
		l.batch.Add(followed[i%len(followed)], int32(next+i), s.id, true)
	}
	p.guess = most
	l.guessed += most
}

// settleGuesses keeps what was guessed right in the books and takes the rest out
// of the cache. Nobody's end may come before that.
func (l *loop) settleGuesses() {
	if l.guessed == 0 {
		return
	}
	row := 0
	for i := range l.parts {
		p := &l.parts[i]
		if !p.last {
			continue
		}
		first := row
		row += 1 + p.guess
		if p.guess == 0 {
			continue
		}
		right := 0
		for right < p.guess && !l.sampled[first+1+right].Skipped {
			right++
		}
		s := p.c.seq
		l.cells.extend(&s.chain, right)
		l.change(s, s.held+right, s.promised, s.end)
		if right < p.guess && !l.b.SeqRemove(s.id, int32(s.held), -1) {
			l.cut(s, 0) // it has to be computed again
		}
		if p.forced {
			l.obs.Forced(p.guess, right, 0)
			continue
		}
		p.c.lookup.note(p.guess, right, len(p.c.tokens), l.cfg.Lookup.Tokens)
		l.obs.Guessed(p.guess, right)
	}
}

// note learns from the guesses of one step: more after right ones, none for a
// while after wrong ones.
func (k *lookup) note(guesses, right, length, most int) {
	switch right {
	case guesses:
		k.size, k.miss = min(2*guesses, most), 0
	case 0:
		k.size = 1
		k.from = length + min(lookupPause<<min(k.miss, 10), lookupMost)
		k.miss++
	default:
		k.size, k.miss = right, 0
	}
}
