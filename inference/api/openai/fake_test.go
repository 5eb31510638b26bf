package openai

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"hearth/inference"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeModels serves one model, "small", which says what its script says.
type fakeModels struct {
	script   func() *script
	refuse   error // of Chat and Complete
	leases   atomic.Int32
	mu       sync.Mutex
	chat     *inference.ChatRequest
	complete *inference.CompletionRequest
	rerank   *inference.RerankRequest
}

func (f *fakeModels) info() inference.ModelInfo {
	return inference.ModelInfo{ID: "small", Sequences: 3, Context: 128, Vocabulary: 256, ChatTemplate: true, Defaults: inference.DefaultSampling(), LoadedAt: time.Unix(1700000000, 0)}
}

func (f *fakeModels) List() []inference.ModelStatus {
	return []inference.ModelStatus{
		{Info: f.info(), State: inference.ModelReady},
		{Info: inference.ModelInfo{ID: "org/slow"}, State: inference.ModelLoading},
	}
}

func (f *fakeModels) Acquire(_ context.Context, id string) (inference.Lease, error) {
	switch id {
	case "", "small":
		f.leases.Add(1)
		return &fakeLease{f: f}, nil
	case "org/slow":
		return nil, &inference.RetryError{Err: inference.ErrLoading, After: 3 * time.Second}
	}
	return nil, &inference.ModelError{ID: id, Served: []string{"small", "org/slow"}}
}

type fakeLease struct {
	f    *fakeModels
	once sync.Once
}

func (l *fakeLease) Release()                  { l.once.Do(func() { l.f.leases.Add(-1) }) }
func (l *fakeLease) Info() inference.ModelInfo { return l.f.info() }

// Rerank scores each document by its length.
func (l *fakeLease) Rerank(_ context.Context, r *inference.RerankRequest) (*inference.Ranking, error) {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	if l.f.rerank = r; l.f.refuse != nil {
		return nil, l.f.refuse
	}
	out := &inference.Ranking{Tokens: 7}
	for i := range slices.Backward(r.Documents) {
		out.Results = append(out.Results, inference.Ranked{Index: i, Score: float32(len(r.Documents[i]))})
	}
	return out, nil
}

func (l *fakeLease) Chat(_ context.Context, r *inference.ChatRequest) (inference.Stream, error) {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	if l.f.chat = r; l.f.refuse != nil {
		return nil, l.f.refuse
	}
	return l.f.script(), nil
}

func (l *fakeLease) Complete(_ context.Context, r *inference.CompletionRequest) (inference.Stream, error) {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	if l.f.complete = r; l.f.refuse != nil {
		return nil, l.f.refuse
	}
	return l.f.script(), nil
}

func (l *fakeLease) Tokenize(text string, o inference.TokenizeOptions) ([]int32, error) {
	var out []int32
	if o.AddSpecial {
		out = append(out, 1)
	}
	for _, b := range []byte(text) {
		out = append(out, int32(b))
	}
	return out, nil
}

func (l *fakeLease) Detokenize(tokens []int32) (string, error) {
	var b []byte
	for _, t := range tokens {
		b = append(b, byte(t))
	}
	return string(b), nil
}

func (l *fakeLease) CountChat(r *inference.ChatRequest) (int, error) {
	n := 0
	for _, m := range r.Messages {
		n += len(m.Content)
	}
	return n, nil
}

// script is a stream whose events are there from the start, or come through
// more; closed tells that Close was called.
type script struct {
	mu     sync.Mutex
	events []inference.Event
	err    error
	more   chan inference.Event // nil: none
	closed chan struct{}
	once   sync.Once
}

func says(err error, events ...inference.Event) *script {
	return &script{events: events, err: err, closed: make(chan struct{})}
}

func (s *script) Next(ctx context.Context) (inference.Event, error) {
	s.mu.Lock()
	if len(s.events) > 0 {
		ev := s.events[0]
		s.events = s.events[1:]
		s.mu.Unlock()
		return ev, nil
	}
	s.mu.Unlock()
	if s.more == nil {
		return inference.Event{}, s.err
	}
	select {
	case ev, ok := <-s.more:
		if ok {
			return ev, nil
		}
		return inference.Event{}, s.err
	case <-s.closed:
		return inference.Event{}, inference.ErrCancelled
	case <-ctx.Done():
		return inference.Event{}, ctx.Err()
	}
}

func (s *script) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func text(choice int, s string) inference.Event {
	return inference.Event{Kind: inference.EventDelta, Choice: choice, Content: s, Logprobs: []inference.TokenLogprob{{
		Token: 7, Bytes: []byte(s), Logprob: -0.5, Top: []inference.TokenLogprob{{Token: 7, Bytes: []byte(s), Logprob: -0.5}, {Token: 8, Bytes: []byte{0xC3}, Logprob: -1}},
	}}}
}

func finish(choice int, r inference.FinishReason) inference.Event {
	return inference.Event{Kind: inference.EventFinish, Choice: choice, Finish: r}
}

func used(prompt, completion, cached int) inference.Event {
	return inference.Event{Kind: inference.EventUsage, Usage: inference.Usage{PromptTokens: prompt, CompletionTokens: completion, CachedTokens: cached}}
}

// newServer starts a real server with the routes; ids and the time are fixed.
func newServer(t *testing.T, f *fakeModels, mut func(*Config)) *httptest.Server {
	t.Helper()
	cfg := Config{Models: f, Log: zerolog.Nop(), MaxBodyBytes: 64 << 10}
	if mut != nil {
		mut(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a.now = func() time.Time { return time.Unix(1700000001, 0) }
	a.id = func(prefix string) string { return prefix + "1" }
	r := chi.NewRouter()
	a.Routes(r)
	s := httptest.NewServer(r)
	t.Cleanup(func() {
		s.Close()
		if n := f.leases.Load(); n != 0 {
			t.Errorf("%d leases were not given back", n)
		}
	})
	return s
}

// post sends a body and returns status, headers and the whole answer.
func post(t *testing.T, s *httptest.Server, path, body string) (*http.Response, string) {
	t.Helper()
	resp, err := s.Client().Post(s.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

// errorOf reads OpenAI's error object.
func errorOf(t *testing.T, body string) errorBody {
	t.Helper()
	var e errorEnvelope
	dec := json.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil || e.Error.Message == "" {
		t.Fatalf("%q is no error object: %v", body, err)
	}
	return e.Error
}

// readEvent reads one server-sent event or comment.
func readEvent(r *bufio.Reader) (string, error) {
	var b bytes.Buffer
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return b.String(), err
		}
		if line == "\n" {
			return b.String(), nil
		}
		b.WriteString(strings.TrimSuffix(line, "\n"))
	}
}

var errScript = errors.New("secret path /models/x.gguf")
