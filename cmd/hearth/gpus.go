package main

import (
	"hearth/cuda"
	"hearth/inference/llama"
)

// describeDevices says in one line what models will be computed on, and why.
func describeDevices(p *Placement) string {
	r := cuda.Detect()
	for _, d := range llama.Devices() {
		if d.Kind == "gpu" || d.Kind == "igpu" {
			r.Usable++
		}
	}
	if r.Threads = p.Threads; r.Threads == 0 {
		r.Threads = defaultThreads()
	}
	return r.Line()
}
