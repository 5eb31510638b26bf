package engine

import (
	"time"

	"hearth/inference"
)

// This file holds text that a grammar leaves no choice about, as the keys of a
// JSON schema. The sampler walks the grammar behind each token that it draws (in
// inference/llama: shim_forced.cpp), and hands out two things. What is likely to
// follow is guessed: the next step computes it beside the token that is certain,
// and draws as it does for other guesses (lookup.go), so it never changes the
// tokens. What has to follow is appended, where a request or the configuration
// says so: it becomes a part of the answer without a draw, and the next step
// computes it.

// mostForeseen is the most tokens that are guessed behind one.
const mostForeseen = 24

// forced is what the sampler foresaw behind the last token that it drew.
type forced struct {
	likely   []int32 // to follow all tokens of the choice
	appended int     // so many of those, at their end, were not drawn
}

// foreseen returns what may be guessed to follow the last token of c.
func (l *loop) foreseen(c *choice) []int32 {
	if l.certain || l.cfg.Forced.Tokens == 0 || l.running > l.cfg.Forced.Rows {
		return nil
	}
	return c.forced.likely
}

// takeForeseen takes over what follows t, the last token that was drawn for c.
func (l *loop) takeForeseen(c *choice, t *inference.Sampled, now time.Time) {
	f := &c.forced
	f.likely, f.appended = f.likely[:0], 0
	for _, id := range t.Appended {
		if c.ended || c.stopped {
			return
		}
		f.appended++
		l.appended = inference.Sampled{Token: id}
		l.accept(c, &l.appended, now)
	}
	if f.appended > 0 {
		l.obs.Forced(0, 0, f.appended)
	}
	f.likely = append(f.likely, t.Likely...)
}
