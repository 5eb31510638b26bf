package router

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"hearth/inference"
)

// principals bounds what each principal has in flight and how often it calls.
type principals struct {
	calls int
	rate  Rate

	mu  sync.Mutex
	all map[string]*principal
}

type principal struct {
	running int
	limiter *rate.Limiter
	last    time.Time
}

// maxPrincipals is how many are remembered; idle ones go first.
const maxPrincipals = 4096

func newPrincipals(calls int, r Rate) *principals {
	return &principals{calls: calls, rate: r, all: map[string]*principal{}}
}

func newLimiter(r Rate) *rate.Limiter {
	if r.Calls == 0 {
		return nil
	}
	// A burst of a second's worth, and of one call at least.
	per := float64(r.Calls) / r.Per.Seconds()
	return rate.NewLimiter(rate.Limit(per), max(1, int(per)))
}

// take counts a call of name, or says why it may not begin. The function returned
// counts its end.
func (p *principals) take(name string, now time.Time) (done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.known(name, now)
	if one.running >= p.calls {
		return nil, busy(time.Second, "%d calls of yours run already, which is the most: wait for one of them to end", one.running)
	}
	if err := tooFast(one.limiter, now, "you"); err != nil {
		return nil, err
	}
	one.running++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		one.running--
	}, nil
}

// pace takes one call of name from its rate, or says why it may not begin.
func (p *principals) pace(name string, now time.Time) error {
	if p.rate.Calls == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return tooFast(p.known(name, now).limiter, now, "you")
}

// known returns what is remembered of name. The lock is held.
func (p *principals) known(name string, now time.Time) *principal {
	one := p.all[name]
	if one == nil {
		p.forget()
		one = &principal{limiter: newLimiter(p.rate)}
		p.all[name] = one
	}
	one.last = now
	return one
}

// forget makes room for one more principal.
func (p *principals) forget() {
	if len(p.all) < maxPrincipals {
		return
	}
	oldest := ""
	for name, one := range p.all {
		if one.running == 0 && (oldest == "" || one.last.Before(p.all[oldest].last)) {
			oldest = name
		}
	}
	delete(p.all, oldest)
}

// tooFast takes one call from l, or says when the next may come.
func tooFast(l *rate.Limiter, now time.Time, who string) error {
	if l == nil || l.AllowN(now, 1) {
		return nil
	}
	r := l.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	r.CancelAt(now)
	return busy(wait, "%s called too often: the next call may come in %v", who, wait.Round(time.Millisecond))
}

func busy(after time.Duration, format string, args ...any) error {
	return &inference.RetryError{Err: fmt.Errorf("%w: "+format, append([]any{inference.ErrBusy}, args...)...), After: after}
}
