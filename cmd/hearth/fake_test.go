package main

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"hearth/inference"
	"hearth/internal/audit"
)

// fakeModel answers with the events that the test gave it and notes what it was
// asked.
type fakeModel struct {
	mu         sync.Mutex
	chat       *inference.ChatRequest
	completion *inference.CompletionRequest
	embed      *inference.EmbedRequest
	vectors    *inference.Embeddings // nil: it makes none
	rerank     *inference.RerankRequest
	ranking    *inference.Ranking // nil: it makes none
	adapters   []inference.AdapterInfo
	events     []inference.Event
	err        error // instead of an answer
	end        error // after the events; nil: io.EOF
	hold       bool  // after the events, wait for Close
	closed     int
}

func (m *fakeModel) Info() inference.ModelInfo {
	return inference.ModelInfo{
		ID: "fake", Sequences: 4, Context: 100, TrainContext: 200, Vocabulary: 1000, Params: 135e6, Quantization: "Q4_1",
		ChatTemplate: true, Defaults: inference.DefaultSampling(), LoadedAt: time.Unix(1e9, 0),
		Embedding: inference.EmbeddingInfo{Width: 3, MaxTokens: 9, Pooling: inference.PoolingCLS},
		Rerank:    inference.RerankInfo{MaxTokens: 11}, Adapters: m.adapters,
	}
}

func (m *fakeModel) Embed(_ context.Context, r *inference.EmbedRequest) (*inference.Embeddings, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.embed = r
	if m.vectors == nil {
		return nil, inference.NoEmbeddings("fake")
	}
	return m.vectors, nil
}

func (m *fakeModel) Rerank(_ context.Context, r *inference.RerankRequest) (*inference.Ranking, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rerank = r
	if m.ranking == nil {
		return nil, inference.NoRanking("fake")
	}
	return m.ranking, nil
}

func (m *fakeModel) Chat(_ context.Context, r *inference.ChatRequest) (inference.Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.chat = r
	return m.start()
}

func (m *fakeModel) Complete(_ context.Context, r *inference.CompletionRequest) (inference.Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.completion = r
	return m.start()
}

func (m *fakeModel) start() (inference.Stream, error) {
	if m.err != nil {
		return nil, m.err
	}
	end := m.end
	if end == nil {
		end = io.EOF
	}
	return &fakeStream{model: m, events: m.events, end: end, hold: m.hold, gone: make(chan struct{})}, nil
}

func (m *fakeModel) Tokenize(text string, o inference.TokenizeOptions) ([]int32, error) {
	tokens := []int32{}
	if o.AddSpecial {
		tokens = append(tokens, 1)
	}
	for _, b := range []byte(text) {
		tokens = append(tokens, int32(b))
	}
	return tokens, nil
}

func (m *fakeModel) Detokenize(tokens []int32) (string, error) {
	var b []byte
	for _, t := range tokens {
		b = append(b, byte(t))
	}
	return string(b), nil
}

func (m *fakeModel) CountChat(r *inference.ChatRequest) (int, error) { return 7 * len(r.Messages), nil }

func (m *fakeModel) Release() {}

type fakeStream struct {
	model  *fakeModel
	events []inference.Event
	end    error
	hold   bool
	once   sync.Once
	gone   chan struct{}
}

func (s *fakeStream) Next(ctx context.Context) (inference.Event, error) {
	if len(s.events) > 0 {
		ev := s.events[0]
		s.events = s.events[1:]
		return ev, nil
	}
	if s.hold {
		select {
		case <-s.gone:
			return inference.Event{}, inference.ErrCancelled
		case <-ctx.Done():
			return inference.Event{}, ctx.Err()
		}
	}
	return inference.Event{}, s.end
}

func (s *fakeStream) Close() error {
	s.once.Do(func() {
		close(s.gone)
		s.model.mu.Lock()
		defer s.model.mu.Unlock()
		s.model.closed++
	})
	return nil
}

// fakeModels serves one fakeModel.
type fakeModels struct{ m *fakeModel }

func (f fakeModels) List() []inference.ModelStatus {
	return []inference.ModelStatus{{Info: f.m.Info(), State: inference.ModelReady, Progress: 1}}
}

func (f fakeModels) Acquire(_ context.Context, id string) (inference.Lease, error) {
	if id != "" && id != "fake" {
		return nil, &inference.ModelError{ID: id, Served: []string{"fake"}}
	}
	return f.m, nil
}

// says returns the events of an answer with these pieces.
func says(pieces ...string) []inference.Event {
	var all []inference.Event
	for _, p := range pieces {
		all = append(all, inference.Event{Kind: inference.EventDelta, Content: p})
	}
	return append(all,
		inference.Event{Kind: inference.EventFinish, Finish: inference.FinishStop},
		inference.Event{Kind: inference.EventUsage, Usage: inference.Usage{PromptTokens: 11, CachedTokens: 4, CompletionTokens: len(pieces)}})
}

// sink keeps audit records.
type sink struct {
	mu  sync.Mutex
	all []audit.Record
}

func (s *sink) Write(r audit.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Duration = 0
	s.all = append(s.all, r)
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }
