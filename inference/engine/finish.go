package engine

import (
	"errors"
	"io"

	"hearth/inference"
)

// finish ends one choice well. What it holds may serve as a prefix.
func (l *loop) finish(c *choice, reason inference.FinishReason) {
	r := c.req
	text, lps := c.text.flush()
	l.say(c, text, lps)
	r.stream.push(record{kind: KindFinish, choice: c.index, finish: reason}, nil)
	l.endChoice(c, true)
	if r.outcome == "" {
		r.outcome = string(reason)
	}
	r.open--
	if r.open > 0 {
		return
	}
	r.stream.push(record{kind: KindUsage, usage: l.usage(r)}, nil)
	l.endRequest(r, r.outcome, io.EOF)
}

// fail ends a request with an error. What its sequences hold is kept if keep
// allows.
func (l *loop) fail(r *request, err error, outcome string, keep bool) {
	if r.ended {
		return
	}
	for _, c := range r.choices {
		if !c.ended {
			l.endChoice(c, keep)
		}
	}
	l.endRequest(r, outcome, err)
}

// abandon ends a request that its client or its deadline gave up.
func (l *loop) abandon(r *request, cause error) {
	outcome := "error"
	switch {
	case errors.Is(cause, inference.ErrDeadline):
		outcome = "deadline"
	case errors.Is(cause, inference.ErrCancelled):
		outcome = "cancelled"
	}
	l.fail(r, cause, outcome, true)
}

// endChoice frees what c has: its place in the queue or its sequence, and its
// sampler.
func (l *loop) endChoice(c *choice, keep bool) {
	c.ended = true
	if c.seq != nil {
		l.release(c.seq, keep)
	} else if l.queue.remove(c) {
		l.dirty = true
	}
	closeSampler(c)
}

func closeSampler(c *choice) {
	if s := c.sampler; s != nil {
		c.sampler = nil
		// The one error there is says that it was closed before.
		_ = s.Close()
	}
}

// endRequest closes the accounts of a request whose choices have all ended, and
// then its stream: who sees the end finds the cells free.
func (l *loop) endRequest(r *request, outcome string, end error) {
	r.ended = true
	r.release()
	if !r.probe {
		u := l.usage(r)
		l.obs.Done(outcome, u.PromptTokens, u.CachedTokens, u.CompletionTokens, u.Duration)
	}
	l.publish()
	r.stream.finish(end)
	l.ended(r)
}

// usage counts the tokens of r up to now; those that end a generation count.
func (l *loop) usage(r *request) inference.Usage {
	u := inference.Usage{
		PromptTokens: len(r.Prompt),
		CachedTokens: max(r.cached, 0),
		Duration:     l.now().Sub(r.submitted),
	}
	for _, c := range r.choices {
		u.CompletionTokens += len(c.tokens) - len(r.Prompt)
	}
	if !r.first.IsZero() {
		u.TTFT = r.first.Sub(r.submitted)
	}
	return u
}
