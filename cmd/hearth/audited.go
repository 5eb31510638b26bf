package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/internal/audit"
)

// audited wraps the models so that every chat, completion, embedding and ranking leaves one
// audit record, whichever door it came through: it sees those that a lease is asked
// for, and the doors tell Refused of those that they turned away before. A
// request is one or the other, so none is recorded twice.
type audited struct {
	inference.Models
	sink audit.Sink
	// rejected, if not nil, counts requests that were refused, here or by a door.
	rejected func(model, code string)
	// prompts, if not nil, gets what users ask.
	prompts *zerolog.Logger
}

// Acquire leases the model with the record keeper around it.
func (a *audited) Acquire(ctx context.Context, id string) (inference.Lease, error) {
	l, err := a.Models.Acquire(ctx, id)
	if err != nil {
		return nil, err
	}
	return &auditedLease{Lease: l, by: a}, nil
}

// maxName bounds the names of models and adapters in a record, in bytes: a client
// can write anything there.
const maxName = 128

// cutName returns name, cut at maxName without half a character at its end.
func cutName(name string) string {
	if len(name) > maxName {
		return strings.ToValidUTF8(name[:maxName], "")
	}
	return name
}

// Refused records a request that a door turned away.
func (a *audited) Refused(ctx context.Context, r inference.Refusal) {
	caller := inference.CallerFrom(ctx)
	a.sink.Write(audit.Record{
		RequestID: r.RequestID, Principal: caller.Principal, Tenant: caller.Tenant,
		Via: audit.ViaFrom(ctx), Action: r.Action, Model: cutName(r.Model), Outcome: r.Code,
	})
	model := r.Model
	if !slices.ContainsFunc(a.List(), func(s inference.ModelStatus) bool { return s.Info.ID == r.Model }) {
		model = "" // a client must not make labels
	}
	a.reject(model, r.Code)
}

func (a *audited) reject(model, code string) {
	if a.rejected != nil {
		a.rejected(model, code)
	}
}

type auditedLease struct {
	inference.Lease
	by *audited
}

// Chat records a chat request.
func (l *auditedLease) Chat(ctx context.Context, r *inference.ChatRequest) (inference.Stream, error) {
	if l.by.prompts != nil {
		l.by.prompts.Debug().Str("request_id", r.RequestID).Interface("messages", r.Messages).Msg("prompt")
	}
	return l.keep(ctx, inference.ActionChat, &r.Options, func() (inference.Stream, error) { return l.Lease.Chat(ctx, r) })
}

// Complete records a completion request.
func (l *auditedLease) Complete(ctx context.Context, r *inference.CompletionRequest) (inference.Stream, error) {
	if l.by.prompts != nil {
		l.by.prompts.Debug().Str("request_id", r.RequestID).Str("prompt", r.Prompt).Msg("prompt")
	}
	return l.keep(ctx, inference.ActionComplete, &r.Options, func() (inference.Stream, error) { return l.Lease.Complete(ctx, r) })
}

// Embed records a request for embeddings.
func (l *auditedLease) Embed(ctx context.Context, r *inference.EmbedRequest) (*inference.Embeddings, error) {
	e := l.entry(ctx, inference.ActionEmbed, r.RequestID, r.Caller)
	out, err := inference.Embed(ctx, l.Lease, r)
	if err == nil {
		e.record.PromptTokens = out.Tokens
	}
	e.write(outcomeOf(err))
	return out, err
}

// Rerank records a request for a ranking.
func (l *auditedLease) Rerank(ctx context.Context, r *inference.RerankRequest) (*inference.Ranking, error) {
	e := l.entry(ctx, inference.ActionRerank, r.RequestID, r.Caller)
	out, err := inference.Rerank(ctx, l.Lease, r)
	if err == nil {
		e.record.PromptTokens = out.Tokens
	}
	e.write(outcomeOf(err))
	return out, err
}

// keep starts a request whose answer comes in pieces, and records its end.
func (l *auditedLease) keep(ctx context.Context, action string, o *inference.Options, start func() (inference.Stream, error)) (inference.Stream, error) {
	e := l.entry(ctx, action, o.RequestID, o.Caller)
	e.record.Adapters = l.adapters(o.Adapters)
	s, err := start()
	if err != nil {
		e.write(outcomeOf(err))
		l.by.reject(e.record.Model, e.record.Outcome)
		return nil, err
	}
	a := &auditedStream{Stream: s}
	a.end = func(outcome string) {
		a.once.Do(func() {
			e.record.PromptTokens, e.record.CachedTokens, e.record.CompletionTokens = a.usage.PromptTokens, a.usage.CachedTokens, a.usage.CompletionTokens
			e.write(outcome)
		})
	}
	return a, nil
}

// adapters are those of a record: with the scale that the model has configured
// where the request gives none. Those that the model will refuse are as they were
// asked for, their names cut.
func (l *auditedLease) adapters(uses []inference.AdapterUse) []audit.Adapter {
	if len(uses) == 0 {
		return nil
	}
	have := l.Info().Adapters
	all := make([]audit.Adapter, len(uses))
	for i, u := range uses {
		all[i] = audit.Adapter{Name: cutName(u.Name), Scale: u.Scale}
		if k := slices.IndexFunc(have, func(a inference.AdapterInfo) bool { return a.Name == u.Name }); k >= 0 && u.Scale == nil {
			all[i].Scale = &have[k].Scale
		}
	}
	return all
}

// entry is the record of a request that a model is asked for, until it is written.
type entry struct {
	sink   audit.Sink
	began  time.Time
	record audit.Record
}

func (l *auditedLease) entry(ctx context.Context, action, id string, c inference.Caller) *entry {
	return &entry{sink: l.by.sink, began: time.Now(), record: audit.Record{
		RequestID: id, Principal: c.Principal, Tenant: c.Tenant, Via: audit.ViaFrom(ctx), Action: action, Model: l.Info().ID,
	}}
}

func (e *entry) write(outcome string) {
	e.record.Outcome, e.record.Duration = outcome, time.Since(e.began)
	e.sink.Write(e.record)
}

// outcomeOf names how a request ended, as records do.
func outcomeOf(err error) string {
	if err == nil {
		return "ok"
	}
	return inference.Classify(err).Code
}

// auditedStream notices how a stream ends. Next belongs to one goroutine; Close
// may come from another, so the usage is guarded by mu.
type auditedStream struct {
	inference.Stream
	once sync.Once
	end  func(outcome string)

	mu    sync.Mutex
	usage inference.Usage
}

// Next passes events on and records the end.
func (s *auditedStream) Next(ctx context.Context) (inference.Event, error) {
	ev, err := s.Stream.Next(ctx)
	switch {
	case err == nil && ev.Kind == inference.EventUsage:
		s.mu.Lock()
		s.usage = ev.Usage
		s.mu.Unlock()
	case err == nil:
	case errors.Is(err, io.EOF):
		s.finish("ok")
	case ctx.Err() != nil && errors.Is(err, ctx.Err()): // the stream goes on
	default:
		s.finish(outcomeOf(err))
	}
	return ev, err
}

// Close ends the stream; one that had not ended is recorded as cancelled.
func (s *auditedStream) Close() error {
	err := s.Stream.Close()
	s.finish("cancelled")
	return err
}

func (s *auditedStream) finish(outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if outcome == "cancelled" && s.usage != (inference.Usage{}) {
		outcome = "ok" // everything had come, only the end was not read
	}
	s.end(outcome)
}
