package router

import "sync"

// progress passes on how far a call is, redacted as results are, until the call is over
// for who made it.
type progress struct {
	router *Router

	mu  sync.Mutex
	to  func(Progress)
	log func(LogMessage)
}

func newProgress(r *Router, to func(Progress), log func(LogMessage)) *progress {
	return &progress{router: r, to: to, log: log}
}

// ownProgress passes on how far a call of Hearth's own tools is.
func (r *Router) ownProgress(to func(Progress)) func(Progress) {
	switch {
	case to == nil:
		return func(Progress) {}
	case len(r.redact) > 0:
		return func(p Progress) {
			p.Message = ""
			to(p)
		}
	}
	return to
}

func (p *progress) say(m LogMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log == nil {
		return
	}
	if len(p.router.redact) > 0 && len(m.Data) > 0 {
		if m.Data = p.router.redactJSON(m.Data, true); m.Data == nil {
			return // it cannot be read, so nobody knows what is in it
		}
	}
	p.log(m)
}

func (p *progress) tell(at Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.to != nil {
		at.Message = p.router.redactText(at.Message)
		p.to(at)
	}
}

func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to, p.log = nil, nil
}
