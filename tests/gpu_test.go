//go:build gpu

// The smoke tests of make test-gpu, for a host with an NVIDIA GPU, its driver,
// and build/out/lib as make cuda leaves it.

package tests

import (
	"os/exec"
	"path/filepath"
	"testing"

	"hearth/inference/llama"
	"hearth/internal/testkit"
)

// TestGPUHoldsTheModel loads all layers and sees the GPU's free memory fall.
func TestGPUHoldsTheModel(t *testing.T) {
	if err := llama.Init(testkit.LibDir(t), nil); err != nil {
		t.Fatal(err)
	}
	free := func() (total int64) {
		for _, d := range llama.Devices() {
			if d.Kind == "gpu" {
				total += d.FreeBytes
			}
		}
		return total
	}
	before := free()
	if before == 0 {
		t.Fatalf("no GPU among the devices %v: run make cuda, and see that nvidia-smi shows a GPU", llama.Devices())
	}
	model, err := llama.Load(testkit.Model(t), llama.ModelOptions{GPULayers: llama.AllLayers, Mmap: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const least = 50 << 20 // of the model's 92 MiB; the rest may stay on the host
	if after := free(); before-after < least {
		t.Errorf("the free memory fell by %d bytes only, from %d to %d", before-after, before, after)
	}
	if err := model.Close(); err != nil {
		t.Error(err)
	}
}

// TestGPUGivesTheCPUsText generates with no, some and all layers on the GPU. The
// texts are short: later on, the rounding of another device may decide between
// two tokens of the same likelihood.
func TestGPUGivesTheCPUsText(t *testing.T) {
	hearth := filepath.Join(testkit.Root(t), "build", "out", "bin", "hearth")
	generate := func(layers string) string {
		t.Helper()
		cmd := exec.Command(hearth, "generate", "--model", testkit.Model(t), "--gpu-layers", layers,
			"--temperature", "0", "--max-tokens", "16", "The capital of France is")
		text, err := cmd.Output()
		if err != nil {
			t.Fatalf("hearth generate --gpu-layers %s: %v", layers, err)
		}
		return string(text)
	}
	want := generate("0")
	for _, layers := range []string{"10", "all", "auto"} {
		if got := generate(layers); got != want {
			t.Errorf("with --gpu-layers %s the model says %q, on the CPU %q", layers, got, want)
		}
	}
}
