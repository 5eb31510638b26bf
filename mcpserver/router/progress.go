package router

import "sync"

// progress passes on how far a call is, until the call is over for who made it.
type progress struct {
	mu sync.Mutex
	to func(Progress)
}

func newProgress(to func(Progress)) *progress { return &progress{to: to} }

func (p *progress) tell(at Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.to != nil {
		p.to(at)
	}
}

func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = nil
}
