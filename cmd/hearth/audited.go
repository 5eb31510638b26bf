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

// maxModelName bounds the model of a refused request in its record, in bytes: a
// client can write anything there.
const maxModelName = 128

// Refused records a request that a door turned away.
func (a *audited) Refused(ctx context.Context, r inference.Refusal) {
	caller := inference.CallerFrom(ctx)
	model := r.Model
	if len(model) > maxModelName {
		model = strings.ToValidUTF8(model[:maxModelName], "") // without half a character at its end
	}
	a.sink.Write(audit.Record{
		RequestID: r.RequestID, Principal: caller.Principal, Tenant: caller.Tenant,
		Via: audit.ViaFrom(ctx), Action: r.Action, Model: model, Outcome: r.Code,
	})
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
	began := time.Now()
	out, err := inference.Embed(ctx, l.Lease, r)
	tokens := 0
	if err == nil {
		tokens = out.Tokens
	}
	l.whole(ctx, inference.ActionEmbed, r.RequestID, r.Caller, began, tokens, err)
	return out, err
}

// Rerank records a request for a ranking.
func (l *auditedLease) Rerank(ctx context.Context, r *inference.RerankRequest) (*inference.Ranking, error) {
	began := time.Now()
	out, err := inference.Rerank(ctx, l.Lease, r)
	tokens := 0
	if err == nil {
		tokens = out.Tokens
	}
	l.whole(ctx, inference.ActionRerank, r.RequestID, r.Caller, began, tokens, err)
	return out, err
}

// whole writes the record of a request whose answer came at once.
func (l *auditedLease) whole(ctx context.Context, action, id string, c inference.Caller, began time.Time, tokens int, err error) {
	record := audit.Record{
		RequestID: id, Principal: c.Principal, Tenant: c.Tenant, Via: audit.ViaFrom(ctx), Action: action,
		Model: l.Info().ID, Outcome: "ok", PromptTokens: tokens, Duration: time.Since(began),
	}
	if err != nil {
		record.Outcome = inference.Classify(err).Code
	}
	l.by.sink.Write(record)
}

func (l *auditedLease) keep(ctx context.Context, action string, o *inference.Options, start func() (inference.Stream, error)) (inference.Stream, error) {
	began := time.Now()
	record := audit.Record{
		RequestID: o.RequestID, Principal: o.Caller.Principal, Tenant: o.Caller.Tenant,
		Via: audit.ViaFrom(ctx), Action: action, Model: l.Info().ID,
	}
	s, err := start()
	if err != nil {
		record.Outcome, record.Duration = inference.Classify(err).Code, time.Since(began)
		l.by.sink.Write(record)
		l.by.reject(record.Model, record.Outcome)
		return nil, err
	}
	a := &auditedStream{Stream: s}
	a.end = func(outcome string) {
		a.once.Do(func() {
			record.Outcome, record.Duration = outcome, time.Since(began)
			record.PromptTokens, record.CachedTokens, record.CompletionTokens = a.usage.PromptTokens, a.usage.CachedTokens, a.usage.CompletionTokens
			l.by.sink.Write(record)
		})
	}
	return a, nil
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
		s.finish(inference.Classify(err).Code)
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
