package llama_test

import (
	"testing"

	"hearth/inference/engine"
	"hearth/inference/llama"
	"hearth/internal/testkit"
)

func initBackends(t testing.TB) {
	t.Helper()
	if err := llama.Init(testkit.LibDir(t), func(int, string) {}); err != nil {
		t.Fatal(err)
	}
}

// The engine's interfaces are declared by the engine; this holds them together.
var _ engine.Backend = (*llama.Context)(nil)
