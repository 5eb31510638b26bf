package enginetest

import (
	"fmt"
	"slices"

	"hearth/inference"
)

// SeqRemove implements engine.Memory.
func (b *Backend) SeqRemove(seq, p0, p1 int32) bool {
	defer b.enter()()
	b.known(seq)
	b.record(Call{Op: "remove", Dst: seq, P0: p0, P1: p1})
	cells := b.seqs[seq]
	from, to := max(p0, 0), p1
	if to < 0 || int(to) > len(cells) {
		to = int32(len(cells))
	}
	if from >= to {
		return true
	}
	if from > 0 && (b.o.NoTrim || !b.intact(seq, from)) {
		return false
	}
	if int(to) < len(cells) {
		panic(fmt.Sprintf("enginetest: cells %d to %d cut out of the middle of sequence %d", from, to, seq))
	}
	for _, c := range cells[from:] {
		c.owners--
		if c.owners == 0 {
			b.used--
		}
	}
	b.seqs[seq] = cells[:from:from]
	return true
}

// SeqCopy implements engine.Memory.
func (b *Backend) SeqCopy(src, dst, p0, p1 int32) {
	defer b.enter()()
	b.known(src)
	b.known(dst)
	b.record(Call{Op: "copy", Src: src, Dst: dst, P0: p0, P1: p1})
	if b.o.NoShare {
		panic("enginetest: a copy in a memory that cannot share")
	}
	if src == dst || len(b.seqs[dst]) > 0 {
		panic(fmt.Sprintf("enginetest: copy from sequence %d into %d, which is not empty", src, dst))
	}
	n := int(p1)
	if p1 < 0 || n > len(b.seqs[src]) {
		n = len(b.seqs[src])
	}
	if p0 > 0 {
		panic(fmt.Sprintf("enginetest: copy from position %d; prefixes begin at 0", p0))
	}
	b.seqs[dst] = b.take(b.seqs[src][:n], b.traits.Unified)
}

// SeqSwap implements engine.Memory. Where it fails, it takes what x had.
func (b *Backend) SeqSwap(x, y int32) bool {
	defer b.enter()()
	b.known(x)
	b.known(y)
	b.record(Call{Op: "swap", Src: x, Dst: y})
	if x == y || b.o.Streams == 0 || b.traits.Unified {
		panic(fmt.Sprintf("enginetest: sequences %d and %d cannot be exchanged", x, y))
	}
	b.seqs[x], b.seqs[y] = b.seqs[y], b.seqs[x]
	if b.o.OnSwap != nil && !b.o.OnSwap() {
		b.lose(y)
		return false
	}
	return true
}

// fill returns a cell like c, in a place of its own.
func (b *Backend) fill(c cell) *cell {
	b.places++
	b.used++
	c.place, c.owners = b.places, 1
	return &c
}

// take returns cells for one more sequence: the same, or copies.
func (b *Backend) take(cells []*cell, same bool) []*cell {
	var taken []*cell
	for _, c := range cells {
		if same {
			c.owners++
		} else {
			c = b.fill(*c)
		}
		taken = append(taken, c)
	}
	return taken
}

// Relayout implements engine.Memory.
func (b *Backend) Relayout(unified bool, moves []inference.SeqMove) error {
	defer b.enter()()
	b.record(Call{Op: "relayout", Moves: slices.Clone(moves)})
	if b.o.Streams == 0 || unified == b.traits.Unified {
		panic("enginetest: the cells can lie in one way only, or lie so")
	}
	if b.o.OnRelayout != nil {
		if err := b.o.OnRelayout(unified); err != nil {
			return fmt.Errorf("fake: %w", err)
		}
	}
	old := b.seqs
	b.seqs, b.used = make([][]*cell, len(old)), 0
	for _, m := range moves {
		cells := old[m.From]
		if len(cells) == 0 || len(b.seqs[m.To]) > 0 || !unified && (int(m.To) >= b.o.Sequences || len(cells) > b.o.Streams || m.Shared > 0) {
			panic(fmt.Sprintf("enginetest: %d cells cannot be moved so: %+v", len(cells), m))
		}
		for i, c := range b.seqs[m.With][:m.Shared] {
			if c.token != cells[i].token || c.adapters != cells[i].adapters {
				panic(fmt.Sprintf("enginetest: cell %d is not the same: %+v", i, m))
			}
		}
		b.seqs[m.To] = append(b.take(b.seqs[m.With][:m.Shared], true), b.take(cells[m.Shared:], false)...)
	}
	b.traits.Unified = unified
	return nil
}

// SeqIntact implements engine.Memory.
func (b *Backend) SeqIntact(seq, n int32) bool {
	defer b.enter()()
	b.known(seq)
	return b.intact(seq, n)
}

// intact reports whether position n of seq sees no cell that was given up.
func (b *Backend) intact(seq, n int32) bool {
	if b.o.Window == 0 {
		return true
	}
	for _, c := range b.seqs[seq][max(0, int(n)-b.o.Window+1):n] {
		if c.gone {
			return false
		}
	}
	return true
}

// forget gives up the cells that Options.Window says.
func (b *Backend) forget() {
	if b.o.Window == 0 {
		return
	}
	for _, cells := range b.seqs {
		for _, c := range cells[:max(0, len(cells)-b.o.Window+1)] {
			c.gone = c.gone || c.owners == 1
		}
	}
}

// SeqPosMax implements engine.Memory.
func (b *Backend) SeqPosMax(seq int32) int32 {
	defer b.enter()()
	b.known(seq)
	return int32(len(b.seqs[seq])) - 1
}

func (b *Backend) known(seq int32) {
	if seq < 0 || int(seq) >= len(b.seqs) || b.o.Streams > 0 && !b.traits.Unified && int(seq) >= b.o.Sequences {
		panic(fmt.Sprintf("enginetest: sequence %d of %d", seq, len(b.seqs)))
	}
}

// Used returns the number of cells held by any sequence.
func (b *Backend) Used() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Held returns the tokens that each sequence id holds; nil where it is empty.
func (b *Backend) Held() [][]int32 { return ofCells(b, func(c *cell) int32 { return c.token }) }

// Origins returns, for each sequence id and each cell that it holds, the number
// of the computation that made the cell: equal numbers were computed once.
func (b *Backend) Origins() [][]uint64 { return ofCells(b, func(c *cell) uint64 { return c.serial }) }

// Places returns, for each sequence id and each cell that it holds, the number of
// the place where it lies: equal numbers are one cell.
func (b *Backend) Places() [][]uint64 { return ofCells(b, func(c *cell) uint64 { return c.place }) }

// ofCells returns what get says of each cell, by sequence id.
func ofCells[T any](b *Backend, get func(*cell) T) [][]T {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([][]T, len(b.seqs))
	for s, cells := range b.seqs {
		for _, c := range cells {
			all[s] = append(all[s], get(c))
		}
	}
	return all
}

// Lose removes all cells of a sequence behind the engine's back, as a backend
// that failed may.
func (b *Backend) Lose(seq int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lose(seq)
}

func (b *Backend) lose(seq int32) {
	for _, c := range b.seqs[seq] {
		c.owners--
		if c.owners == 0 {
			b.used--
		}
	}
	b.seqs[seq] = nil
}

// Calls returns the trace up to now.
func (b *Backend) Calls() []Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Call(nil), b.calls...)
}

// NoSlots returns how often a batch had no room.
func (b *Backend) NoSlots() int { return int(b.noSlots.Load()) }
