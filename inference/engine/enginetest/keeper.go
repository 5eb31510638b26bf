package enginetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The bytes of a run: a checksum, then the cells.
const (
	runHead = 4
	runCell = 4 + 4 + 8 + 8
)

// errGone is what a run is refused with of which a window has given up a part.
var errGone = errors.New("enginetest: a cell of the run was given up")

// RunBytes implements engine.Keeper.
func (b *Backend) RunBytes(n int) int { return runHead + n*runCell }

// SaveRun implements engine.Keeper.
func (b *Backend) SaveRun(seq, p0, p1 int32, buf []byte) (int, error) {
	defer b.enter()()
	b.known(seq)
	if !b.traits.Keep || p0 < 0 || p1 <= p0 || int(p1) > len(b.seqs[seq]) {
		panic(fmt.Sprintf("enginetest: positions %d to %d saved of sequence %d, which holds %d", p0, p1, seq, len(b.seqs[seq])))
	}
	if b.o.OnSave != nil {
		if err := b.o.OnSave(); err != nil {
			return 0, err
		}
	}
	out := buf[:runHead]
	for _, c := range b.seqs[seq][p0:p1] {
		if c.gone {
			return 0, errGone
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(c.token))
		out = binary.LittleEndian.AppendUint32(out, uint32(c.pos))
		out = binary.LittleEndian.AppendUint64(out, b.origin(c.serial))
		out = binary.LittleEndian.AppendUint64(out, c.adapters)
	}
	binary.LittleEndian.PutUint32(out, crc32.ChecksumIEEE(out[runHead:]))
	return len(out), nil
}

// LoadRuns implements engine.Keeper. It panics on bytes that SaveRun did not write,
// or wrote of other positions: a store must not give them.
func (b *Backend) LoadRuns(seq, p0 int32, ends []int32, data [][]byte) (int, error) {
	defer b.enter()()
	b.known(seq)
	if len(data) == 0 || len(ends) != len(data) {
		panic(fmt.Sprintf("enginetest: %d runs that end at %d", len(data), ends))
	}
	for i, run := range data {
		if err := b.loadRun(seq, p0, ends[i], run); err != nil {
			return i, err
		}
		p0 = ends[i]
	}
	return len(data), nil
}

func (b *Backend) loadRun(seq, p0, p1 int32, data []byte) error {
	n := int(p1 - p0)
	if !b.traits.Keep || n <= 0 || len(b.seqs[seq]) != int(p0) || len(data) != b.RunBytes(n) {
		panic(fmt.Sprintf("enginetest: %d bytes loaded as positions %d to %d of sequence %d, which holds %d", len(data), p0, p1, seq, len(b.seqs[seq])))
	}
	if binary.LittleEndian.Uint32(data) != crc32.ChecksumIEEE(data[runHead:]) {
		panic("enginetest: bytes loaded that are not of a run")
	}
	if b.o.OnLoad != nil {
		if err := b.o.OnLoad(); err != nil {
			return err
		}
	}
	if b.used+n > b.o.Cells {
		panic(fmt.Sprintf("enginetest: %d cells loaded where %d of %d are used", n, b.used, b.o.Cells))
	}
	b.record(Call{Op: "load", Dst: seq, P0: p0, P1: p1})
	for i := range n {
		at := data[runHead+i*runCell:]
		pos := int32(binary.LittleEndian.Uint32(at[4:]))
		if pos != p0+int32(i) {
			panic(fmt.Sprintf("enginetest: position %d loaded in the place of %d", pos, p0+int32(i)))
		}
		b.made++
		b.origins[b.made] = binary.LittleEndian.Uint64(at[8:])
		b.seqs[seq] = append(b.seqs[seq], b.fill(cell{
			token: int32(binary.LittleEndian.Uint32(at)), pos: pos, serial: b.made,
			adapters: binary.LittleEndian.Uint64(at[16:]),
		}))
	}
	return nil
}

// origin is the computation that the cell of that number goes back to.
func (b *Backend) origin(serial uint64) uint64 {
	if o, ok := b.origins[serial]; ok {
		return o
	}
	return serial
}

// Origin returns the number of the computation that a cell goes back to, of the
// number that Origins gives: another one where the cell was saved and loaded.
func (b *Backend) Origin(serial uint64) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.origin(serial)
}
