package chat

import (
	"context"
	"errors"
	"io"
	"testing"

	"hearth/inference"
	"hearth/inference/engine"
)

// TestStreamSurvivesImpatience: a context that ends is the caller's business.
func TestStreamSurvivesImpatience(t *testing.T) {
	lm, e := &fakeModel{thinking: true}, &fakeEngine{events: says(inference.FinishStop, "a"), err: inference.ErrShutdown}
	m := newFake(t, lm, e)
	s, err := m.Chat(t.Context(), ask(nil))
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(gone); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	got, err := read(t, s)
	if got.Content != "a" || !errors.Is(err, inference.ErrShutdown) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, inference.ErrShutdown) {
		t.Errorf("the end is not kept: %v", err)
	}
	if lm.opened.Load() != lm.closed.Load() {
		t.Error("a parser stayed open")
	}
}

func TestRefusedSubmitClosesParsers(t *testing.T) {
	lm, e := &fakeModel{thinking: true}, &fakeEngine{refuse: &inference.RetryError{Err: inference.ErrBusy}}
	m := newFake(t, lm, e)
	if _, err := m.Chat(t.Context(), ask(nil)); !errors.Is(err, inference.ErrBusy) {
		t.Errorf("got %v", err)
	}
	if lm.opened.Load() != lm.closed.Load() {
		t.Error("a parser stayed open")
	}
}

// TestCloseWhileReading: Close comes from another goroutine at any time.
func TestCloseWhileReading(t *testing.T) {
	lm := &fakeModel{thinking: true}
	var events []engine.Event
	for range 200 {
		events = append(events, engine.Event{Kind: engine.KindText, Text: "word "})
	}
	m := newFake(t, lm, &fakeEngine{events: events})
	s, err := m.Chat(t.Context(), ask(nil))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = s.Close()
	}()
	for {
		if _, err := s.Next(t.Context()); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	<-closed
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if lm.opened.Load() != lm.closed.Load() {
		t.Error("a parser stayed open")
	}
}
