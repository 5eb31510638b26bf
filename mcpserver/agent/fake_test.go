package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"hearth/inference"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeModel answers each request with the next of its answers, and with "enough"
// when there are no more. A token is a byte.
type fakeModel struct {
	context int

	mu       sync.Mutex
	answers  [][]inference.Event
	requests []*inference.ChatRequest
	released int
	closed   int
}

func (m *fakeModel) List() []inference.ModelStatus {
	return []inference.ModelStatus{{Info: m.Info(), State: inference.ModelReady}}
}

func (m *fakeModel) Acquire(context.Context, string) (inference.Lease, error) { return m, nil }

func (m *fakeModel) Release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.released++
}

func (m *fakeModel) Info() inference.ModelInfo {
	return inference.ModelInfo{ID: "fake", Context: m.context}
}

func (m *fakeModel) Complete(context.Context, *inference.CompletionRequest) (inference.Stream, error) {
	return nil, inference.ErrUnsupported
}

func (m *fakeModel) Tokenize(text string, _ inference.TokenizeOptions) ([]int32, error) {
	out := make([]int32, len(text))
	for i := range len(text) {
		out[i] = int32(text[i])
	}
	return out, nil
}

func (m *fakeModel) Detokenize(tokens []int32) (string, error) {
	out := make([]byte, len(tokens))
	for i, t := range tokens {
		out[i] = byte(t)
	}
	return string(out), nil
}

func (m *fakeModel) CountChat(r *inference.ChatRequest) (int, error) {
	n := 0
	for _, msg := range r.Messages {
		n += len(msg.Content)
	}
	for _, t := range r.Tools {
		n += len(t.Name) + len(t.Description) + len(t.Parameters)
	}
	return n, nil
}

func (m *fakeModel) Chat(_ context.Context, r *inference.ChatRequest) (inference.Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := *r
	q.Messages = slices.Clone(r.Messages)
	m.requests = append(m.requests, &q)
	events := says("enough", inference.FinishStop)
	if len(m.answers) > 0 {
		events, m.answers = m.answers[0], m.answers[1:]
	}
	return &fakeStream{m: m, events: events}, nil
}

type fakeStream struct {
	m      *fakeModel
	events []inference.Event
	once   sync.Once
}

func (s *fakeStream) Next(ctx context.Context) (inference.Event, error) {
	if len(s.events) == 0 {
		return inference.Event{}, io.EOF
	}
	ev := s.events[0]
	s.events = s.events[1:]
	if ev.Kind == waitForever {
		<-ctx.Done()
		return inference.Event{}, ctx.Err()
	}
	return ev, nil
}

func (s *fakeStream) Close() error {
	s.once.Do(func() {
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		s.m.closed++
	})
	return nil
}

// waitForever is an event after which nothing comes.
const waitForever inference.EventKind = -1

func says(text string, finish inference.FinishReason, calls ...inference.ToolCallDelta) []inference.Event {
	var out []inference.Event
	if text != "" {
		out = append(out, inference.Event{Kind: inference.EventDelta, Content: text})
	}
	for i := range calls {
		out = append(out, inference.Event{Kind: inference.EventDelta, ToolCall: &calls[i]})
	}
	return append(out, inference.Event{Kind: inference.EventFinish, Finish: finish},
		inference.Event{Kind: inference.EventUsage, Usage: inference.Usage{PromptTokens: 10, CompletionTokens: 4, CachedTokens: 6}})
}

// calls is an answer that calls, each argument text in two pieces.
func calls(of ...string) []inference.Event {
	var pieces []inference.ToolCallDelta
	for i := 0; i < len(of); i += 2 {
		half := len(of[i+1]) / 2
		pieces = append(pieces, inference.ToolCallDelta{Index: i / 2, ID: fmt.Sprintf("c%d", i/2), Name: of[i], Arguments: of[i+1][:half]},
			inference.ToolCallDelta{Index: i / 2, Arguments: of[i+1][half:]})
	}
	return says("", inference.FinishToolCalls, pieces...)
}

// fakeTools has db__query (reads), db__drop (writes, asks) and web__fetch
// (untrusted).
type fakeTools struct {
	more []Tool
	text string        // of each result; "": the arguments
	hold chan struct{} // not nil: calls wait for it, or for their context

	mu   sync.Mutex
	made []Call
}

func (f *fakeTools) List(context.Context, inference.Caller) []Tool {
	in := json.RawMessage(`{"type":"object"}`)
	return append([]Tool{
		{Label: "db", Name: "query", Full: "db__query", Description: "Ask the database.", Input: in, ReadOnly: true},
		{Label: "db", Name: "drop", Full: "db__drop", Description: "Drop a table.", Input: in},
		{Label: "web", Name: "fetch", Full: "web__fetch", Description: "Fetch a page.", Input: in, ReadOnly: true},
	}, f.more...)
}

func (f *fakeTools) Call(ctx context.Context, c *Call) (Outcome, error) {
	f.mu.Lock()
	f.made = append(f.made, *c)
	f.mu.Unlock()
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return Outcome{}, ctx.Err()
		}
	}
	c.Progress("half")
	if (c.Ask || c.Tool == "db__drop") && c.Approval == "" {
		return Outcome{Text: "needs an approval", IsError: true, Approval: "ap-1"}, nil
	}
	text := f.text
	if text == "" {
		text = string(c.Arguments)
	}
	return Outcome{Text: text, Untrusted: strings.HasPrefix(c.Tool, "web")}, nil
}

type world struct {
	model *fakeModel
	tools *fakeTools
	agent *Agent
}

func newWorld(t *testing.T, change func(*Config), answers ...[]inference.Event) *world {
	t.Helper()
	w := &world{model: &fakeModel{context: 4096, answers: answers}, tools: &fakeTools{}}
	c := DefaultConfig()
	if change != nil {
		change(&c)
	}
	var err error
	if w.agent, err = New(w.model, w.tools, c, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	return w
}

func ask(hosted ...inference.HostedTools) *inference.ChatRequest {
	if hosted == nil {
		hosted = []inference.HostedTools{{Label: inference.AllLabels}}
	}
	return &inference.ChatRequest{
		Options:  inference.Options{N: 1, Caller: inference.DefaultCaller, RequestID: "r1"},
		Messages: []inference.Message{{Role: inference.RoleUser, Content: "hello"}}, Hosted: hosted,
	}
}

// run reads the whole answer.
func (w *world) run(t *testing.T, r *inference.ChatRequest) ([]inference.Event, error) {
	t.Helper()
	l, err := w.agent.Acquire(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	s, err := l.Chat(t.Context(), r)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var all []inference.Event
	for {
		ev, err := s.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, ev)
	}
}

// tell writes events as lines.
func tell(events []inference.Event) string {
	var b strings.Builder
	for _, ev := range events {
		switch ev.Kind {
		case inference.EventTools:
			fmt.Fprintf(&b, "tools %s %d\n", ev.Tools.Label, len(ev.Tools.Tools))
		case inference.EventDelta:
			if ev.ToolCall != nil {
				fmt.Fprintf(&b, "client %d %s %s %s\n", ev.ToolCall.Index, ev.ToolCall.ID, ev.ToolCall.Name, ev.ToolCall.Arguments)
			} else {
				fmt.Fprintf(&b, "text %q\n", ev.Content)
			}
		case inference.EventHosted:
			h := ev.Hosted
			fmt.Fprintf(&b, "%s %s %s.%s %s\n", h.Stage, h.ID, h.Label, h.Name, strings.TrimSpace(h.Arguments+" "+h.Output+h.Message+h.Approval))
		case inference.EventRound:
			fmt.Fprintf(&b, "round\n")
		case inference.EventFinish:
			fmt.Fprintf(&b, "finish %s\n", ev.Finish)
		case inference.EventUsage:
			fmt.Fprintf(&b, "usage %d %d %d\n", ev.Usage.PromptTokens, ev.Usage.CachedTokens, ev.Usage.CompletionTokens)
		}
	}
	return b.String()
}

func check(t *testing.T, events []inference.Event, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), tell(events)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
