package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/inference/api/openai"
)

// serveFake serves m behind the real API and returns the client for it: what
// goes in on one side must come out on the other.
func serveFake(t *testing.T, m *fakeModel) *remote {
	t.Helper()
	api, err := openai.New(openai.Config{Models: fakeModels{m}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	router := chi.NewRouter()
	api.Routes(router)
	srv := httptest.NewServer(router)
	t.Cleanup(srv.Close)
	r, err := newRemote(srv.URL + "/v1/")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func lease(t *testing.T, r *remote) inference.Lease {
	t.Helper()
	l, err := r.Acquire(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func drain(ctx context.Context, s inference.Stream) ([]inference.Event, error) {
	var all []inference.Event
	for {
		ev, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, ev)
	}
}

var sameOptions = cmp.Options{
	cmpopts.IgnoreFields(inference.Options{}, "RequestID"),
	cmpopts.IgnoreFields(inference.Usage{}, "TTFT", "Duration"),
	cmpopts.EquateEmpty(),
}

func TestChatThroughAServer(t *testing.T) {
	seed, budget, bare := uint32(7), 30, false
	m := &fakeModel{events: []inference.Event{
		{Kind: inference.EventProgress, Progress: inference.Progress{Prefilled: 4, Prompt: 9}},
		{Kind: inference.EventDelta, Reasoning: "hm"},
		{Kind: inference.EventDelta, Content: "Hello \"world\"\n"},
		{Kind: inference.EventDelta, ToolCall: &inference.ToolCallDelta{ID: "c1", Name: "f"}},
		{Kind: inference.EventDelta, ToolCall: &inference.ToolCallDelta{Arguments: "{}"}},
		{Kind: inference.EventFinish, Finish: inference.FinishToolCalls},
		{Kind: inference.EventUsage, Usage: inference.Usage{PromptTokens: 9, CachedTokens: 3, CompletionTokens: 2}},
	}}
	want := &inference.ChatRequest{
		Options: inference.Options{
			Caller: inference.DefaultCaller, Priority: inference.PriorityLow, N: 1, MaxTokens: 50, Stop: []string{"\n\n"},
			Sampling: inference.Sampling{Temperature: 0.5, TopK: 3, TopP: 0.5, MinP: 0.25, RepeatPenalty: 1.5, RepeatLastN: 32, PresencePenalty: 0.5, FrequencyPenalty: -0.5, DryBase: 1.25, LogitBias: map[int32]float32{5: -100}, Seed: &seed},
			Format:   inference.Format{Kind: inference.FormatJSONSchema, Schema: raw(`{"type":"object"}`)},
		},
		Messages: []inference.Message{
			{Role: inference.RoleSystem, Content: "Be brief."},
			{Role: inference.RoleUser, Content: "Hi", Name: "ann"},
			{Role: inference.RoleAssistant, Content: "", Reasoning: "so", ToolCalls: []inference.ToolCall{{ID: "c0", Name: "f", Arguments: `{"a":1}`}}},
			{Role: inference.RoleTool, Content: "1", ToolCallID: "c0", Name: "f"},
		},
		Tools:             []inference.Tool{{Name: "f", Description: "does it", Parameters: raw(`{"type":"object"}`), Strict: true}},
		ToolChoice:        inference.ToolChoice{Mode: inference.ToolAuto},
		ParallelToolCalls: true,
		TemplateArgs:      map[string]json.RawMessage{"x": raw(`1`)},
		ReasoningBudget:   &budget,
		BareCalls:         &bare,
	}
	l := lease(t, serveFake(t, m))
	s, err := l.Chat(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := drain(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, m.chat, sameOptions); d != "" {
		t.Error("the request changed on the way:", d)
	}
	if d := cmp.Diff(m.events, got, sameOptions); d != "" {
		t.Error("the answer changed on the way:", d)
	}
	if n, err := l.CountChat(want); err != nil || n != 28 {
		t.Errorf("CountChat = %d, %v", n, err)
	}
}

func TestCompletionThroughAServer(t *testing.T) {
	m := &fakeModel{events: []inference.Event{
		{Kind: inference.EventProgress, Progress: inference.Progress{Prefilled: 9, Prompt: 9}},
		{Kind: inference.EventDelta, Choice: 1, Content: "b"},
		{Kind: inference.EventDelta, Content: "a"},
		{Kind: inference.EventFinish, Choice: 1, Finish: inference.FinishLength},
		{Kind: inference.EventFinish, Finish: inference.FinishStop},
		{Kind: inference.EventUsage, Usage: inference.Usage{PromptTokens: 9, CompletionTokens: 2}},
	}}
	l := lease(t, serveFake(t, m))
	for _, want := range []*inference.CompletionRequest{
		{Options: inference.Options{Caller: inference.DefaultCaller, N: 2, Sampling: inference.DefaultSampling(), Format: inference.Format{Kind: inference.FormatText}}, Prompt: "Once", Echo: true},
		{Options: inference.Options{Caller: inference.DefaultCaller, N: 2, Sampling: inference.DefaultSampling(), Format: inference.Format{Kind: inference.FormatJSONObject}}, Tokens: []int32{5, 6}},
		{Options: inference.Options{Caller: inference.DefaultCaller, N: 2, Sampling: inference.DefaultSampling(), Format: inference.Format{Kind: inference.FormatText}, Grammar: "root ::= \"a\"\n"}, Prompt: "Once"},
	} {
		s, err := l.Complete(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := drain(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, m.completion, sameOptions); d != "" {
			t.Error("the request changed on the way:", d)
		}
		if d := cmp.Diff(m.events, got, sameOptions); d != "" {
			t.Error("the answer changed on the way:", d)
		}
	}
}

func TestTokensThroughAServer(t *testing.T) {
	l := lease(t, serveFake(t, &fakeModel{}))
	tokens, err := l.Tokenize("Ab", inference.TokenizeOptions{AddSpecial: true})
	if d := cmp.Diff([]int32{1, 'A', 'b'}, tokens); err != nil || d != "" {
		t.Error(err, d)
	}
	if text, err := l.Detokenize([]int32{'h', 'i'}); err != nil || text != "hi" {
		t.Errorf("%q, %v", text, err)
	}
	want := (&fakeModel{}).Info()
	if d := cmp.Diff(want, l.Info()); d != "" {
		t.Error(d)
	}
}

func TestErrorsThroughAServer(t *testing.T) {
	for _, want := range []error{
		&inference.OverflowError{Prompt: 500, Context: 100},
		inference.Invalid("temperature", "must be between 0 and 2, got 9"),
		&inference.RetryError{Err: inference.ErrBusy, After: time.Second},
		&inference.RetryError{Err: inference.ErrShutdown},
		inference.ErrEngine,
	} {
		_, err := lease(t, serveFake(t, &fakeModel{err: want})).Chat(t.Context(), &inference.ChatRequest{Messages: []inference.Message{{Role: inference.RoleUser, Content: "x"}}})
		if got := inference.Classify(err); err == nil || got.Code != inference.Classify(want).Code {
			t.Errorf("%v became %v", want, err)
		}
		// In the middle of an answer it is the same.
		m := &fakeModel{events: says("a")[:1], end: want}
		s, err := lease(t, serveFake(t, m)).Complete(t.Context(), &inference.CompletionRequest{Prompt: "x"})
		if err != nil {
			t.Errorf("%v: %v", want, err)
			continue
		}
		if _, err := drain(t.Context(), s); inference.Classify(err).Code != inference.Classify(want).Code {
			t.Errorf("%v became %v", want, err)
		}
	}
	if _, err := serveFake(t, &fakeModel{}).Acquire(t.Context(), "other"); !errors.Is(err, inference.ErrModelNotFound) {
		t.Errorf("an unknown model: %v", err)
	}
}

// namedModel is a fakeModel with another id.
type namedModel struct {
	*fakeModel
	id string
}

func (m namedModel) Info() inference.ModelInfo {
	info := m.fakeModel.Info()
	info.ID = m.id
	return info
}

// namedModels serves several.
type namedModels []namedModel

func (all namedModels) List() []inference.ModelStatus {
	var list []inference.ModelStatus
	for _, m := range all {
		list = append(list, inference.ModelStatus{Info: m.Info(), State: inference.ModelReady, Progress: 1})
	}
	return list
}

func (all namedModels) Acquire(_ context.Context, id string) (inference.Lease, error) {
	missing := &inference.ModelError{ID: id}
	for _, m := range all {
		if id == "" || id == m.id {
			return m, nil
		}
		missing.Served = append(missing.Served, m.id)
	}
	return nil, missing
}

// TestModelOfTheServerForMCP runs hearth mcp against a server of three models:
// the one that is named is the first of the list and answers the tools.
func TestModelOfTheServerForMCP(t *testing.T) {
	api, err := openai.New(openai.Config{Log: zerolog.Nop(), Models: namedModels{
		{&fakeModel{events: says("I am a.")}, "a"}, {&fakeModel{events: says("I am b.")}, "b"}, {&fakeModel{events: says("I am c.")}, "c"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	router := chi.NewRouter()
	api.Routes(router)
	router.Get("/healthz", newHealth("v").live)
	srv := httptest.NewServer(router)
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "b") // a file: for processes that load it themselves
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const calls = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_models","arguments":{}}}
{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"chat","arguments":{"prompt":"Who are you?"}}}
{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"chat","arguments":{"prompt":"And you?","model":"a"}}}
`
	for _, c := range []struct {
		name, flag, env string
		order           string // of the models, empty if the command refuses
		want            string // the default's answer, or the message
	}{
		{"none named", "", "", "abc", "I am a."},
		{"flag", "b", "", "bac", "I am b."},
		{"variable", "", "c", "cab", "I am c."},
		{"flag before variable", "b", "c", "bac", "I am b."},
		{"variable with a file", "", file, "abc", "I am a."},
		{"unknown by flag", "d", "", "", `--model: no model "d" is served here; there is: a, b, c`},
		{"unknown by variable", "", "d", "", `HEARTH_MODEL: no model "d" is served here; there is: a, b, c`},
		{"file by flag", file, "", "", "--model: no model"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(modelEnv, c.env)
			t.Setenv(urlEnv, srv.URL)
			args := []string{"mcp"}
			if c.flag != "" {
				args = append(args, "--model", c.flag)
			}
			var out, errOut bytes.Buffer
			code := run(t.Context(), args, strings.NewReader(calls), &out, zerolog.SyncWriter(&errOut))
			if c.order == "" {
				if code != exitUsage || !strings.Contains(errOut.String(), c.want) || out.Len() > 0 {
					t.Errorf("code %d, %s%s; want %d and %q", code, errOut.String(), out.String(), exitUsage, c.want)
				}
				return
			}
			answers := map[int]string{}
			for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
				var answer struct {
					ID     int
					Result struct {
						Structured struct {
							Text   string
							Models []struct{ ID string }
						} `json:"structuredContent"`
					}
				}
				if err := json.Unmarshal([]byte(line), &answer); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				answers[answer.ID] += answer.Result.Structured.Text
				for _, m := range answer.Result.Structured.Models {
					answers[answer.ID] += m.ID
				}
			}
			want := map[int]string{1: c.order, 2: c.want, 3: "I am a."}
			if d := cmp.Diff(want, answers); code != exitOK || d != "" {
				t.Errorf("code %d, %s\n%s\n%s", code, d, out.String(), errOut.String())
			}
		})
	}
}

func TestClosingCancelsOnTheServer(t *testing.T) {
	m := &fakeModel{events: says("a")[:1], hold: true}
	s, err := lease(t, serveFake(t, m)).Complete(t.Context(), &inference.CompletionRequest{Prompt: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if ev, err := s.Next(t.Context()); err != nil || ev.Content != "a" {
		t.Fatal(ev, err)
	}
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(short); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that does not wait: %v", err)
	}
	_ = s.Close()
	if _, err := s.Next(t.Context()); !errors.Is(err, inference.ErrCancelled) {
		t.Errorf("after Close: %v", err)
	}
}

func TestBrokenServers(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"stream breaks off": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "data: {\"choices\":[]}\n\n") },
		"not JSON":          func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "data: {oops\n\n") },
		"cut":               func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
		"a proxy's page": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<h1>Bad Gateway</h1>", http.StatusBadGateway)
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(handler)
			defer srv.Close()
			r, err := newRemote(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			m := &remoteModel{remote: r}
			s, err := m.Chat(t.Context(), &inference.ChatRequest{})
			if err == nil {
				_, err = drain(t.Context(), s)
			}
			if err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestRemoteAddresses(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:8080", "ftp://x", "http://"} {
		var exit *exitError
		if _, err := newRemote(bad); !errors.As(err, &exit) || exit.code != exitUsage {
			t.Errorf("%q: %v", bad, err)
		}
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	h := newHealth("v")
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(h.live)}}
	srv.Start()
	defer srv.Close()
	r, err := newRemote("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.isHearth(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
}

// TestRemoteEmbed: what a model is asked for, and its vectors, cross the API
// unchanged.
func TestRemoteEmbed(t *testing.T) {
	m := &fakeModel{}
	l := lease(t, serveFake(t, m))
	defer l.Release()
	if got, want := l.Info().Embedding, m.Info().Embedding; got != want {
		t.Errorf("the model embeds %+v, want %+v", got, want)
	}
	want := &inference.Embeddings{Vectors: [][]float32{{1, -0.25, 3e-30}, {0.1, 0, 7}}, Tokens: 5}
	m.vectors = want
	req := &inference.EmbedRequest{Inputs: []inference.EmbedInput{{Text: "a"}, {Tokens: []int32{4, 5}}}, Dimensions: 3, Truncate: true}
	got, err := inference.Embed(t.Context(), l, req)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(req, m.embed, cmpopts.IgnoreFields(inference.EmbedRequest{}, "Caller", "RequestID")); diff != "" {
		t.Error(diff)
	}
	m.vectors = nil
	if _, err := inference.Embed(t.Context(), l, req); !errors.Is(err, inference.ErrUnsupported) {
		t.Errorf("a model without vectors: %v", err)
	}
}
