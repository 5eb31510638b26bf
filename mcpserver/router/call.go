package router

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"hearth/inference"
	"hearth/mcpserver/schema"
)

// Request is one call, as whoever makes it says it.
type Request struct {
	ID     string // of the request that it belongs to, for logs
	Caller inference.Caller
	Via    string // the door, for records
	// Conversation tells one talk from another of the same principal, for what
	// strangers may have put into it; empty: there is none, and the principal stands
	// for it.
	Conversation string
	// Model is whose prompt the result enters, to count tokens by; empty: the
	// default model.
	Model     string
	Tool      string          // its full name
	Arguments json.RawMessage // an object; empty: {}
	// Untrusted says that what strangers may have written is in the conversation
	// already, from elsewhere than this router's results.
	Untrusted bool
	// Ask wants an approval, whatever the policy says.
	Ask bool
	// Progress hears how far the call is; nil: nobody does.
	Progress func(Progress)
	// Peer is who can be asked back; nil: nobody.
	Peer Peer
	// Log hears what the connector tells of the call; nil: nobody does.
	Log func(LogMessage)
}

// maxArguments bounds the arguments of one call, in bytes.
const maxArguments = 4 << 20

// Call is the pipeline that every call of every tool passes, from top to bottom.
// What the tool could not do is a Result with IsError. An error means that nothing
// was done, or that the connector failed; inference.Classify says what to answer.
func (r *Router) Call(ctx context.Context, q *Request) (*Result, error) {
	began := now()
	e, err := r.lookup(ctx, q.Caller, q.Tool)
	if err != nil {
		return nil, err
	}
	arguments, err := e.arguments(q.Arguments)
	if err != nil {
		r.observe.ToolCalled(e.connector.said(), e.Tool.Name, inference.Classify(err).Code, 0)
		return nil, err
	}
	record := &Record{
		Call: "call-" + rand.Text(), RequestID: q.ID, Caller: q.Caller, Via: q.Via, Tool: e.Name,
		Definition: e.Definition, ArgumentsHash: digest(arguments),
	}
	result, err := r.decided(ctx, q, e, arguments, record)
	record.Duration = time.Since(began)
	record.Outcome = outcome(result, err)
	r.journal.Outcome(record)
	r.observe.ToolCalled(e.connector.said(), e.Tool.Name, record.Outcome, record.Duration)
	return result, err
}

// outcome names how a call ended, as records and metrics do.
func outcome(result *Result, err error) string {
	switch {
	case err != nil:
		return inference.Classify(err).Code
	case result.IsError:
		return "tool_error"
	}
	return "ok"
}

// arguments returns the canonical arguments, if they are valid.
func (e *Entry) arguments(given json.RawMessage) (json.RawMessage, error) {
	given = bytes.TrimSpace(given)
	if len(given) == 0 || string(given) == "null" {
		given = json.RawMessage("{}")
	}
	if len(given) > maxArguments {
		return nil, inference.Invalid("arguments", "have %d bytes, at most %d are taken", len(given), maxArguments)
	}
	if given[0] != '{' {
		return nil, inference.Invalid("arguments", "must be a JSON object")
	}
	spell := canonical
	if e.Own {
		spell = compact
	}
	out, err := spell(given)
	if err != nil {
		return nil, inference.Invalid("arguments", "%v", err)
	}
	return out, schema.Check(e.in, out)
}

// decided calls what the policy, or an approval, lets through.
func (r *Router) decided(ctx context.Context, q *Request, e *Entry, arguments json.RawMessage, record *Record) (*Result, error) {
	d := r.policy.Decide(ctx, q.Caller, e.Label, &e.Tool, arguments)
	if d.Verdict == Deny {
		return nil, fmt.Errorf("%w: %.80q", ErrNoTool, q.Tool)
	}
	why := ""
	switch {
	case q.Ask:
		why = "the request asks for one"
	case d.Verdict == Ask:
		why = d.Rule
	case r.config.Taint && e.Tool.Effects.sends() && !e.Tool.Delegates && (q.Untrusted || r.taint.is(q, now())):
		// What strangers wrote may speak through the model now.
		why = "this conversation has read what strangers may have written"
	}
	record.Rule = d.Rule
	if why != "" {
		id, err := r.approvals.find(q, e, arguments, why, now())
		if err != nil {
			return nil, err
		}
		record.Rule, record.Approval = "approved by a person", id
	}
	key := e.cacheKey(q.Caller, arguments)
	var kept *Result // a result whose time is over, and that can be asked for
	var known *Validators
	if why == "" {
		var fresh bool
		if kept, fresh = r.cache.get(key, now()); fresh {
			r.observe.ToolCacheHit(e.connector.said(), e.Tool.Name)
			record.Cached = true
			r.taint.note(q, kept, now())
			return r.deliver(ctx, q, e, kept, record)
		}
		if kept != nil {
			known = kept.Validators
		}
	}
	result, err := r.limited(ctx, q, e, arguments, known, record)
	if err != nil {
		return nil, err
	}
	if result.Unchanged {
		r.observe.ToolRevalidated(e.connector.said(), e.Tool.Name)
		r.cache.put(key, kept, now().Add(e.cacheable))
		r.taint.note(q, kept, now())
		return r.deliver(ctx, q, e, kept, record)
	}
	// What is changed is a copy: a connector may give the same result twice.
	mine := *result
	mine.Content = slices.Clone(result.Content)
	result = &mine
	result.Untrusted = result.Untrusted || e.Tool.Effects.Untrusted
	e.connector.address(result)
	if len(r.redact) > 0 {
		r.redactResult(result, !e.Own)
		e.withhold(result)
	}
	switch {
	case e.cacheable <= 0:
	case result.NotKept:
		r.cache.forget(key)
	case !result.IsError:
		r.cache.put(key, result, now().Add(e.cacheable))
	}
	r.taint.note(q, result, now())
	return r.deliver(ctx, q, e, result, record)
}

// limited calls within the limits of principal and connector.
func (r *Router) limited(ctx context.Context, q *Request, e *Entry, arguments json.RawMessage, known *Validators, record *Record) (*Result, error) {
	c := e.connector
	ctx, end, free, err := r.begin(ctx, q.Caller.Principal, c, e.Tool.Timeout)
	if err != nil {
		return nil, err
	}
	defer end()
	probe, err := c.breaker.allow(now())
	if err != nil {
		free()
		return nil, err
	}
	// Nothing runs that would not be known of afterwards, and an approval is used by
	// what runs.
	if err := r.journal.Intent(ctx, record); err != nil {
		c.breaker.forgo(probe)
		free()
		return nil, fmt.Errorf("record the call of %s: %w", e.Name, err)
	}
	if record.Approval != "" && !r.approvals.spend(record.Approval) {
		c.breaker.forgo(probe)
		free()
		return nil, fmt.Errorf("%w: this very call was made meanwhile, by the same approval", inference.ErrApproval)
	}
	result, err := r.run(ctx, q, e, arguments, known, free)
	switch {
	case err != nil:
	case !result.Unchanged:
		err = e.keepsItsWord(result)
	case known == nil:
		err = fmt.Errorf("%s says that a result still holds, and there is none", e.Name)
	}
	return r.judged(ctx, q, e, record, result, err, probe)
}

// errTimeout ends a call that takes longer than its own timeout. The deadline of who
// made it is another one.
var errTimeout = fmt.Errorf("the tool's own timeout: %w", inference.ErrDeadline)

// begin takes what c may only be asked with: one call of the principal's limits and of
// the connector's, and a place in its bulkhead. end gives all back but the place, which
// free does, when the connector has returned. The context ends after timeout; 0: the
// connector's own, if it has one.
func (r *Router) begin(ctx context.Context, principal string, c *connector, timeout time.Duration) (_ context.Context, end, free func(), err error) {
	done := func() {}
	if c.own {
		err = r.principals.pace(principal, now())
	} else {
		done, err = r.principals.take(principal, now())
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if err := tooFast(c.limiter, now(), c.said()+" is"); err != nil {
		done()
		return nil, nil, nil, err
	}
	if timeout == 0 {
		timeout = c.limits.Timeout
	}
	cancel := func() {}
	if timeout > 0 { // the wait for a place in the bulkhead counts, too
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, errTimeout)
	}
	end = func() {
		cancel()
		done()
	}
	if free, err = c.place(ctx); err != nil {
		end()
		return nil, nil, nil, err
	}
	return ctx, end, free, nil
}

// place takes a place in the bulkhead, and returns what gives it back.
func (c *connector) place(ctx context.Context) (free func(), err error) {
	if c.slots == nil {
		return func() {}, nil
	}
	free = func() { <-c.slots }
	select {
	case c.slots <- struct{}{}:
		return free, nil
	default:
	}
	select {
	case c.slots <- struct{}{}:
		return free, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: wait for one of its %d calls to end: %w", c.said(), c.limits.Concurrent, context.Cause(ctx))
	}
}

// judged tells the breaker how a call ended, and says it as who called reads it.
func (r *Router) judged(ctx context.Context, q *Request, e *Entry, record *Record, result *Result, err error, probe bool) (*Result, error) {
	c := e.connector
	var said *ToolError
	var lacks *CapabilityError
	late := errors.Is(context.Cause(ctx), errTimeout)
	if c.own { // its errors are the table's
		if err != nil && late {
			return nil, fmt.Errorf("%s did not answer in time: %w", e.Name, errTimeout)
		}
		return result, err
	}
	switch {
	case err == nil, errors.As(err, &said):
		c.breaker.report(now(), probe, false)
	case errors.As(err, &lacks), ctx.Err() != nil && !late:
		c.breaker.forgo(probe)
	default:
		c.breaker.report(now(), probe, true)
	}
	r.observe.BreakerOpen(c.label, c.breaker.isOpen())
	switch {
	case err == nil:
		return result, nil
	case said != nil:
		return &Result{Content: []Content{{Type: ContentText, Text: said.Message}}, IsError: true}, nil
	case lacks != nil:
		return nil, lacks
	case late:
		return nil, fmt.Errorf("%s did not answer in time: %w", e.Name, errTimeout)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	r.log.Error().Err(err).Str("tool", e.Name).Str("request_id", q.ID).Str("call", record.Call).Msg("a connector failed")
	return nil, fmt.Errorf("%w: %s failed; the server's log has the details under %s", ErrUnavailable, e.Label, record.Call)
}

// run calls the connector, and answers at the deadline whether the connector does
// or not. free is called when it has.
func (r *Router) run(ctx context.Context, q *Request, e *Entry, arguments json.RawMessage, known *Validators, free func()) (*Result, error) {
	c := e.connector
	call := &Call{
		ID: q.ID, Tool: e.Tool.Name, Arguments: arguments, Principal: q.Caller.Principal, Tenant: q.Caller.Tenant,
		Known: known, Peer: q.Peer, Heard: q.Progress != nil,
	}
	if c.own {
		defer free()
		if call.Progress = r.ownProgress(q.Progress); e.Tool.Delegates {
			ctx = withConversation(ctx, q.Conversation)
		}
		c.running.Add(1)
		defer c.running.Done()
		return c.run.Run(ctx, call)
	}
	type answer struct {
		result *Result
		err    error
	}
	answers := make(chan answer, 1)
	progress := newProgress(r, q.Progress, q.Log)
	call.Progress, call.Log = progress.tell, progress.say
	c.running.Add(1)
	go func() {
		defer c.running.Done()
		defer free()
		var a answer
		defer func() {
			if p := recover(); p != nil {
				r.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Str("tool", e.Name).Msg("a connector panicked")
				a = answer{nil, fmt.Errorf("%s panicked", e.Name)}
			}
			answers <- a
		}()
		a.result, a.err = c.run.Run(ctx, call)
		if a.err == nil && a.result == nil {
			a.err = errors.New("the connector returned no result")
		}
	}()
	defer progress.stop()
	select {
	case a := <-answers:
		return a.result, a.err
	case <-ctx.Done():
		// What has come by now is an answer.
		select {
		case a := <-answers:
			return a.result, a.err
		default:
			return nil, context.Cause(ctx)
		}
	}
}

// withhold leaves out structured content that, redacted, breaks the tool's own schema (a
// number became a text), and says so. Of a result that says nothing else it becomes
// the text.
func (e *Entry) withhold(result *Result) {
	if e.out == nil || result.IsError || result.Structured != nil && schema.Check(e.out, result.Structured) == nil {
		return
	}
	if len(result.Content) == 0 {
		result.Content = append(result.Content, Content{Type: ContentText, Text: string(result.Structured)})
	}
	result.Structured, result.withheld = nil, true
	result.Content = append(result.Content, Content{Type: ContentText, Text: "[The structured result is left out: what was redacted in it breaks the schema that the tool promises.]"})
}

// keepsItsWord says what is wrong with a result by the tool's own schema.
func (e *Entry) keepsItsWord(result *Result) error {
	if len(result.Structured) == 0 {
		result.Structured = nil
	} else if e.Own {
		// It is what was just encoded.
	} else if text := bytes.TrimLeft(result.Structured, " \t\r\n"); len(text) == 0 || text[0] != '{' || !json.Valid(text) {
		return &ToolError{Message: fmt.Sprintf("the structured result of %s is no JSON object: it is not passed on", e.Name)}
	}
	if e.out == nil || result.IsError {
		return nil
	}
	if result.Structured == nil {
		return &ToolError{Message: fmt.Sprintf("%s promises a structured result and gave none: its answer is not passed on", e.Name)}
	}
	if err := schema.Check(e.out, result.Structured); err != nil {
		if e.Own {
			return fmt.Errorf("the result of %s breaks its own schema: %s", e.Name, err)
		}
		return &ToolError{Message: fmt.Sprintf("the result of %s breaks the tool's own schema (%v): it is not passed on", e.Name, err)}
	}
	return nil
}
