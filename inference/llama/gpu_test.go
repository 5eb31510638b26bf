//go:build gpu

// For a host with an NVIDIA GPU, and the CUDA backend beside the others.

package llama

import (
	"testing"

	"hearth/internal/testkit"
)

// TestGPUSharesPrefixes loads with no, some and all layers on the GPU: the probes
// have to find that prefixes can be shared, and the first tokens are the CPU's.
// Later on the rounding of another device may decide between tokens that are
// about as likely.
func TestGPUSharesPrefixes(t *testing.T) {
	initBackends(t)
	var want []int32
	for _, o := range []struct {
		layers int
		c      ContextOptions
	}{
		{0, ContextOptions{Unified: true}},
		{10, ContextOptions{Unified: true, OffloadKQV: true}},
		{AllLayers, ContextOptions{Unified: true, OffloadKQV: true}},
		{AllLayers, ContextOptions{Unified: true, OffloadKQV: true, KVType: "q8_0"}},
		{AllLayers, ContextOptions{OffloadKQV: true}},
		{AutoLayers, ContextOptions{Unified: true, OffloadKQV: true}},
	} {
		m, err := Load(testkit.Model(t), ModelOptions{GPULayers: o.layers, Mmap: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		o.c.Cells, o.c.Sequences, o.c.Threads = 2048, 4, 2
		c, err := m.NewContext(o.c)
		if err != nil {
			t.Fatal(err)
		}
		if traits := c.Traits(); !traits.Share || !traits.TrimTail {
			t.Errorf("%d layers, %+v: the traits are %+v", o.layers, o.c, traits)
		}
		got := complete(t, c, 0, tokenize(t, m, capital), 8, greedySpec())
		if want == nil {
			want = got
		}
		equalTokens(t, m, "on the GPU", got, want)
		must(t, c.Close())
		must(t, m.Close())
	}
}
