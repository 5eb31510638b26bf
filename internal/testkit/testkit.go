package testkit

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// ModelFile is the file name of the small default model.
const ModelFile = "SmolLM2-135M-Instruct.Q4_1.gguf"

const remedy = "run make build first"

// Root returns the folder of the checkout, where go.mod is.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("find the checkout: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("find the checkout: no go.mod above the working folder")
		}
		dir = parent
	}
}

// CacheDir returns the cache outside the checkout: $XDG_CACHE_HOME/hearth, or
// .cache/hearth in the home folder.
func CacheDir(t testing.TB) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("find the cache: %v", err)
	}
	return filepath.Join(dir, "hearth")
}

// Model returns the path of the small default model: $HEARTH_TEST_MODEL, or the
// file that make build leaves in the cache.
func Model(t testing.TB) string {
	t.Helper()
	path := os.Getenv("HEARTH_TEST_MODEL")
	if path == "" {
		path = filepath.Join(CacheDir(t), "models", ModelFile)
	}
	return existing(t, "the test model", path)
}

// WindowModel returns the path of a real model whose layers see a sliding window
// of 512 tokens: $HEARTH_TEST_WINDOW_MODEL, or the file in the cache.
func WindowModel(t testing.TB) string {
	t.Helper()
	path := os.Getenv("HEARTH_TEST_WINDOW_MODEL")
	if path == "" {
		path = filepath.Join(CacheDir(t), "models", "gemma-3-270m.Q4_K_M.gguf")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the test model with a sliding window is not at %s: run make window-model first", path)
	}
	return path
}

// ToolModel returns the path of a real model that calls tools by itself:
// $HEARTH_TEST_TOOL_MODEL, or the file in the cache.
func ToolModel(t testing.TB) string {
	t.Helper()
	path := os.Getenv("HEARTH_TEST_TOOL_MODEL")
	if path == "" {
		path = filepath.Join(CacheDir(t), "models", "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the test model that calls tools is not at %s: run make tool-model first", path)
	}
	return path
}

// RankModel returns the path of a model that scores documents, by a head of
// pseudo-random numbers.
func RankModel(t testing.TB) string {
	t.Helper()
	path := filepath.Join(CacheDir(t), "models", "random-rank.F16.gguf")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the test model that scores documents is not at %s: run make rank-model first", path)
	}
	return path
}

// EmbeddingModel returns the path of a real model that makes embeddings.
func EmbeddingModel(t testing.TB) string {
	t.Helper()
	path := filepath.Join(CacheDir(t), "models", "all-MiniLM-L6-v2.F16.gguf")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the test model that makes embeddings is not at %s: run make embedding-model first", path)
	}
	return path
}

// LibDir returns the folder of the native libraries: $HEARTH_LIB_DIR, or
// build/out/lib.
func LibDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("HEARTH_LIB_DIR"); dir != "" {
		return existing(t, "the native libraries", dir)
	}
	return filepath.Dir(existing(t, "the native library", filepath.Join(Root(t), "build", "out", "lib", "libhearth-shim.so")))
}

// Yardstick returns the path of a program built from the same llama.cpp source
// (llama-server, ggml-rpc-server): in $HEARTH_YARDSTICKS, or in
// build/out/yardsticks.
func Yardstick(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("HEARTH_YARDSTICKS")
	if dir == "" {
		dir = filepath.Join(Root(t), "build", "out", "yardsticks")
	}
	return existing(t, name, filepath.Join(dir, name))
}

// TinyModels returns the folder of the tiny random models of llama.cpp's
// architectures, one GGUF file each, beside the yardsticks.
func TinyModels(t testing.TB) string {
	t.Helper()
	return Yardstick(t, "tinymodels")
}

// Templates returns the folder of llama.cpp's collection of real chat templates:
// $HEARTH_TEST_TEMPLATES, or where the build unpacked the source in the cache.
func Templates(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("HEARTH_TEST_TEMPLATES"); dir != "" {
		return existing(t, "the chat templates", dir)
	}
	pattern := filepath.Join(CacheDir(t), "src", "llama.cpp-*", "models", "templates")
	if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
		return found[len(found)-1]
	}
	t.Fatalf("the chat templates are not at %s: %s", pattern, remedy)
	return ""
}

func existing(t testing.TB, what, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is not at %s: %s", what, path, remedy)
	}
	return path
}

// Number returns the number that an environment variable holds, otherwise where
// it is not set: how many of something a long run makes, or the seed of one.
func Number(tb testing.TB, name string, otherwise uint64) uint64 {
	tb.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return n
}
