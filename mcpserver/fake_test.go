package mcpserver

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"hearth/inference"
	"hearth/mcpserver/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeModels serves scripted models.
type fakeModels struct {
	list []inference.ModelStatus
	// script returns the events of an answer; the stream then waits for hold,
	// if that is not nil, and ends.
	script func(prompt string) (events []inference.Event, err error)
	hold   func(prompt string) <-chan struct{}

	mu        sync.Mutex
	chats     []*inference.ChatRequest
	completes []*inference.CompletionRequest
	embeds    []*inference.EmbedRequest
	reranks   []*inference.RerankRequest
	ended     []error // why Next gave up, one for each stream that did not reach io.EOF

	leases  atomic.Int64 // not yet released
	open    atomic.Int64 // streams not yet closed
	waiting atomic.Int64 // streams that wait in hold
}

func ready(id string) inference.ModelStatus {
	return inference.ModelStatus{State: inference.ModelReady, Info: inference.ModelInfo{
		ID: id, Path: "/secret/" + id + ".gguf", Architecture: "llama", Description: "a model", Quantization: "Q4_1",
		Params: 135e6, FileBytes: 90e6, Context: 2048, TrainContext: 8192, Vocabulary: 49152, ChatTemplate: true,
		Defaults: inference.DefaultSampling(), Adapters: []inference.AdapterInfo{{Name: "poet", Path: "/secret/poet.gguf", Scale: 0.5, Bytes: 9}},
	}}
}

// embedder is a model that makes vectors of two numbers.
func embedder(id string) inference.ModelStatus {
	s := ready(id)
	s.Info.Embedding = inference.EmbeddingInfo{Width: 2, MaxTokens: 8, Pooling: inference.PoolingMean}
	return s
}

// saying answers every request with these pieces of text.
func saying(pieces ...string) *fakeModels {
	return &fakeModels{
		list:   []inference.ModelStatus{ready("tiny"), ready("big/model:Q4")},
		script: func(string) ([]inference.Event, error) { return tokens(pieces...), nil },
	}
}

func tokens(pieces ...string) []inference.Event {
	var events []inference.Event
	for _, p := range pieces {
		events = append(events, inference.Event{Kind: inference.EventDelta, Content: p})
	}
	return append(events,
		inference.Event{Kind: inference.EventFinish, Finish: inference.FinishStop},
		inference.Event{Kind: inference.EventUsage, Usage: inference.Usage{PromptTokens: 7, CachedTokens: 3, CompletionTokens: len(pieces)}})
}

func (f *fakeModels) List() []inference.ModelStatus { return f.list }

func (f *fakeModels) Acquire(_ context.Context, id string) (inference.Lease, error) {
	var served []string
	for _, s := range f.list {
		if id == "" || s.Info.ID == id {
			if s.State != inference.ModelReady {
				return nil, inference.ErrLoading
			}
			f.leases.Add(1)
			return &fakeLease{models: f, info: s.Info}, nil
		}
		served = append(served, s.Info.ID)
	}
	return nil, &inference.ModelError{ID: id, Served: served}
}

type fakeLease struct {
	models   *fakeModels
	info     inference.ModelInfo
	released atomic.Bool
}

func (l *fakeLease) Info() inference.ModelInfo { return l.info }

func (l *fakeLease) Release() {
	if l.released.CompareAndSwap(false, true) {
		l.models.leases.Add(-1)
	}
}

func (l *fakeLease) Chat(ctx context.Context, r *inference.ChatRequest) (inference.Stream, error) {
	l.models.mu.Lock()
	l.models.chats = append(l.models.chats, r)
	l.models.mu.Unlock()
	return l.models.stream(r.Messages[len(r.Messages)-1].Content)
}

func (l *fakeLease) Complete(ctx context.Context, r *inference.CompletionRequest) (inference.Stream, error) {
	l.models.mu.Lock()
	l.models.completes = append(l.models.completes, r)
	l.models.mu.Unlock()
	return l.models.stream(r.Prompt)
}

func (f *fakeModels) stream(prompt string) (inference.Stream, error) {
	events, err := f.script(prompt)
	if err != nil {
		return nil, err
	}
	s := &fakeStream{models: f, events: events}
	if f.hold != nil {
		s.hold = f.hold(prompt)
	}
	f.open.Add(1)
	return s, nil
}

// ranker is a model that scores documents.
func ranker(id string) inference.ModelStatus {
	s := ready(id)
	s.Info.Rerank = inference.RerankInfo{MaxTokens: 8}
	return s
}

// Rerank scores documents by their length, the last first.
func (l *fakeLease) Rerank(_ context.Context, r *inference.RerankRequest) (*inference.Ranking, error) {
	l.models.mu.Lock()
	l.models.reranks = append(l.models.reranks, r)
	l.models.mu.Unlock()
	if l.info.Rerank.MaxTokens == 0 {
		return nil, inference.NoRanking(l.info.ID)
	}
	out := &inference.Ranking{Tokens: len(r.Query)}
	for i := range slices.Backward(r.Documents) {
		out.Results = append(out.Results, inference.Ranked{Index: i, Score: float32(len(r.Documents[i]))})
	}
	return out, nil
}

// Embed makes vectors of each text's length in bytes and the number of texts.
func (l *fakeLease) Embed(_ context.Context, r *inference.EmbedRequest) (*inference.Embeddings, error) {
	l.models.mu.Lock()
	l.models.embeds = append(l.models.embeds, r)
	l.models.mu.Unlock()
	if l.info.Embedding.Width == 0 {
		return nil, inference.NoEmbeddings(l.info.ID)
	}
	out := &inference.Embeddings{}
	for i, in := range r.Inputs {
		if len(in.Text) > l.info.Embedding.MaxTokens {
			return nil, &inference.InputOverflowError{Field: fmt.Sprintf("input[%d]", i), Tokens: len(in.Text), Limit: l.info.Embedding.MaxTokens}
		}
		v := []float32{float32(len(in.Text)), float32(len(r.Inputs))}
		if r.Dimensions > 0 {
			v = v[:r.Dimensions]
		}
		out.Vectors = append(out.Vectors, v)
		out.Tokens += len(in.Text)
	}
	return out, nil
}

func (l *fakeLease) Tokenize(text string, _ inference.TokenizeOptions) ([]int32, error) {
	return make([]int32, len(strings.Fields(text))), nil
}

func (l *fakeLease) Detokenize([]int32) (string, error) { return "", inference.ErrUnsupported }

func (l *fakeLease) CountChat(r *inference.ChatRequest) (int, error) {
	return 10 * len(r.Messages), nil
}

type fakeStream struct {
	models *fakeModels
	events []inference.Event
	hold   <-chan struct{}
	closed atomic.Bool
}

func (s *fakeStream) Next(ctx context.Context) (inference.Event, error) {
	if len(s.events) == 0 && s.hold != nil {
		s.models.waiting.Add(1)
		defer s.models.waiting.Add(-1)
		select {
		case <-s.hold:
			s.hold = nil
		case <-ctx.Done():
			s.models.mu.Lock()
			s.models.ended = append(s.models.ended, context.Cause(ctx))
			s.models.mu.Unlock()
			return inference.Event{}, ctx.Err()
		}
	}
	if err := ctx.Err(); err != nil {
		return inference.Event{}, err
	}
	if len(s.events) == 0 {
		return inference.Event{}, io.EOF
	}
	e := s.events[0]
	s.events = s.events[1:]
	return e, nil
}

func (s *fakeStream) Close() error {
	if s.closed.CompareAndSwap(false, true) {
		s.models.open.Add(-1)
	}
	return nil
}

// newServer returns a server with the tools of f's models, behind those of the
// router that change gives it.
func newServer(t *testing.T, f *fakeModels, change ...func(*Config)) *Server {
	t.Helper()
	return newPacedServer(t, f, coalesce, change...)
}

// newEagerServer returns one that coalesces no progress.
func newEagerServer(t *testing.T, f *fakeModels, change ...func(*Config)) *Server {
	t.Helper()
	return newPacedServer(t, f, 0, change...)
}

func newPacedServer(t *testing.T, f *fakeModels, every time.Duration, change ...func(*Config)) *Server {
	t.Helper()
	c := Config{Models: f, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel), Version: "1.2.3"}
	for _, ch := range change {
		ch(&c)
	}
	if c.Router == nil {
		c.Router = newRouter(t, router.DefaultConfig(), nil)
	}
	tools, err := NewTools(ToolsConfig{Models: c.Models, Log: c.Log, Asks: len(c.Router.Labels()) > 0})
	if err != nil {
		t.Fatal(err)
	}
	tools.every = every
	if err := c.Router.AddOwn(tools, router.Options{}); err != nil {
		t.Fatal(err)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f.leases.Load() != 0 || f.open.Load() != 0 {
			t.Errorf("%d leases and %d streams are left", f.leases.Load(), f.open.Load())
		}
	})
	return s
}

// newRouter returns one without connectors. Records go to j, unless that is nil.
func newRouter(t *testing.T, c router.Config, j router.Journal) *router.Router {
	t.Helper()
	r, err := router.New(c, router.Deps{Log: zerolog.Nop(), Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		yield()
	}
}
