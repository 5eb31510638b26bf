package llama

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"hearth/inference"
	"hearth/internal/testkit"
)

func TestInitIsOnce(t *testing.T) {
	initBackends(t)
	if err := Init(t.TempDir(), nil); err != nil {
		t.Errorf("a second Init: %v", err)
	}
	var kinds []string
	for _, d := range Devices() {
		kinds = append(kinds, d.Kind)
		if d.Name == "" || d.Kind == "cpu" && d.TotalBytes <= 0 {
			t.Errorf("device %+v lacks something", d)
		}
	}
	if len(kinds) == 0 || kinds[len(kinds)-1] != "cpu" {
		t.Errorf("devices are %v, want a cpu last", kinds)
	}
}

func TestLoadRefuses(t *testing.T) {
	initBackends(t)
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, err := os.ReadFile(testkit.Model(t))
	if err != nil {
		t.Fatal(err)
	}
	model := testkit.Model(t)
	for _, c := range []struct {
		name, path string
		o          ModelOptions
		want       string
	}{
		{"missing", filepath.Join(dir, "none.gguf"), ModelOptions{}, "no such file"},
		{"no name", "", ModelOptions{}, "not a file name"},
		{"folder", dir, ModelOptions{}, "it is a folder"},
		{"short", write("short", "GGUF"), ModelOptions{}, "it has 4 bytes"},
		{"text", write("text", strings.Repeat("hello ", 10)), ModelOptions{}, `it begins with "hell"`},
		{"version", write("version", "GGUF\x09\x00\x00\x00"+strings.Repeat("\x00", 16)), ModelOptions{}, "version 9"},
		{"cut in the header", write("cut", string(whole[:4096])), ModelOptions{}, "load"},
		{"cut in the weights", write("half", string(whole[:len(whole)/2])), ModelOptions{}, "load"},
		{"layers", model, ModelOptions{GPULayers: -3}, "GPU layers must be"},
		{"split mode", model, ModelOptions{SplitMode: 9}, "split mode"},
		{"device", model, ModelOptions{Devices: []string{"CUDA7"}}, `no device "CUDA7" here; there is: `},
		{"split sum", model, ModelOptions{TensorSplit: []float32{0, 0}}, "at least one share"},
		{"split sign", model, ModelOptions{TensorSplit: []float32{1, -1}}, "share 1"},
		{"split size", model, ModelOptions{TensorSplit: make([]float32, 300)}, "at most 256 shares"},
		{"split and auto", model, ModelOptions{GPULayers: AutoLayers, TensorSplit: []float32{1}}, "exclude each other"},
		{"fit", model, ModelOptions{GPULayers: AutoLayers, Fit: &ContextOptions{Cells: -1}}, "cells must be"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Load(c.path, c.o, nil)
			if err == nil {
				must(t, m.Close())
				t.Fatal("it loaded")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
		})
	}
}

func TestLoadReportsProgressAndStops(t *testing.T) {
	initBackends(t)
	var last float32
	m, err := Load(testkit.Model(t), ModelOptions{}, func(p float32) bool {
		if p < last || p > 1 {
			t.Errorf("progress went from %g to %g", last, p)
		}
		last = p
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if last != 1 {
		t.Errorf("the last progress was %g, want 1", last)
	}
	must(t, m.Close())

	_, err = Load(testkit.Model(t), ModelOptions{}, func(float32) bool { return false })
	if !errors.Is(err, ErrCancelled) {
		t.Errorf("a cancelled load returned %v", err)
	}
}

func TestModelDescribesItself(t *testing.T) {
	m := sharedModel(t)
	if logged.Load() == 0 {
		t.Error("loading a model logged nothing")
	}
	info := m.Info()
	if info.Architecture != "llama" || info.Vocabulary != 49152 || info.TrainContext != 8192 || !info.ChatTemplate ||
		info.Params < 130e6 || info.FileBytes != 98362432 || info.GPULayers != 0 || m.Layers() != 30 || info.Quantization == "" {
		t.Errorf("info is %+v with %d layers", info, m.Layers())
	}
	if got, ok := m.Meta("general.architecture"); !ok || got != "llama" {
		t.Errorf("Meta gave %q, %v", got, ok)
	}
	for _, key := range []string{"no.such.key", "tokenizer.ggml.tokens", "zero\x00byte", ""} {
		if got, ok := m.Meta(key); ok && key != "tokenizer.ggml.tokens" {
			t.Errorf("Meta(%q) gave %q", key, got)
		}
	}
}

func TestHandlesCloseOnce(t *testing.T) {
	initBackends(t)
	before := LiveHandles()
	m, err := Load(testkit.Model(t), ModelOptions{Mmap: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.NewContext(ContextOptions{Cells: 256, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	spec := greedySpec()
	s, err := c.NewSampler(&spec)
	if err != nil {
		t.Fatal(err)
	}
	ts, err := m.Templates("")
	if err != nil {
		t.Fatal(err)
	}
	out, err := ts.Apply([]byte(`{"messages":[{"role":"user","content":"Hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := ts.NewParser(out, true)
	if err != nil {
		t.Fatal(err)
	}
	if live := LiveHandles(); live["model"] != before["model"]+1 || live["parser"] != before["parser"]+1 {
		t.Errorf("open handles are %v, before %v", live, before)
	}
	for _, h := range []struct {
		name  string
		inUse string
		close func() error
	}{
		{"sampler", "1 contexts, 1 samplers, 1 templates", s.Close},
		{"context", "1 contexts, 1 templates", c.Close},
		{"templates", "1 templates", ts.Close},
		{"parser", "", p.Close},
	} {
		if h.inUse != "" {
			if err := m.Close(); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), h.inUse) {
				t.Errorf("closing the model before the %s: %v", h.name, err)
			}
		}
		must(t, h.close())
		if err := h.close(); !errors.Is(err, ErrClosed) {
			t.Errorf("closing the %s twice: %v", h.name, err)
		}
	}
	must(t, m.Close())
	if err := m.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closing the model twice: %v", err)
	}

	var b inference.Batch
	b.Add(1, 0, 0, true)
	_, tokErr := m.Tokenize("x", inference.TokenizeOptions{})
	_, detErr := m.Detokenize([]int32{1})
	_, ctxErr := m.NewContext(ContextOptions{})
	_, smpErr := c.NewSampler(&spec)
	_, tplErr := m.Templates("")
	_, appErr := ts.Apply([]byte(`{"messages":[]}`))
	_, parErr := p.Parse("x", false)
	for name, err := range map[string]error{
		"Decode": c.Decode(&b), "Sample": c.Sample(nil, nil), "Tokenize": tokErr, "Detokenize": detErr,
		"NewContext": ctxErr, "NewSampler": smpErr, "Templates": tplErr, "Apply": appErr, "Parse": parErr,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s on a closed handle: %v", name, err)
		}
	}
	c.Abort()
	if c.SeqRemove(0, -1, -1) || c.SeqPosMax(0) != -1 {
		t.Error("a closed context still has sequences")
	}
	if after := LiveHandles(); !mapsEqual(after, before) {
		t.Errorf("handles before %v, after %v", before, after)
	}
}

func mapsEqual(a, b map[string]int64) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func TestFailuresLeakNothing(t *testing.T) {
	m := sharedModel(t)
	bare, err := Load(testkit.Model(t), ModelOptions{VocabOnly: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(t, bare.Close()) }()
	before := LiveHandles()
	for range 20 {
		if _, err := bare.NewContext(ContextOptions{Cells: 256, Threads: 1}); err == nil {
			t.Fatal("a context without weights")
		}
		spec := greedySpec()
		spec.Grammar = &inference.Grammar{GBNF: "root ::= ("}
		if _, err := m.newSampler(&spec, false); err == nil {
			t.Fatal("a broken grammar compiled")
		}
		if _, err := m.Templates("{% for %}"); err == nil {
			t.Fatal("a broken template was read")
		}
	}
	if after := LiveHandles(); !mapsEqual(after, before) {
		t.Errorf("handles before %v, after %v", before, after)
	}
}

func TestContextRefuses(t *testing.T) {
	m := sharedModel(t)
	for _, c := range []struct {
		o    ContextOptions
		want string
	}{
		{ContextOptions{Cells: -1}, "cells must be"},
		{ContextOptions{Sequences: 257}, "sequences must be between 0 (default) and 256"},
		{ContextOptions{Threads: 513}, "threads must be"},
		{ContextOptions{KVType: "q5_1"}, "cell type"},
		{ContextOptions{FlashAttention: "maybe"}, "flash attention must be"},
		{ContextOptions{KVType: "q8_0", FlashAttention: "off"}, "need flash attention"},
	} {
		if ctx, err := m.NewContext(c.o); err == nil {
			must(t, ctx.Close())
			t.Errorf("%+v was accepted", c.o)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %q does not say %q", c.o, err, c.want)
		}
	}
}

func TestCloseWaitsForTokenize(t *testing.T) {
	initBackends(t)
	m, err := Load(testkit.Model(t), ModelOptions{VocabOnly: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	started := make(chan struct{}, 8)
	for range 8 {
		wg.Go(func() {
			for first := true; ; first = false {
				_, err := m.Tokenize("The quick brown fox", inference.TokenizeOptions{})
				if first {
					started <- struct{}{}
				}
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	if _, err := m.NewContext(ContextOptions{}); err == nil || !strings.Contains(err.Error(), "without its weights") {
		t.Errorf("a context without weights: %v", err)
	}
	must(t, m.Close())
	wg.Wait()
}
