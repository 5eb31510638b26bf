package router

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"hearth/inference"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var anything = json.RawMessage(`{"type":"object"}`)

// fakeConnector offers tools and runs them by a function.
type fakeConnector struct {
	mu     sync.Mutex
	tools  []Tool
	change func(Change)
	run    func(ctx context.Context, c *Call) (*Result, error)
	calls  []Call
	closed int
}

func (f *fakeConnector) Tools() []Tool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tools
}

func (f *fakeConnector) OnChange(tell func(Change)) { f.change = tell }

func (f *fakeConnector) Run(ctx context.Context, c *Call) (*Result, error) {
	f.mu.Lock()
	f.calls = append(f.calls, *c)
	f.mu.Unlock()
	if f.run == nil {
		return Text(string(c.Arguments)), nil
	}
	return f.run(ctx, c)
}

func (f *fakeConnector) Close(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

func (f *fakeConnector) made() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

// offers returns a connector with these tools, which only read where their names
// begin with "get".
func offers(names ...string) *fakeConnector {
	f := &fakeConnector{}
	for _, n := range names {
		f.tools = append(f.tools, Tool{Name: n, Description: n, Input: anything, Effects: Effects{Writes: !strings.HasPrefix(n, "get")}})
	}
	return f
}

// fakeJournal notes records.
type fakeJournal struct {
	mu       sync.Mutex
	intents  []Record
	outcomes []Record
	err      error // of Intent
}

func (j *fakeJournal) Intent(_ context.Context, r *Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.intents = append(j.intents, *r)
	return j.err
}

func (j *fakeJournal) Outcome(r *Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outcomes = append(j.outcomes, *r)
}

// outcomeOf returns how the last call ended, as it was recorded.
func (j *fakeJournal) outcomeOf(t *testing.T) Record {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.outcomes) == 0 {
		t.Fatal("no call was recorded")
	}
	return j.outcomes[len(j.outcomes)-1]
}

// fakeModels is a model whose tokens are words with the space before them.
type fakeModels struct {
	inference.Lease
	leases int
}

func (m *fakeModels) List() []inference.ModelStatus { return nil }

func (m *fakeModels) Acquire(_ context.Context, id string) (inference.Lease, error) {
	if id == "missing" {
		return nil, inference.ErrModelNotFound
	}
	m.leases++
	return m, nil
}

func (m *fakeModels) Release() { m.leases-- }

var vocabulary struct {
	mu    sync.Mutex
	ids   map[string]int32
	words []string
}

func (m *fakeModels) Tokenize(text string, _ inference.TokenizeOptions) ([]int32, error) {
	vocabulary.mu.Lock()
	defer vocabulary.mu.Unlock()
	if vocabulary.ids == nil {
		vocabulary.ids = map[string]int32{}
	}
	var out []int32
	for word := range strings.SplitAfterSeq(text, " ") {
		id, ok := vocabulary.ids[word]
		if !ok {
			id = int32(len(vocabulary.words))
			vocabulary.words = append(vocabulary.words, word)
			vocabulary.ids[word] = id
		}
		if word != "" {
			out = append(out, id)
		}
	}
	return out, nil
}

func (m *fakeModels) Detokenize(tokens []int32) (string, error) {
	vocabulary.mu.Lock()
	defer vocabulary.mu.Unlock()
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString(vocabulary.words[t])
	}
	return b.String(), nil
}

type world struct {
	*Router
	journal *fakeJournal
	models  *fakeModels
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	c := DefaultConfig()
	if change != nil {
		change(&c)
	}
	w := &world{journal: &fakeJournal{}, models: &fakeModels{}}
	var err error
	if w.Router, err = New(c, Deps{Log: zerolog.Nop(), Journal: w.journal, Models: w.models}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
		if w.models.leases != 0 {
			t.Errorf("%d leases were not given back", w.models.leases)
		}
	})
	return w
}

func (w *world) add(t *testing.T, label string, c Connector, o Options) {
	t.Helper()
	if err := w.Add(label, c, o); err != nil {
		t.Fatal(err)
	}
}

// call calls a tool as the default caller.
func (w *world) call(ctx context.Context, tool, arguments string) (*Result, error) {
	return w.Call(ctx, &Request{ID: "r", Caller: inference.DefaultCaller, Via: "test", Tool: tool, Arguments: json.RawMessage(arguments)})
}
