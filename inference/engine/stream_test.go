package engine

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"hearth/inference"
)

func TestStreamMergesWhatWasNotRead(t *testing.T) {
	s := newStream()
	s.push(record{kind: KindProgress, progress: inference.Progress{Prefilled: 1, Prompt: 9}}, nil)
	s.push(record{kind: KindProgress, progress: inference.Progress{Prefilled: 5, Prompt: 9}}, nil)
	s.push(record{kind: KindText, logprobs: []inference.TokenLogprob{{Token: 1}}}, []byte("a"))
	s.push(record{kind: KindText, logprobs: []inference.TokenLogprob{{Token: 2}}}, []byte("b"))
	s.push(record{kind: KindText, choice: 1}, []byte("x"))
	s.push(record{kind: KindText}, []byte("c"))
	s.push(record{kind: KindFinish, finish: inference.FinishStop}, nil)
	s.finish(io.EOF)
	s.push(record{kind: KindText}, []byte("too late"))
	want := []Event{
		{Kind: KindProgress, Progress: inference.Progress{Prefilled: 5, Prompt: 9}},
		{Kind: KindText, Text: "ab"},
		{Kind: KindText, Choice: 1, Text: "x"},
		{Kind: KindText, Text: "c"},
		{Kind: KindFinish, Finish: inference.FinishStop},
	}
	for i, w := range want {
		ev, err := s.Next(t.Context())
		if err != nil || ev.Kind != w.Kind || ev.Choice != w.Choice || ev.Text != w.Text || ev.Finish != w.Finish || ev.Progress != w.Progress {
			t.Errorf("event %d: %+v, %v; want %+v", i, ev, err, w)
		}
		if i == 1 && (len(ev.Logprobs) != 2 || ev.Logprobs[1].Token != 2) {
			t.Errorf("log probabilities %+v", ev.Logprobs)
		}
	}
	for range 2 {
		if _, err := s.Next(t.Context()); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
	}
}

func TestStreamKeepsTextApartWhenReadInBetween(t *testing.T) {
	s := newStream()
	var got strings.Builder
	for i := range 100 {
		s.push(record{kind: KindText, choice: i % 2}, []byte{byte('a' + i%26)})
		if i%7 == 0 {
			ev, err := s.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got.WriteString(ev.Text)
		}
	}
	s.finish(io.EOF)
	for {
		ev, err := s.Next(t.Context())
		if err != nil {
			break
		}
		got.WriteString(ev.Text)
	}
	for i, c := range got.String() {
		if c != rune('a'+i%26) {
			t.Fatalf("text is out of order: %q", got.String())
		}
	}
	if got.Len() != 100 {
		t.Errorf("%d of 100 bytes", got.Len())
	}
}

func TestStreamNextWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream()
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error)
		read := func(ctx context.Context) {
			_, err := s.Next(ctx)
			results <- err
		}
		go read(ctx)
		synctest.Wait()
		cancel()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("with a cancelled context: %v", err)
		}
		go read(t.Context())
		synctest.Wait()
		s.push(record{kind: KindText}, []byte("x"))
		if err := <-results; err != nil {
			t.Errorf("the stream did not go on: %v", err)
		}
		go read(t.Context())
		synctest.Wait()
		s.finish(inference.ErrShutdown)
		if err := <-results; !errors.Is(err, inference.ErrShutdown) {
			t.Errorf("at the end: %v", err)
		}
	})
}

func TestStreamCloseCancelsOnce(t *testing.T) {
	s := newStream()
	var causes []error
	s.cancel = func(err error) { causes = append(causes, err) }
	s.Close()
	s.Close()
	if len(causes) != 1 || causes[0] != inference.ErrCancelled {
		t.Errorf("causes %v", causes)
	}
	if _, err := s.Next(t.Context()); err != inference.ErrCancelled {
		t.Errorf("after Close: %v", err)
	}
	ended := newStream()
	ended.cancel = func(error) { t.Error("a stream that had ended cancels") }
	ended.finish(io.EOF)
	ended.Close()
	if _, err := ended.Next(t.Context()); err != io.EOF {
		t.Errorf("after the end and Close: %v", err)
	}
}
