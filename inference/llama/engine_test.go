package llama_test

import (
	"hearth/inference/engine"
	"hearth/inference/llama"
)

// The engine's interfaces are declared by the engine; this holds them together.
var _ engine.Backend = (*llama.Context)(nil)
