package chat

import (
	"context"
	"errors"
	"sync"

	"hearth/inference"
	"hearth/inference/engine"
)

// stream turns the engine's events into those of [inference.Stream], on the
// goroutine that calls Next.
type stream struct {
	src     eventSource
	choices []choice
	queue   []inference.Event // ready, not yet taken
	parser  *guardedParser    // nil: none is needed
	err     error             // what ended the stream
}

// choice is the state of one of the answers.
type choice struct {
	dec      decoder
	logprobs []inference.TokenLogprob // of tokens whose text is held back
	calls    int
}

var _ inference.Stream = (*stream)(nil)

// Next returns the next event.
func (s *stream) Next(ctx context.Context) (inference.Event, error) {
	for len(s.queue) == 0 {
		if s.err != nil {
			return inference.Event{}, s.err
		}
		ev, err := s.src.Next(ctx)
		if err != nil {
			if cause := ctx.Err(); cause != nil && errors.Is(err, cause) {
				return inference.Event{}, err // the caller's patience, not the stream
			}
			s.err = err
			s.release()
			return inference.Event{}, err
		}
		s.take(&ev)
	}
	ev := s.queue[0]
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil // lets go of the array
	}
	return ev, nil
}

func (s *stream) take(ev *engine.Event) {
	switch ev.Kind {
	case engine.KindProgress:
		s.queue = append(s.queue, inference.Event{Kind: inference.EventProgress, Progress: ev.Progress})
	case engine.KindText:
		c := &s.choices[ev.Choice]
		c.logprobs = append(c.logprobs, ev.Logprobs...)
		s.emit(ev.Choice, c.dec.feed(ev.Text))
	case engine.KindFinish:
		s.finish(ev)
	case engine.KindUsage:
		s.queue = append(s.queue, inference.Event{Kind: inference.EventUsage, Usage: ev.Usage})
	}
}

// emit queues pieces; the first one carries the log probabilities that wait.
func (s *stream) emit(index int, pieces []piece) {
	c := &s.choices[index]
	for _, p := range pieces {
		if p.call != nil && p.call.ID != "" {
			c.calls++
		}
		s.queue = append(s.queue, inference.Event{
			Kind: inference.EventDelta, Choice: index,
			Content: p.content, Reasoning: p.reasoning, ToolCall: p.call, Logprobs: c.logprobs,
		})
		c.logprobs = nil
	}
}

func (s *stream) finish(ev *engine.Event) {
	c := &s.choices[ev.Choice]
	c.logprobs = append(c.logprobs, ev.Logprobs...)
	if ev.Text != "" {
		s.emit(ev.Choice, c.dec.feed(ev.Text))
	}
	s.emit(ev.Choice, c.dec.finish(ev.Finish))
	if len(c.logprobs) > 0 {
		s.queue = append(s.queue, inference.Event{Kind: inference.EventDelta, Choice: ev.Choice, Logprobs: c.logprobs})
		c.logprobs = nil
	}
	reason := ev.Finish
	if reason == inference.FinishStop && c.calls > 0 {
		reason = inference.FinishToolCalls
	}
	s.queue = append(s.queue, inference.Event{Kind: inference.EventFinish, Choice: ev.Choice, Finish: reason})
}

// Close cancels what still runs.
func (s *stream) Close() error {
	err := s.src.Close()
	s.release()
	return err
}

func (s *stream) release() {
	if s.parser != nil {
		s.parser.close()
	}
}

// errParserClosed is what a parse finds after the stream was closed; nobody
// reads the events that it would have made.
var errParserClosed = errors.New("the stream is closed")

// guardedParser lets Close, on any goroutine, free a parser that Next may be
// using: it waits for the parse in flight.
type guardedParser struct {
	mu sync.Mutex
	p  Parser // nil when closed
}

func (g *guardedParser) parse(text string, partial bool) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.p == nil {
		return nil, errParserClosed
	}
	return g.p.Parse(text, partial)
}

func (g *guardedParser) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.p != nil {
		// The only error there is says that it was closed before.
		_ = g.p.Close()
		g.p = nil
	}
}
