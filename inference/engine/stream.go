package engine

import (
	"context"
	"sync"

	"hearth/inference"
)

// EventKind tells what an [Event] carries.
type EventKind int

// The kinds of event. A stream is any number of KindProgress, then KindText and
// KindFinish of the choices interleaved, then one KindUsage, then io.EOF.
const (
	KindProgress EventKind = iota // Progress is set
	KindText                      // Choice and at least one of Text and Logprobs
	KindFinish                    // Choice and Finish
	KindUsage                     // Usage
)

// Event is one step of an answer.
type Event struct {
	Kind   EventKind
	Choice int    // 0..Choices-1
	Text   string // valid UTF-8, whole characters; no part of a stop string
	// Logprobs of the tokens that Text is made of, if asked for.
	Logprobs []inference.TokenLogprob
	Finish   inference.FinishReason
	Progress inference.Progress
	Usage    inference.Usage
}

// record is an event in the buffer. Its text is the next size bytes of
// Stream.text, so that the loop makes no string for each token.
type record struct {
	kind     EventKind
	choice   int
	size     int
	logprobs []inference.TokenLogprob
	finish   inference.FinishReason
	progress inference.Progress
	usage    inference.Usage
}

// Stream delivers the events of one request. One goroutine reads it; Close may
// be called from any.
//
// The buffer has no bound of its own: it holds at most the answer, which the
// context bounds. The loop therefore never waits for a reader.
type Stream struct {
	cancel func(error) // tells the engine that the request is not wanted any more
	signal chan struct{}

	mu      sync.Mutex
	records []record // those from next on were not read
	next    int
	text    []byte // bytes from off on belong to unread records
	off     int
	end     error // nil while the request runs
}

func newStream() *Stream { return &Stream{signal: make(chan struct{}, 1)} }

// Next returns the next event, io.EOF after the last, or the error that ended
// the request (after the events before it). If ctx ends first, Next returns
// ctx.Err() and the request goes on.
func (s *Stream) Next(ctx context.Context) (Event, error) {
	for {
		if ev, err, ok := s.pop(); ok {
			return ev, err
		}
		select {
		case <-s.signal:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// Close cancels what still runs: its cells are free after the steps in flight,
// two at most.
// Next returns inference.ErrCancelled from then on, unless the request had
// ended. Close always returns nil.
func (s *Stream) Close() error {
	if s.finish(inference.ErrCancelled) {
		s.cancel(inference.ErrCancelled)
	}
	return nil
}

func (s *Stream) pop() (Event, error, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == len(s.records) {
		return Event{}, s.end, s.end != nil
	}
	r := &s.records[s.next]
	ev := Event{
		Kind: r.kind, Choice: r.choice, Text: string(s.text[s.off : s.off+r.size]),
		Logprobs: r.logprobs, Finish: r.finish, Progress: r.progress, Usage: r.usage,
	}
	s.off += r.size
	*r = record{}
	s.next++
	if s.next == len(s.records) {
		s.records, s.next = s.records[:0], 0
		s.text, s.off = s.text[:0], 0
	}
	return ev, nil, true
}

// finish ends the stream with err once, and reports whether it did.
func (s *Stream) finish(err error) bool {
	s.mu.Lock()
	first := s.end == nil
	if first {
		s.end = err
	}
	s.mu.Unlock()
	if first {
		s.wake()
	}
	return first
}

func (s *Stream) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// push appends a record with the text that came last. What is pushed after the
// end is dropped: nobody waits for it.
func (s *Stream) push(r record, text []byte) {
	s.mu.Lock()
	if s.end != nil {
		s.mu.Unlock()
		return
	}
	s.text = append(s.text, text...)
	r.size = len(text)
	last := len(s.records) - 1
	merge := last >= s.next && s.records[last].kind == r.kind
	switch {
	case merge && r.kind == KindProgress:
		s.records[last].progress = r.progress
	case merge && r.kind == KindText && s.records[last].choice == r.choice:
		// A slow reader gets fewer, longer events.
		s.records[last].size += r.size
		s.records[last].logprobs = append(s.records[last].logprobs, r.logprobs...)
	default:
		s.records = append(s.records, r)
	}
	s.mu.Unlock()
	s.wake()
}
