package llama

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"hearth/inference"
	"hearth/internal/testkit"
)

// TestMain fails the package if a test left a handle open.
func TestMain(m *testing.M) {
	if endpoints := os.Getenv(rpcEnv); endpoints != "" {
		os.Exit(rpcChild(endpoints))
	}
	code := m.Run()
	if shared.m != nil {
		if err := shared.m.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL: the shared model cannot be closed:", err)
			code = 1
		}
	}
	if live := LiveHandles(); len(live) > 0 {
		fmt.Fprintln(os.Stderr, "FAIL: handles that were not closed:", live)
		code = 1
	}
	os.Exit(code)
}

// logged counts the messages of llama.cpp.
var logged atomic.Int64

func initBackends(t testing.TB) {
	t.Helper()
	err := Init(testkit.LibDir(t), func(level int, msg string) {
		if level < LogInfo || level > LogError || msg == "" {
			fmt.Fprintf(os.Stderr, "FAIL: logged %q at level %d\n", msg, level)
		}
		logged.Add(1)
	})
	if err != nil {
		t.Fatal(err)
	}
}

var shared struct {
	once sync.Once
	m    *Model
	err  error
}

// sharedModel returns the small model, loaded once for all tests.
func sharedModel(t testing.TB) *Model {
	t.Helper()
	initBackends(t)
	shared.once.Do(func() { shared.m, shared.err = Load(testkit.Model(t), ModelOptions{Mmap: true}, nil) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.m
}

// newContext returns a context that is closed with the test. It has one thread
// unless the test asks for more: threads of ggml spin while they wait for each
// other, which takes for ever on a machine that is busy with other tests.
func newContext(t testing.TB, m *Model, o ContextOptions) *Context {
	t.Helper()
	if o.Threads == 0 {
		o.Threads = 1
	}
	c, err := m.NewContext(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func newSampler(t testing.TB, m *Model, spec inference.SamplerSpec, reference bool) *Sampler {
	t.Helper()
	s, err := m.newSampler(&spec, reference)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func tokenize(t testing.TB, m *Model, text string) []int32 {
	t.Helper()
	tokens, err := m.Tokenize(text, inference.TokenizeOptions{AddSpecial: true, ParseSpecial: true})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// greedySpec takes the likeliest token.
func greedySpec() inference.SamplerSpec {
	return inference.SamplerSpec{Sampling: inference.Sampling{TopP: 1, RepeatPenalty: 1}}
}

// prompt decodes tokens as sequence seq from position pos on, in batches; the
// last one asks for a row, whose index is returned.
func prompt(t testing.TB, c *Context, seq, pos int32, tokens []int32) int {
	t.Helper()
	var b inference.Batch
	for len(tokens) > 0 {
		n := min(len(tokens), c.Traits().Batch)
		b.Reset()
		for i, tok := range tokens[:n] {
			b.Add(tok, pos, seq, i == n-1)
			pos++
		}
		if err := c.Decode(&b); err != nil {
			t.Fatal(err)
		}
		tokens = tokens[n:]
	}
	return b.Len() - 1
}

// greedyFrom adds tokens to seq, which holds those before position from, and returns
// the n likeliest that follow.
func greedyFrom(t testing.TB, m *Model, c *Context, seq, from int32, tokens []int32, n int) []int32 {
	t.Helper()
	spec := greedySpec()
	s, err := m.newSampler(&spec, false)
	must(t, err)
	defer func() { must(t, s.Close()) }()
	index := prompt(t, c, seq, from, tokens)
	return generate(t, c, s, seq, from+int32(len(tokens)), index, n)
}

// generate continues seq, which holds pos tokens and whose row is at index, by n
// tokens; it stops early at the end of generation.
func generate(t testing.TB, c *Context, s *Sampler, seq, pos int32, index, n int) []int32 {
	t.Helper()
	var got []int32
	var b inference.Batch
	out := make([]inference.Sampled, 1)
	for {
		if err := c.Sample([]inference.SampleRow{{Index: index, Sampler: s}}, out); err != nil {
			t.Fatal(err)
		}
		if out[0].Err != nil {
			t.Fatal(out[0].Err)
		}
		got = append(got, out[0].Token)
		if len(got) == n || c.EndOfGeneration(out[0].Token) {
			return got
		}
		b.Reset()
		b.Add(out[0].Token, pos, seq, true)
		pos++
		if err := c.Decode(&b); err != nil {
			t.Fatal(err)
		}
		index = 0
	}
}

// complete is a prompt and its greedy continuation by n tokens in sequence seq,
// which is empty before and after.
func complete(t testing.TB, c *Context, seq int32, tokens []int32, n int, spec inference.SamplerSpec) []int32 {
	t.Helper()
	s, err := c.m.newSampler(&spec, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(t, s.Close()) }()
	index := prompt(t, c, seq, 0, tokens)
	got := generate(t, c, s, seq, int32(len(tokens)), index, n)
	if !c.SeqRemove(seq, -1, -1) {
		t.Fatal("a whole sequence could not be removed")
	}
	return got
}

func text(m *Model, tokens []int32) string {
	var b strings.Builder
	for _, t := range tokens {
		b.Write(m.Piece(t, false))
	}
	return b.String()
}

func equalTokens(t testing.TB, m *Model, what string, got, want []int32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %v %q\nwant %v %q", what, got, text(m, got), want, text(m, want))
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
