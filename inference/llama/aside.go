package llama

/*
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"hearth/inference"
)

// errAside is what is refused that would compute aside what cannot be.
var errAside = errors.New("llama: it cannot be computed aside")

// aside is what a Context knows of the batch that is computed beside its Steps.
type aside struct {
	begun, done bool
	ends        map[int32]int32 // of its sequences: the position behind the last one, when it began
}

// asideCells is how many cells the context beside the one that o makes may hold:
// those of the longest sequence, if there is memory for them when all others are
// full, too. each is what a cell takes and free what there is, in bytes; 0: not
// known. It is 0 where it is not worth it.
func asideCells(o ContextOptions, train int, each, free int64) int {
	const multiple = 256 // of llama.cpp
	if !o.Aside || o.Sequences < 2 || each == 0 || free == 0 {
		return 0
	}
	n := o.Cells
	if train > 0 {
		n = min(n, (train+multiple-1)/multiple*multiple)
	}
	n = int(min(int64(n), free/each-int64(o.Cells)))
	if n /= multiple; n < 1 {
		return 0
	}
	return n * multiple
}

// BeginAside implements engine.Aside. The first time it makes a second llama.cpp
// context.
func (c *Context) BeginAside(b *inference.Batch, shares []inference.SeqMove) error {
	switch {
	case c.closed.Load():
		return fmt.Errorf("compute aside: %w", ErrClosed)
	case c.traits.Aside == 0 || c.ahead || c.aside.begun:
		return fmt.Errorf("compute aside: %w: the context cannot, or is computing", errAside)
	}
	if err := c.checkBatch(b); err != nil {
		return fmt.Errorf("compute aside: %w: %w", inference.ErrBadBatch, err)
	}
	ends := make(map[int32]int32)
	cells := b.Len()
	for i, s := range b.Seq {
		if _, again := ends[s]; again {
			continue
		}
		if ends[s] = b.Pos[i]; c.SeqPosMax(s) != b.Pos[i]-1 {
			return fmt.Errorf("compute aside: %w: sequence %d does not end before position %d", inference.ErrBadBatch, s, b.Pos[i])
		}
		cells += int(b.Pos[i])
	}
	move := make([]C.hearth_move, len(shares))
	for i, m := range shares {
		end, ok := ends[m.From]
		with, before := ends[m.With]
		if c.traits.Window > 0 || !ok || !before || m.From == m.With || m.Shared < 0 || m.Shared > min(end, with) || slices.Index(b.Seq, m.With) > slices.Index(b.Seq, m.From) {
			return fmt.Errorf("compute aside: %w: sequence %d cannot share %d cells with %d", inference.ErrBadBatch, m.From, m.Shared, m.With)
		}
		move[i] = C.hearth_move{from: C.int32_t(m.From), with: C.int32_t(m.With), shared: C.int32_t(m.Shared)}
		cells -= int(m.Shared)
	}
	if cells > c.traits.Aside || b.Len() > c.traits.MicroBatch {
		return fmt.Errorf("compute aside: %w: %d tokens and %d cells, and there is room for %d and %d",
			inference.ErrBadBatch, b.Len(), cells, c.traits.MicroBatch, c.traits.Aside)
	}
	var cerr *C.char
	if C.hearth_aside_begin(c.h, C.int32_t(b.Len()), (*C.int32_t)(unsafe.SliceData(b.Token)), (*C.int32_t)(unsafe.SliceData(b.Pos)),
		(*C.int32_t)(unsafe.SliceData(b.Seq)), C.int32_t(len(move)), (*C.hearth_move)(unsafe.SliceData(move)), &cerr) != 0 {
		return fmt.Errorf("compute aside: %w", takeError(&cerr))
	}
	c.aside = aside{begun: true, ends: ends}
	return nil
}

// AdvanceAside implements engine.Aside.
func (c *Context) AdvanceAside(d time.Duration) (done bool, err error) {
	if c.closed.Load() || c.ahead || !c.aside.begun || c.aside.done {
		return false, fmt.Errorf("compute aside: %w: nothing was begun, or a step has gone ahead", errAside)
	}
	C.hearth_aside_start(c.h, C.int64_t(d))
	_, _ = c.done.Read(c.signal[:]) // parked, as in Step
	var finished C.int32_t
	rc := C.hearth_aside_result(c.h, &finished)
	if c.aside.done = finished != 0; rc != 0 {
		return false, fmt.Errorf("compute aside: %w", decodeFailure(int(rc), "of a chunk beside the steps"))
	}
	return c.aside.done, nil
}

// EndAside implements engine.Aside.
func (c *Context) EndAside(moves []inference.SeqMove) error {
	if c.closed.Load() || c.ahead || !c.aside.begun {
		return fmt.Errorf("add what was computed aside: %w: nothing was begun, or a step has gone ahead", errAside)
	}
	a := c.aside
	c.aside = aside{}
	from, to := make([]int32, len(moves)), make([]int32, len(moves))
	var bad error
	for i, m := range moves {
		from[i], to[i] = m.From, m.To
		if end, ok := a.ends[m.From]; !ok || !a.done || m.To < 0 || int(m.To) >= c.traits.Sequences || c.SeqPosMax(m.To) != end-1 {
			bad = fmt.Errorf("add what was computed aside: %w: of sequence %d to %d", errAside, m.From, m.To)
		}
	}
	if bad != nil {
		from, to = nil, nil
	}
	var cerr *C.char
	if C.hearth_aside_end(c.h, C.int32_t(len(from)), (*C.int32_t)(unsafe.SliceData(from)), (*C.int32_t)(unsafe.SliceData(to)), &cerr) != 0 {
		return fmt.Errorf("add what was computed aside: %w", takeError(&cerr))
	}
	return bad
}
