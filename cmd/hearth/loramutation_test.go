package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"hearth/internal/testkit"
	"hearth/models"
)

// TestMutatedAdapters is TestMutatedModels for the adapters of a sound model.
func TestMutatedAdapters(t *testing.T) {
	total, seed := testkit.Number(t, mutationsEnv, 16), testkit.Number(t, mutationsSeedEnv, rand.Uint64())
	t.Logf("%s=%d %s=%d", mutationsEnv, total, mutationsSeedEnv, seed)
	t.Setenv("HEARTH_LIB_DIR", nativeLibraries(t))
	if err := initNative(zerolog.Nop(), nil); err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(testkit.TinyModels(t), "llama-dense.gguf")
	lora := testkit.LoRA{Architecture: "llama", Alpha: 4, Rank: 2, Strength: 0.2, Weights: []testkit.LoRAWeight{
		{Name: "blk.0.attn_q.weight", In: 256, Out: 256}, {Name: "blk.1.ffn_down.weight", In: 384, Out: 256}, {Name: "blk.1.attn_output.weight", In: 256, Out: 256},
	}}
	whole := lora.GGUF()
	b := base{"adapter", whole, int64(len(whole))}
	path := filepath.Join(t.TempDir(), "mutated.gguf")
	verdicts := map[string]int{}
	for i := range total {
		rng := rand.New(rand.NewPCG(seed, i))
		what, err := b.mutate(rng, path)
		if err != nil {
			t.Fatal(err)
		}
		verdict, err := judgeAdapter(t, model, path)
		verdicts[verdict]++
		if err == nil {
			continue
		}
		text := err.Error()
		if rest := strings.ReplaceAll(text, path, ""); !strings.Contains(text, path) || len(rest) < 30 || strings.Contains(text, "unknown failure") {
			t.Errorf("mutation %d (%s): the refusal does not say what is wrong: %s", i, what, text)
		}
		if verdict != "refused by the reader" {
			t.Logf("mutation %d (%s) %s: %s", i, what, verdict, text)
		}
	}
	t.Logf("verdicts: %v", verdicts)
}

// judgeAdapter does what a server does with an adapter, and names who refused it.
func judgeAdapter(t *testing.T, model, path string) (string, error) {
	h, err := models.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	m := &ModelConfig{Path: model, Lora: []AdapterConfig{{Name: "mutated", Path: path}}}
	if _, err := m.checkAdapterFiles(h); err != nil {
		return "refused by the reader", err
	}
	req := &trialRequest{Path: model, Adapter: path, Placement: defaultPlacement(), Memory: trialMemory}
	if err := runTrial(t.Context(), "/proc/self/exe", req, time.Minute, func(float32) {}); err != nil {
		return "refused by the trial", err
	}
	cfg := defaultConfig()
	cfg.Engine.Trial.Off, cfg.Engine.Threads, cfg.Engine.Context, cfg.Engine.Sequences = true, 1, 512, 1
	cfg.Engine.Reserve = 32
	loaded, err := (&loader{cfg: &cfg, log: zerolog.Nop()}).load(t.Context(), m, func(float32) {})
	if err != nil {
		return "passed, then refused", fmt.Errorf("%s: %w", path, err)
	}
	return "passed and loaded", loaded.Close()
}
