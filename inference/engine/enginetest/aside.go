package enginetest

import (
	"fmt"
	"slices"
	"time"

	"hearth/inference"
)

// aside is what is computed beside the steps.
type aside struct {
	batch    inference.Batch
	held     map[int32][]int32 // the tokens that each sequence had when it began
	adapters uint64
	slices   int // still to be computed
}

// BeginAside implements engine.Aside.
func (b *Backend) BeginAside(batch *inference.Batch, shares []inference.SeqMove) error {
	defer b.enter()()
	if b.o.Aside == 0 || b.aside != nil {
		panic("enginetest: nothing can be computed aside, or something is")
	}
	b.check(batch)
	a := &aside{held: map[int32][]int32{}, adapters: mark(b.adapters), slices: max(b.o.AsideSlices, 1), batch: inference.Batch{
		Token: slices.Clone(batch.Token), Pos: slices.Clone(batch.Pos), Seq: slices.Clone(batch.Seq), Output: slices.Clone(batch.Output),
	}}
	cells := batch.Len()
	for i, s := range batch.Seq {
		if batch.Output[i] != 0 {
			panic("enginetest: a row is wanted of what is computed aside")
		}
		if _, again := a.held[s]; again {
			continue
		}
		b.checkAdapters(s)
		a.held[s] = ofSequence(b.seqs[s])
		cells += len(b.seqs[s])
	}
	for _, m := range shares {
		if !slices.Equal(a.held[m.From][:m.Shared], a.held[m.With][:m.Shared]) || b.o.NoShare || b.o.Window > 0 {
			panic(fmt.Sprintf("enginetest: sequences do not hold the same: %+v", m))
		}
		cells -= int(m.Shared)
	}
	if batch.Len() > b.o.MicroBatch || cells > b.o.Aside {
		panic(fmt.Sprintf("enginetest: %d tokens and %d cells aside", batch.Len(), cells))
	}
	if err := b.failAside("begin"); err != nil {
		return err
	}
	b.aside = a
	return nil
}

func (b *Backend) failAside(op string) error {
	if b.o.OnAside == nil {
		return nil
	}
	if err := b.o.OnAside(op); err != nil {
		return fmt.Errorf("fake: %w", err)
	}
	return nil
}

// AdvanceAside implements engine.Aside.
func (b *Backend) AdvanceAside(d time.Duration) (done bool, err error) {
	defer b.enter()()
	switch {
	case b.aside == nil || b.aside.slices == 0:
		panic("enginetest: nothing is computed aside")
	case d <= 0:
		panic(fmt.Sprintf("enginetest: a slice of %v", d))
	}
	if err := b.failAside("advance"); err != nil {
		return false, err
	}
	b.aside.slices--
	return b.aside.slices == 0, nil
}

// EndAside implements engine.Aside. Where it fails, it takes cells of the first
// sequence that was to get some.
func (b *Backend) EndAside(moves []inference.SeqMove) error {
	defer b.enter()()
	a := b.aside
	if a == nil || a.slices > 0 && len(moves) > 0 {
		panic("enginetest: nothing was computed aside")
	}
	b.aside = nil
	b.record(Call{Op: "aside", Batch: a.batch, Moves: slices.Clone(moves)})
	if len(moves) > 0 {
		if err := b.failAside("end"); err != nil {
			b.lose(moves[0].To)
			return err
		}
	}
	for _, m := range moves {
		held, ok := a.held[m.From]
		if !ok || !slices.Equal(held, ofSequence(b.seqs[m.To])) {
			panic(fmt.Sprintf("enginetest: sequence %d is not what %d was when it was computed aside", m.To, m.From))
		}
		for i, s := range a.batch.Seq {
			if s != m.From {
				continue
			}
			if !b.traits.Unified && b.o.Streams > 0 && len(b.seqs[m.To]) == b.o.Streams || !b.o.Split && b.used == b.o.Cells {
				b.noSlots.Add(1)
				return fmt.Errorf("fake: %w", inference.ErrNoSlot)
			}
			b.made++
			b.seqs[m.To] = append(b.seqs[m.To], b.fill(cell{token: a.batch.Token[i], pos: a.batch.Pos[i], serial: b.made, adapters: a.adapters}))
		}
	}
	return nil
}

func ofSequence(cells []*cell) []int32 {
	var tokens []int32
	for _, c := range cells {
		tokens = append(tokens, c.token)
	}
	return tokens
}
