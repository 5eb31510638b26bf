package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"hearth/inference"
)

// maxEventBytes bounds one line of a server's stream.
const maxEventBytes = 4 << 20

// Chat streams a chat answer from the server. Log probabilities are not read.
func (m *remoteModel) Chat(ctx context.Context, r *inference.ChatRequest) (inference.Stream, error) {
	return m.stream(ctx, "/v1/chat/completions", m.chatBody(r), &r.Options)
}

// Complete streams a completion from the server. Log probabilities are not read.
func (m *remoteModel) Complete(ctx context.Context, r *inference.CompletionRequest) (inference.Stream, error) {
	return m.stream(ctx, "/v1/completions", m.completionBody(r), &r.Options)
}

func (m *remoteModel) stream(ctx context.Context, path string, body map[string]any, o *inference.Options) (inference.Stream, error) {
	body["stream"], body["return_progress"] = true, true
	body["stream_options"] = map[string]any{"include_usage": true}
	var cancel context.CancelFunc
	if o.Deadline.IsZero() {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithDeadlineCause(ctx, o.Deadline, inference.ErrDeadline)
	}
	s := &remoteStream{cancel: cancel, began: time.Now(), items: make(chan inference.Event, 64), ctx: ctx}
	resp, err := m.send(ctx, http.MethodPost, path, body)
	if err != nil {
		cancel()
		return nil, err
	}
	go s.read(resp.Body)
	return s, nil
}

// remoteStream reads server-sent events on a goroutine of its own, which ends
// when the answer does or with Close.
type remoteStream struct {
	ctx    context.Context
	cancel context.CancelFunc
	began  time.Time
	items  chan inference.Event // closed at the end
	last   error                // what ended the stream; set before items is closed
}

// Next returns the next event.
func (s *remoteStream) Next(ctx context.Context) (inference.Event, error) {
	select {
	case ev, ok := <-s.items:
		if !ok {
			return inference.Event{}, s.last
		}
		return ev, nil
	case <-ctx.Done():
		return inference.Event{}, ctx.Err()
	}
}

// Close stops the answer.
func (s *remoteStream) Close() error {
	s.cancel()
	return nil
}

func (s *remoteStream) read(body io.ReadCloser) {
	defer s.cancel()
	defer close(s.items)
	defer body.Close()
	s.last = s.events(body)
	if cause := context.Cause(s.ctx); cause != nil && !errors.Is(s.last, io.EOF) {
		s.last = inference.ErrCancelled
		if errors.Is(cause, inference.ErrDeadline) {
			s.last = inference.ErrDeadline
		}
	}
}

// events delivers every event and returns io.EOF at the end of a whole answer.
func (s *remoteStream) events(body io.Reader) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEventBytes)
	var first time.Duration
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue // comments and blank lines
		}
		if data == "[DONE]" {
			return io.EOF
		}
		var chunk wireChunk
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		if chunk.Error != nil {
			return chunk.Error
		}
		for _, ev := range chunk.events() {
			switch {
			case ev.Kind == inference.EventDelta && first == 0:
				first = time.Since(s.began)
			case ev.Kind == inference.EventUsage:
				ev.Usage.TTFT, ev.Usage.Duration = first, time.Since(s.began)
			}
			select {
			case s.items <- ev:
			case <-s.ctx.Done():
				return s.ctx.Err()
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: the server's answer broke off: %w", inference.ErrEngine, err)
	}
	return fmt.Errorf("%w: the server's answer broke off", inference.ErrEngine)
}
