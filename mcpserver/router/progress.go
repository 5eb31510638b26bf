package router

import "sync"

// progress passes on how far a call is, until the call is over for who made it.
type progress struct {
	mu  sync.Mutex
	to  func(Progress)
	log func(LogMessage)
}

func newProgress(to func(Progress), log func(LogMessage)) *progress {
	return &progress{to: to, log: log}
}

func (p *progress) say(m LogMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log != nil {
		p.log(m)
	}
}

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
	p.to, p.log = nil, nil
}
