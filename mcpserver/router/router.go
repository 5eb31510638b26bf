package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"hearth/inference"
)

// Deps is what a router needs besides its configuration. Only Log is required.
type Deps struct {
	Log zerolog.Logger
	// Models count tokens; nil: results are bounded by bytes alone.
	Models inference.Models
	// Policy decides; nil: by what tools do, and by the options of connectors.
	Policy   Policy
	Journal  Journal
	Observer Observer
}

// Router is the one way to a tool. It is safe for concurrent use.
type Router struct {
	config  Config
	log     zerolog.Logger
	models  inference.Models
	policy  Policy
	journal Journal
	observe Observer
	redact  []*regexp.Regexp

	options    map[string]*Options // by label; for the default policy
	principals *principals
	approvals  *Approvals
	results    *results
	cache      *cache
	taint      *taint

	mu         sync.RWMutex
	connectors []*connector // in the order of Add
	tools      []*Entry     // in their fixed order
	named      map[string]*Entry
	listeners  map[int]func(Change)
	next       int
	closed     bool
}

// connector is a connector and how its calls are treated.
type connector struct {
	label   string
	run     Connector
	own     bool // it is a part of Hearth: see AddOwn
	options Options
	limits  Limits
	slots   chan struct{} // its bulkhead; nil: it has none
	limiter *rate.Limiter
	breaker breaker
	running sync.WaitGroup
	tools   []*Entry
}

// New returns a router without connectors.
func New(c Config, d Deps) (*Router, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	r := &Router{
		config: c, log: d.Log, models: d.Models, policy: d.Policy, journal: d.Journal, observe: d.Observer,
		options: map[string]*Options{}, principals: newPrincipals(c.Calls, c.Rate),
		approvals: newApprovals(c.ApprovalTime), results: newResults(c.ResultTime, int64(c.ResultMemory)),
		cache: newCache(int64(c.ResultMemory)), taint: newTaint(c.TaintTime),
		named: map[string]*Entry{}, listeners: map[int]func(Change){},
	}
	for _, p := range c.Redact {
		re, err := compileRedaction(p)
		if err != nil {
			return nil, err
		}
		r.redact = append(r.redact, re)
	}
	if r.policy == nil {
		r.policy = &byEffect{options: r.options}
	}
	if r.journal == nil {
		r.journal = noJournal{}
	}
	if r.observe == nil {
		r.observe = noObserver{}
	}
	return r, nil
}

// Add registers a connector under its label, or, with none, as one whose names
// clients see as they are: before the first call of anything
// else. Its tools come behind those of earlier ones. The error says which tool
// cannot be, and why; tools that others define are left out instead ([Foreign]).
// From then on the router closes the connector.
func (r *Router) Add(label string, c Connector, o Options) error {
	return r.add(label, c, o, false)
}

// AddOwn registers a part of Hearth itself: like Add without a label, and
//
//   - only the limits that o and the configuration's rate set hold: what the calls
//     take is bounded behind them, and their results by what was asked for;
//   - calls run on the goroutine of who made them: the connector ends when its
//     context does, and has no breaker to wait for;
//   - arguments stay in their order, since it may mean something (that of a JSON
//     Schema's members is the order of the answer's), and are recorded so;
//   - its errors are those of package inference, and go to the client by the one table;
//   - where results are redacted its numbers are not, and its progress carries no
//     text, which a pattern could not be looked for in;
//   - models are not offered its tools: a request would wait for another of its kind.
func (r *Router) AddOwn(c Connector, o Options) error { return r.add("", c, o, true) }

func (r *Router) add(label string, c Connector, o Options, own bool) error {
	if label != "" && !Label.MatchString(label) {
		return fmt.Errorf("add a connector: the name %q must match %s", label, Label)
	}
	if err := o.Check(); err != nil {
		return err
	}
	one := &connector{label: label, run: c, own: own, options: o, limits: o.Limits.withDefaults(), limiter: newLimiter(o.Limits.Rate)}
	if own {
		one.limits = o.Limits.unbounded()
	}
	if one.limits.Concurrent > 0 {
		one.slots = make(chan struct{}, one.limits.Concurrent)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("add connector %s: %w", label, inference.ErrShutdown)
	}
	if r.options[label] != nil {
		return fmt.Errorf("add a connector: two are named %q: give one of them another name", label)
	}
	if changer, ok := c.(Changer); ok {
		changer.OnChange(func(ch Change) { r.changed(one, ch) })
	}
	_, foreign := c.(Foreign)
	entries, err := r.entries(one, !foreign)
	if err != nil {
		return fmt.Errorf("add connector %s: %w", label, err)
	}
	one.tools = entries
	r.connectors = append(r.connectors, one)
	r.options[label] = &one.options
	r.rebuild()
	return nil
}

// rebuild makes the list of all tools anew. The lock is held.
func (r *Router) rebuild() {
	r.tools, r.named = nil, map[string]*Entry{}
	for _, c := range r.connectors {
		for _, e := range c.tools {
			r.tools = append(r.tools, e)
			r.named[e.Name] = e
		}
	}
}

// changed follows a change of a connector's lists, and tells who listens.
func (r *Router) changed(c *connector, ch Change) {
	if ch.Tools {
		r.mu.Lock()
		if !r.closed && slices.Contains(r.connectors, c) {
			c.tools, _ = r.entries(c, false)
			r.rebuild()
		}
		r.mu.Unlock()
	}
	if ch.Resource != "" {
		ch.Resource = full(c.label, uriSeparator, ch.Resource)
	}
	r.mu.RLock()
	tell := make([]func(Change), 0, len(r.listeners))
	for _, f := range r.listeners {
		tell = append(tell, f)
	}
	r.mu.RUnlock()
	for _, f := range tell {
		f(ch)
	}
}

// Subscribe calls f after each change of a list, until stop is called. f returns
// quickly; it may be called from any goroutine.
func (r *Router) Subscribe(f func(Change)) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.next
	r.next++
	r.listeners[id] = f
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.listeners, id)
	}
}

// Approvals are the calls that wait for a person.
func (r *Router) Approvals() *Approvals { return r.approvals }

// said names the connector in messages and metrics.
func (c *connector) said() string {
	if c.own {
		return "builtin"
	}
	return c.label
}

// Labels returns the labels of the connectors, in their order.
func (r *Router) Labels() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]string, 0, len(r.connectors))
	for _, c := range r.connectors {
		if !c.own {
			out = append(out, c.label)
		}
	}
	return out
}

// Refresh has all connectors that can ask again what they offer, all at the same
// time, and waits for them. The error names those that could not; they offer what
// they did before.
func (r *Router) Refresh(ctx context.Context) error {
	return together(r, "refresh", func(c Refresher) error { return c.Refresh(ctx) })
}

// AwaitLists waits until all connectors know what they offer, all at the same time.
// The error names those that do not: for the reason that they gave, or since ctx
// ended.
func (r *Router) AwaitLists(ctx context.Context) error {
	return together(r, "learn the lists of", func(c Learner) error { return c.AwaitLists(ctx) })
}

// together does something with each connector that is a T, and waits for all.
func together[T any](r *Router, verb string, do func(T) error) error {
	labels, all := providers[T](r)
	errs := make([]error, len(all))
	var wait sync.WaitGroup
	for i, c := range all {
		wait.Go(func() {
			if err := do(c); err != nil {
				errs[i] = fmt.Errorf("%s connector %s: %w", verb, labels[i], err)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Close closes the connectors, all at the same time, and waits for them and for
// their calls until ctx ends.
func (r *Router) Close(ctx context.Context) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	all := r.connectors
	r.mu.Unlock()
	errs := make(chan error, len(all))
	for _, c := range all {
		go func() {
			err := c.run.Close(ctx)
			if err != nil {
				err = fmt.Errorf("close connector %s: %w", c.label, err)
			}
			errs <- err
		}()
	}
	var joined error
	for range all {
		select {
		case err := <-errs:
			joined = errors.Join(joined, err)
		case <-ctx.Done():
			return cmp.Or(joined, fmt.Errorf("close the connectors: %w", ctx.Err()))
		}
	}
	idle := make(chan struct{})
	go func() {
		for _, c := range all {
			c.running.Wait()
		}
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		joined = errors.Join(joined, fmt.Errorf("wait for the calls of connectors: %w", ctx.Err()))
	}
	return joined
}

// now is the time; calls of one step use one value.
func now() time.Time { return time.Now() }
