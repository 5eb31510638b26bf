package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"hearth/inference"
	"hearth/mcpserver/router"
)

// progress streams text to the caller of a tool as notifications of bounded
// rate. It runs on the goroutine of the call, so that its order is the order
// of the text and its last notification precedes the result. What it tells grows
// with every notification: below 1 it is the share of the prompt that was computed,
// from 1 on the number of tokens generated; the total is max_tokens, if the caller
// gave it, and the message the text since the last notification.
type progress struct {
	send  func(router.Progress) // nil: nobody asked for progress
	every time.Duration
	total int

	text    strings.Builder // generated and not yet sent
	pieces  int             // of text, thinking or tool calls: about one for each token
	prefill float64
	pending bool
	sent    float64
	at      time.Time // of the last notification
}

func newProgress(r *run, every time.Duration, total int) *progress {
	p := &progress{every: every, total: total}
	if r.call.Heard {
		p.send = r.call.Progress
	}
	return p
}

// next returns the next event of the stream. While text waits to be sent it
// waits for the event no longer than until that text is due.
func (p *progress) next(ctx context.Context, stream inference.Stream) (inference.Event, error) {
	for {
		if !p.pending {
			return stream.Next(ctx)
		}
		due, cancel := context.WithDeadline(ctx, p.at.Add(p.every))
		event, err := stream.Next(due)
		late := due.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !late || !errors.Is(err, context.DeadlineExceeded) {
			return event, err
		}
		p.flush()
	}
}

// observe takes note of an event and sends what is due.
func (p *progress) observe(e inference.Event) {
	if p.send == nil {
		return
	}
	switch e.Kind {
	case inference.EventProgress:
		if e.Progress.Prompt == 0 || p.pieces > 0 {
			return
		}
		// Short of 1 even when the prompt is done: 1 is the first token.
		share := 0.99 * float64(e.Progress.Prefilled) / float64(e.Progress.Prompt)
		if share <= max(p.sent, p.prefill) {
			return
		}
		p.prefill = share
	case inference.EventDelta:
		p.pieces++
		p.text.WriteString(e.Content)
	default:
		return
	}
	p.pending = true
	if time.Since(p.at) >= p.every {
		p.flush()
	}
}

// end sends what is left. tokens is the true number of tokens, or 0 if the
// stream ended without saying it.
func (p *progress) end(tokens int) {
	if p.pending {
		p.pieces = max(p.pieces, tokens)
		p.flush()
	}
}

func (p *progress) flush() {
	value := float64(p.pieces)
	if p.pieces == 0 {
		value = p.prefill
	}
	told := router.Progress{Progress: value, Total: float64(p.total), Message: p.text.String()}
	p.text.Reset()
	p.pending, p.sent, p.at = false, value, time.Now()
	p.send(told)
}

// answer is a whole answer of a model.
type answer struct {
	text, reasoning strings.Builder
	finish          inference.FinishReason
	usage           inference.Usage
}

// collect reads the stream to its end, telling p of every event, and closes it.
func collect(ctx context.Context, stream inference.Stream, p *progress) (*answer, error) {
	defer stream.Close() // after the end it releases, before it cancels
	var a answer
	for {
		event, err := p.next(ctx, stream)
		if errors.Is(err, io.EOF) {
			p.end(a.usage.CompletionTokens)
			return &a, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("generate: %w", cancelCause(ctx))
		}
		if err != nil {
			p.end(0) // the caller still gets the text up to here
			return nil, err
		}
		switch event.Kind {
		case inference.EventDelta:
			a.text.WriteString(event.Content)
			a.reasoning.WriteString(event.Reasoning)
		case inference.EventFinish:
			a.finish = event.Finish
		case inference.EventUsage:
			a.usage = event.Usage
		}
		p.observe(event)
	}
}
