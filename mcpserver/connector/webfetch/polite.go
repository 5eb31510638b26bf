package webfetch

import (
	"context"
	"sync"
	"time"
)

// maxHosts bounds how many hosts are remembered.
const maxHosts = 1024

// pacer keeps requests to one host apart.
type pacer struct {
	mu   sync.Mutex
	next map[string]time.Time // when the next request may begin
}

// wait waits until a request to the host may begin, at least interval after the
// one before. It returns ctx's error, at once where the wait would outlast ctx.
func (p *pacer) wait(ctx context.Context, host string, interval time.Duration) error {
	if interval <= 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := time.Now()
	if len(p.next) >= maxHosts {
		for h, t := range p.next {
			if !t.After(now) {
				delete(p.next, h)
			}
		}
	}
	at := now
	if next := p.next[host]; next.After(at) {
		at = next
	}
	if deadline, ok := ctx.Deadline(); ok && at.After(deadline) {
		p.mu.Unlock()
		return context.DeadlineExceeded // and takes no turn
	}
	if p.next == nil {
		p.next = map[string]time.Time{}
	}
	p.next[host] = at.Add(interval)
	p.mu.Unlock()
	if !at.After(now) {
		return ctx.Err()
	}
	t := time.NewTimer(at.Sub(now))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
