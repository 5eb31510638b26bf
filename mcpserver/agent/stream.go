package agent

import (
	"context"
	"io"
	"sync"

	"hearth/inference"
)

// stream hands the events of a turn to who reads. What is not read yet is kept:
// it is bounded by the tokens, rounds and results of the turn, and the turn never
// waits for a slow reader.
type stream struct {
	cancel context.CancelFunc

	mu     sync.Mutex
	events []inference.Event
	read   int
	ended  bool
	err    error
	ready  chan struct{} // holds one where there is something new
}

func newStream(cancel context.CancelFunc) *stream {
	return &stream{cancel: cancel, ready: make(chan struct{}, 1)}
}

func (s *stream) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// send adds an event. It may be called from any goroutine.
func (s *stream) send(ev inference.Event) {
	s.mu.Lock()
	s.events = append(s.events, ev)
	s.mu.Unlock()
	s.wake()
}

// end says that nothing more comes; nil: the turn ended well.
func (s *stream) end(err error) {
	if err == nil {
		err = io.EOF
	}
	s.mu.Lock()
	s.ended, s.err = true, err
	s.mu.Unlock()
	s.wake()
}

// Next implements inference.Stream.
func (s *stream) Next(ctx context.Context) (inference.Event, error) {
	for {
		if ev, err, ok := s.take(); ok {
			return ev, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			// What came in the same moment goes first.
			if ev, err, ok := s.take(); ok {
				return ev, err
			}
			return inference.Event{}, ctx.Err()
		}
	}
}

func (s *stream) take() (inference.Event, error, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read < len(s.events) {
		ev := s.events[s.read]
		s.events[s.read] = inference.Event{}
		if s.read++; s.read == len(s.events) {
			s.events, s.read = s.events[:0], 0
		}
		return ev, nil, true
	}
	if s.ended {
		return inference.Event{}, s.err, true
	}
	return inference.Event{}, nil, false
}

// Close ends the turn: the model's answer and the calls in flight.
func (s *stream) Close() error {
	s.cancel()
	return nil
}
