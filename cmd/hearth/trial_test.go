package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"hearth/internal/testkit"
	"hearth/models"
)

// vocabulary returns a file of llama.cpp's source that has a vocabulary and no
// weights.
func vocabulary(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(filepath.Dir(testkit.Templates(t)), "ggml-vocab-"+name+".gguf"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// withPair puts a metadata pair in front of those that a GGUF file has.
func withPair(gguf []byte, key string, value uint32) []byte {
	const head = 24 // magic, version, tensors, pairs
	le := binary.LittleEndian
	b := bytes.Clone(gguf[:head])
	le.PutUint64(b[16:], le.Uint64(b[16:])+1)
	b = append(le.AppendUint64(b, uint64(len(key))), key...)
	b = le.AppendUint32(le.AppendUint32(b, uint32(models.KindUint32)), value)
	return append(b, gguf[head:]...)
}

// crashing is a file that our own reader takes and llama.cpp asserts about.
func crashing(t testing.TB) []byte {
	return withPair(vocabulary(t, "llama-spm"), "llama.expert_used_count", 5)
}

func writeModel(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tryFile is the trial of one file.
func tryFile(t *testing.T, path string, memory int64) error {
	t.Helper()
	t.Setenv("HEARTH_LIB_DIR", nativeLibraries(t))
	req := &trialRequest{Path: path, Placement: defaultPlacement(), Memory: memory}
	return runTrial(t.Context(), "/proc/self/exe", req, time.Minute, func(float32) {})
}

func TestTrialPasses(t *testing.T) {
	if err := tryFile(t, testkit.Model(t), trialMemory); err != nil {
		t.Fatal(err)
	}
}

func TestTrialRefuses(t *testing.T) {
	vocab := vocabulary(t, "llama-spm")
	for _, c := range []struct {
		name   string
		file   []byte
		memory int64
		say    []string
	}{
		{"an assertion", crashing(t), trialMemory, []string{"ended the process that tried it", "SIGABRT", "GGML_ASSERT", "download or convert it again"}},
		{"no weights", vocab, trialMemory, []string{"load ", "model.gguf"}},
		{"an unknown architecture", bytes.Replace(vocab, []byte("\x05\x00\x00\x00\x00\x00\x00\x00llama"), []byte("\x05\x00\x00\x00\x00\x00\x00\x00lhama"), 1), trialMemory, []string{"unknown model architecture", "lhama"}},
		{"too little memory", vocab, 1 << 20, []string{"engine.trial.memory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := tryFile(t, writeModel(t, c.file), c.memory)
			if err == nil {
				t.Fatal("it passed")
			}
			for _, say := range c.say {
				if !strings.Contains(err.Error(), say) {
					t.Errorf("it does not say %q: %v", say, err)
				}
			}
		})
	}
}

// program writes a script that stands for the child.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "child")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTrialEnds(t *testing.T) {
	t.Setenv("HEARTH_LIB_DIR", nativeLibraries(t))
	t.Setenv("SECRET", "of the parent")
	for _, c := range []struct{ name, script, say string }{
		{"a stall", "echo reading >&2; exec sleep 3600", "no further for 1s (engine.trial.stall)"},
		{"a signal", "kill -SEGV $$", "segmentation fault"},
		{"an exit without a word", "exit 7", "exit status 7"},
		{"no verdict", "exit 0", "ended the process"},
		{"rubbish", "head -c 3000000 /dev/zero; exit 1", "exit status 1"},
		{"the environment", `echo "{\"refused\":\"secret=$SECRET home=$HOME lib=${HEARTH_LIB_DIR:+set}\"}"; exit 4`, "secret= home= lib=set"},
		{"standard input", `read x; echo "{\"refused\":\"read '$x'\"}"; exit 4`, "read ''"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := runTrial(t.Context(), program(t, c.script), &trialRequest{Path: "x.gguf"}, time.Second, func(float32) {})
			if err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("got %v, want an error that says %q", err, c.say)
			}
		})
	}
	t.Run("the caller gives up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		child := program(t, `echo '{"progress":0.5}'; exec sleep 3600`)
		err := runTrial(ctx, child, &trialRequest{Path: "x.gguf"}, time.Hour, func(float32) { cancel() })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// TestTrialOnce: a file that passed is tried again only when something of it, of
// the libraries or of how it is loaded changes.
func TestTrialOnce(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HEARTH_LIB_DIR", nativeLibraries(t))
	c, err := openTrialCache()
	if err != nil {
		t.Fatal(err)
	}
	path := writeModel(t, []byte("one"))
	read := 0
	look := func(change func(*trialRequest)) (string, bool) {
		t.Helper()
		req := &trialRequest{Path: path, Placement: defaultPlacement()}
		change(req)
		read = 0
		key, passed, err := c.lookup(t.Context(), []string{path}, req, func(float32) { read++ })
		if err != nil {
			t.Fatal(err)
		}
		return key, passed
	}
	same := func(*trialRequest) {}
	key, passed := look(same)
	if passed || read == 0 {
		t.Fatalf("a new file: passed %v, read %d times", passed, read)
	}
	if err := c.remember(key); err != nil {
		t.Fatal(err)
	}
	if again, passed := look(same); !passed || again != key || read != 0 {
		t.Errorf("a known file: passed %v, key %s, want %s, read %d times", passed, again, key, read)
	}
	if _, passed := look(func(r *trialRequest) { r.Placement.KVType = "q8_0" }); passed {
		t.Error("other cells count as tried")
	}
	if _, passed := look(func(r *trialRequest) { r.ChatTemplate = writeModel(t, []byte("{{ x }}")) }); passed {
		t.Error("another template counts as tried")
	}
	if err := os.WriteFile(path, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, passed := look(same); passed || read == 0 {
		t.Errorf("other content: passed %v, read %d times", passed, read)
	}
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, passed := look(same); !passed || again != key {
		t.Errorf("the content that passed: passed %v, key %s, want %s", passed, again, key)
	}
	if err := (*trialCache)(nil).remember("x"); err != nil {
		t.Error(err)
	}
}

// TestLoaderTries: the loader asks for the trial, and none is made where that is off.
func TestLoaderTries(t *testing.T) {
	m := &ModelConfig{Path: writeModel(t, crashing(t))}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HEARTH_LIB_DIR", nativeLibraries(t))
	cfg := defaultConfig()
	l := &loader{cfg: &cfg, log: zerolog.Nop()}
	_, err := l.load(t.Context(), m, func(float32) {})
	if err == nil || !strings.Contains(err.Error(), "GGML_ASSERT") {
		t.Fatalf("got %v", err)
	}
	cfg.Engine.Trial.Off = true
	h, err := models.Open(m.Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.try(t.Context(), m, h, func(float32) {}); err != nil {
		t.Errorf("switched off, and still %v", err)
	}
}
