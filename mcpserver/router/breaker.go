package router

import (
	"fmt"
	"sync"
	"time"

	"hearth/inference"
)

// The breaker opens after so many failures in a row, for a time that doubles with
// each failed probe.
const (
	breakerFailures = 5
	breakerFirst    = time.Second
	breakerLongest  = time.Minute
)

// breaker keeps calls from a connector that fails: after failures in a row it
// refuses all but one call at a time, and not even that before a pause is over
// (the circuit breaker of M. Nygard, "Release It!").
type breaker struct {
	mu       sync.Mutex
	failures int
	open     bool
	probing  bool
	pause    time.Duration
	until    time.Time
}

// allow says whether a call may begin. Every call that may is reported once.
func (b *breaker) allow(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return nil
	case now.Before(b.until):
		wait := b.until.Sub(now)
		return &inference.RetryError{Err: fmt.Errorf("%w: its last %d calls failed, it is tried again in %v", ErrUnavailable, b.failures, wait.Round(time.Millisecond)), After: wait}
	case b.probing:
		return &inference.RetryError{Err: fmt.Errorf("%w: its last %d calls failed, and one is being tried", ErrUnavailable, b.failures), After: time.Second}
	}
	b.probing = true
	return nil
}

// report says how a call ended, and returns whether the breaker is open now.
func (b *breaker) report(now time.Time, failed bool) (open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	probe := b.probing
	b.probing = false
	if !failed {
		b.failures, b.open, b.pause = 0, false, 0
		return false
	}
	b.failures++
	switch {
	case b.open && !probe:
		// It had begun before the breaker opened: nothing new.
	case b.open || b.failures >= breakerFailures:
		b.pause = min(max(2*b.pause, breakerFirst), breakerLongest)
		b.open, b.until = true, now.Add(b.pause)
	}
	return b.open
}

// forgo takes back a call that was allowed and never began.
func (b *breaker) forgo() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}
