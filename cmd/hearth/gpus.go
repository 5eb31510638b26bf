package main

import (
	"fmt"
	"strings"

	"hearth/cuda"
	"hearth/inference/llama"
)

// describeDevices says in one line what models will be computed on, and why.
func describeDevices(p *Placement) string {
	r := cuda.Detect()
	r.Usable, r.Others = offloadDevices(llama.Devices())
	if r.Threads = p.Threads; r.Threads == 0 {
		r.Threads = defaultThreads()
	}
	return r.Line()
}

// offloadDevices counts the GPUs that the CUDA backend offers, and describes the
// devices that other backends do: those of RPC servers are of the kind GPU too,
// whatever computes there.
func offloadDevices(all []llama.Device) (cudaGPUs int, others []string) {
	for _, d := range all {
		switch {
		case d.Kind != "gpu" && d.Kind != "igpu":
		case strings.HasPrefix(d.Name, "CUDA"):
			cudaGPUs++
		default:
			others = append(others, fmt.Sprintf("%s (%s)", d.Name, d.Description))
		}
	}
	return cudaGPUs, others
}
