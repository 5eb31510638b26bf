package llama

/*
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"hearth/inference"
)

// What a layout costs, measured on x86-64 with AVX-512; only their ratio to each
// other and to a step matters.
const (
	scanNanos = 3.3 // one attention head looks at the mask of one place that is not its own, on one thread
	readBytes = 8   // bytes of cells that are read from memory in a nanosecond
	copyBytes = 2   // bytes of cells that are copied in a nanosecond, new pages included
)

// streamCells is how many cells each of n sequences gets in the layout of
// streams: as many as it can use, if there is memory for all of them to be full,
// for the kernel promises no more than that. each is what a cell takes and free
// what there is, in bytes; 0: not known. It is 0 where streams are not worth it.
func streamCells(o ContextOptions, train int, each, free int64) int {
	const multiple = 256 // of llama.cpp
	if !o.Unified || o.Sequences < 2 || each == 0 || free == 0 {
		return 0
	}
	n := o.Cells
	if train > 0 {
		n = min(n, (train+multiple-1)/multiple*multiple)
	}
	n = int(min(int64(n), free/(each*int64(o.Sequences))))
	if n /= multiple; n*multiple < o.Cells/o.Sequences {
		return 0
	}
	return n * multiple
}

// Relayout implements engine.Memory. It copies all that is moved, and the first
// time makes a second llama.cpp context, whose cells take memory as they are
// written. An error leaves everything as it was.
func (c *Context) Relayout(unified bool, moves []inference.SeqMove) error {
	if c.closed.Load() {
		return fmt.Errorf("move cells: %w", ErrClosed)
	}
	if c.traits.Streams == 0 || c.ahead {
		return fmt.Errorf("move cells: %w: they cannot be moved, or a step has gone ahead", inference.ErrBadBatch)
	}
	out := make([]C.hearth_move, len(moves))
	taken := make(map[int32]int32, len(moves)) // cells by new id
	for i, m := range moves {
		held := c.SeqPosMax(m.From) + 1
		_, again := taken[m.To]
		switch {
		case held == 0 || m.To < 0 || int(m.To) >= c.traits.Sequences+c.traits.Holders || !unified && int(m.To) >= c.traits.Sequences || again:
			return fmt.Errorf("move cells: %w: sequence %d of %d cells cannot become %d", inference.ErrBadBatch, m.From, held, m.To)
		case !unified && int(held) > c.traits.Streams:
			return fmt.Errorf("move cells: %w: sequence %d has %d cells, and a stream holds %d", inference.ErrBadBatch, m.From, held, c.traits.Streams)
		case m.Shared < 0 || m.Shared > held || m.Shared > 0 && (!unified || taken[m.With] < m.Shared):
			return fmt.Errorf("move cells: %w: sequence %d cannot share %d cells with %d", inference.ErrBadBatch, m.From, m.Shared, m.With)
		}
		taken[m.To] = held
		out[i] = C.hearth_move{from: C.int32_t(m.From), to: C.int32_t(m.To), with: C.int32_t(m.With), shared: C.int32_t(m.Shared)}
	}
	var cerr *C.char
	if C.hearth_relayout(c.h, flag(unified), C.int32_t(len(out)), (*C.hearth_move)(unsafe.SliceData(out)), &cerr) != 0 {
		return fmt.Errorf("move cells: %w", takeError(&cerr))
	}
	c.traits.Unified = unified
	return nil
}
