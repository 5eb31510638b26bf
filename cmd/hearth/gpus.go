package main

import (
	"fmt"
	"strings"

	"hearth/inference/llama"
)

// describeGPUs says in one line what models are computed on.
func describeGPUs() string {
	var gpus []string
	for _, d := range llama.Devices() {
		if d.Kind == "gpu" || d.Kind == "igpu" {
			gpus = append(gpus, fmt.Sprintf("%s (%s, %.1f of %.1f GiB free)", d.Name, d.Description, gib(d.FreeBytes), gib(d.TotalBytes)))
		}
	}
	if len(gpus) == 0 {
		return "no GPU is usable; the CPU computes"
	}
	return "GPUs: " + strings.Join(gpus, ", ")
}

func gib(bytes int64) float64 { return float64(bytes) / (1 << 30) }
