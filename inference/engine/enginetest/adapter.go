package enginetest

import (
	"fmt"
	"math"
	"slices"

	"hearth/inference"
)

// Adapt implements engine.Decoder.
func (b *Backend) Adapt(set []inference.AdapterScale) error {
	defer b.enter()()
	for _, a := range set {
		if a.Adapter < 0 || a.Adapter >= b.o.Adapters {
			panic(fmt.Sprintf("enginetest: adapter %d of %d", a.Adapter, b.o.Adapters))
		}
	}
	b.record(Call{Op: "adapt", Adapters: slices.Clone(set)})
	if b.o.OnAdapt != nil {
		if err := b.o.OnAdapt(set); err != nil {
			return fmt.Errorf("fake: %w", err)
		}
	}
	b.adapters = slices.Clone(set)
	return nil
}

// mark is a number for the model with those adapters, 0 for the model alone. It
// does not depend on their order.
func mark(set []inference.AdapterScale) uint64 {
	m := uint64(0)
	for _, a := range set {
		if a.Scale != 0 {
			m ^= (uint64(a.Adapter+1)<<32 | uint64(math.Float32bits(a.Scale))) * 0x9e3779b97f4a7c15
		}
	}
	return m
}

// checkAdapters panics if sequence s holds cells that were computed with other
// adapters than those that are set.
func (b *Backend) checkAdapters(s int32) {
	if b.o.Adapters == 0 {
		return
	}
	for _, c := range b.seqs[s] {
		if c.adapters != mark(b.adapters) {
			panic(fmt.Sprintf("enginetest: sequence %d goes on with the adapters %v, and its cell %d was computed with others", s, b.adapters, c.pos))
		}
	}
}
