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

// allow says whether a call may begin. Every call that may is reported once, with
// probe as allow returned it, or forgone.
func (b *breaker) allow(now time.Time) (probe bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return false, nil
	case now.Before(b.until):
		wait := b.until.Sub(now)
		return false, &inference.RetryError{Err: fmt.Errorf("%w: its last %d calls failed, it is tried again in %v", ErrUnavailable, b.failures, wait.Round(time.Millisecond)), After: wait}
	case b.probing:
		return false, &inference.RetryError{Err: fmt.Errorf("%w: its last %d calls failed, and one is being tried", ErrUnavailable, b.failures), After: time.Second}
	}
	b.probing = true
	return true, nil
}

// report says how a call ended. One that began before the breaker opened, and ends
// while it is open, says nothing about now: the probe does.
func (b *breaker) report(now time.Time, probe, failed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open && !probe {
		return
	}
	if probe {
		b.probing = false
	}
	if !failed {
		b.failures, b.open, b.pause = 0, false, 0
		return
	}
	if b.failures++; b.open || b.failures >= breakerFailures {
		b.pause = min(max(2*b.pause, breakerFirst), breakerLongest)
		b.open, b.until = true, now.Add(b.pause)
	}
}

// forgo takes back a call that was allowed and tells nothing of the connector: it
// never began, or who made it left.
func (b *breaker) forgo(probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe {
		b.probing = false
	}
}

// isOpen says whether the connector is left alone.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}
