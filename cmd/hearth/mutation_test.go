package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"hearth/internal/testkit"
	"hearth/models"
)

// mutationsEnv is how many mutated files are tried; mutationsSeedEnv repeats a run.
const (
	mutationsEnv     = "HEARTH_MUTATIONS"
	mutationsSeedEnv = "HEARTH_MUTATIONS_SEED"
)

// base is a file to mutate: its beginning, and how long it is with what follows.
type base struct {
	name   string
	head   []byte
	length int64
}

func bases(t *testing.T) []base {
	t.Helper()
	var all []base
	for _, name := range []string{"llama-spm", "bert-bge", "gpt-2", "phi-3", "falcon", "starcoder", "baichuan"} {
		b := vocabulary(t, name)
		all = append(all, base{name, b, int64(len(b))})
	}
	h, err := models.Open(testkit.Model(t))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(testkit.Model(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, h.DataOffset)
	if _, err := f.Read(head); err != nil {
		t.Fatal(err)
	}
	return append(all, base{"whole model", head, h.FileBytes})
}

// TestMutatedModels tries files in which bits are flipped, numbers replaced and
// pieces cut, and loads those that pass. This process stands for the server: it
// lives, and each refusal says what is wrong.
func TestMutatedModels(t *testing.T) {
	const together = 2
	total, seed := testkit.Number(t, mutationsEnv, 40), testkit.Number(t, mutationsSeedEnv, rand.Uint64())
	t.Logf("%s=%d %s=%d", mutationsEnv, total, mutationsSeedEnv, seed)
	t.Setenv("HEARTH_LIB_DIR", nativeLibraries(t))
	if err := initNative(zerolog.Nop(), nil); err != nil {
		t.Fatal(err)
	}
	from := bases(t)
	var mu sync.Mutex
	verdicts, said := map[string]int{}, map[string]int{}
	var wg sync.WaitGroup
	next := make(chan uint64)
	for range together {
		path := filepath.Join(t.TempDir(), "mutated.gguf")
		wg.Go(func() {
			for i := range next {
				rng := rand.New(rand.NewPCG(seed, i))
				b := from[rng.IntN(len(from))]
				what, err := b.mutate(rng, path)
				if err != nil {
					t.Error(err)
					return
				}
				verdict, err := judge(t, path)
				text := ""
				if err != nil {
					text = err.Error()
					if rest := strings.ReplaceAll(text, path, ""); !strings.Contains(text, path) || len(rest) < 30 || strings.Contains(text, "unknown failure") {
						t.Errorf("mutation %d of %s (%s): the refusal does not say what is wrong: %s", i, b.name, what, text)
					}
				}
				mu.Lock()
				verdicts[verdict]++
				if verdict == "crashed the trial" {
					said[strings.ReplaceAll(text, path, "FILE")]++
				}
				mu.Unlock()
			}
		})
	}
	for i := range total {
		next <- i
	}
	close(next)
	wg.Wait()
	t.Logf("verdicts: %v", verdicts)
	for text := range maps.Keys(said) {
		t.Logf("%d × %s", said[text], text)
	}
}

// judge does what a server does with a file, and names who refused it.
func judge(t *testing.T, path string) (string, error) {
	if _, err := models.Open(path); err != nil {
		return "refused by the reader", err
	}
	req := &trialRequest{Path: path, Placement: defaultPlacement(), Memory: trialMemory}
	err := runTrial(t.Context(), "/proc/self/exe", req, time.Minute, func(float32) {})
	if err != nil {
		if strings.Contains(err.Error(), "ended the process") {
			return "crashed the trial", err
		}
		return "refused by the trial", err
	}
	cfg := defaultConfig()
	cfg.Engine.Trial.Off, cfg.Engine.Threads, cfg.Engine.Context, cfg.Engine.Sequences = true, 1, 512, 1
	cfg.Engine.Reserve = 32
	loaded, err := (&loader{cfg: &cfg, log: zerolog.Nop()}).load(t.Context(), &ModelConfig{Path: path}, func(float32) {})
	if err != nil {
		return "passed, then refused", fmt.Errorf("%s: %w", path, err)
	}
	return "passed and loaded", loaded.Close()
}

// mutate writes a mutated file and says what was done.
func (b *base) mutate(rng *rand.Rand, path string) (string, error) {
	data := bytes.Clone(b.head)
	length := b.length
	// Most of a vocabulary is tokens; what steers the loading stands before them.
	at := func() int {
		if rng.IntN(2) == 0 {
			return rng.IntN(min(len(data), 4096))
		}
		return rng.IntN(len(data))
	}
	var what string
	switch rng.IntN(6) {
	case 0, 1:
		for range 1 + rng.IntN(3) {
			i := at()
			data[i] ^= 1 << rng.IntN(8)
			what += fmt.Sprintf("bit of byte %d ", i)
		}
	case 2:
		i := min(at(), len(data)-8)
		n := []uint64{0, 1, math.MaxUint32, math.MaxInt32, math.MaxUint64, math.MaxInt64, rng.Uint64(), 1 << 20}[rng.IntN(8)]
		if rng.IntN(2) == 0 {
			binary.LittleEndian.PutUint32(data[i:], uint32(n))
		} else {
			binary.LittleEndian.PutUint64(data[i:], n)
		}
		what = fmt.Sprintf("%d at byte %d", n, i)
	case 3, 4: // the value, or the kind, behind a key
		keys := []string{
			".context_length", ".embedding_length", ".block_count", ".feed_forward_length", ".head_count", ".head_count_kv",
			".dimension_count", "epsilon", "rms_epsilon", "token_id", "ggml.model", "ggml.pre", "ggml.tokens", "ggml.scores", "ggml.token_type", "ggml.merges", "add_bos_token", "architecture",
		}
		key := keys[rng.IntN(len(keys))]
		i := bytes.Index(data, []byte(key))
		if i < 0 || i+len(key)+16 > len(data) {
			i = 24
		}
		j := i + len(key) + rng.IntN(16)
		data[j] = byte(rng.IntN(256))
		what = fmt.Sprintf("byte %d behind %s", j-i-len(key), key)
	case 5:
		length = rng.Int64N(length)
		what = fmt.Sprintf("cut at byte %d", length)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return what, err
	}
	return what, os.Truncate(path, length) // the rest is a hole
}
