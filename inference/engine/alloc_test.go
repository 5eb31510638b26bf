package engine

import (
	"fmt"
	"testing"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// still is a fake backend whose model costs nothing, to see the engine alone.
func still(sequences int) enginetest.Options {
	// The costs of a layout are counted too, and never enough to change it.
	return enginetest.Options{Cells: 1 << 20, Sequences: sequences, Batch: 512, Quiet: true, Streams: 1 << 20, ReadCost: 1e-9}
}

// steady is a backend that allocates nothing in a step.
type steady struct {
	*enginetest.Backend
	last []int32
}

func (s *steady) Step(b *inference.Batch, rows []inference.SampleRow, out []inference.Sampled, more bool) (bool, error) {
	if b != nil {
		s.last = append(s.last[:0], b.Seq...)
	}
	for i := range rows {
		out[i].Token = 'a' + s.last[rows[i].Index]
	}
	if more {
		for i := range rows {
			s.last[i] = s.last[rows[i].Index]
		}
		s.last = s.last[:len(rows)]
	}
	return more, nil
}

func (s *steady) SeqRemove(_, _, _ int32) bool { return true }

// decoding returns an engine with n sequences that decode.
func decoding(t testing.TB, n int) (*Engine, *loop, []*Stream) {
	b := &steady{Backend: enginetest.New(still(n))}
	e, l, err := assemble(b, Config{Sequences: n}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var streams []*Stream
	for i := range n {
		r := ask(fmt.Sprint("prompt of ", i), 500_000/n)
		r.Stop = []string{"never comes", "aaab"}
		s, err := e.Submit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	for range 200 {
		round(e, l, streams)
	}
	return e, l, streams
}

// round is one turn of the loop, with readers that take what there is.
func round(e *Engine, l *loop, streams []*Stream) {
	if !l.ahead {
		e.collect(l)
	}
	l.step()
	e.publish(l)
	for _, s := range streams {
		s.mu.Lock()
		s.records, s.text = s.records[:0], s.text[:0]
		s.mu.Unlock()
	}
}

func TestSteadyStepAllocatesNothing(t *testing.T) {
	e, l, streams := decoding(t, 8)
	if n := testing.AllocsPerRun(500, func() { round(e, l, streams) }); n != 0 {
		t.Errorf("a step of eight rows allocates %v times", n)
	}
	if l.rowCount != 8 {
		t.Fatalf("%d rows in a step", l.rowCount)
	}
	l.shutDown()
}

func BenchmarkStep(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			e, l, streams := decoding(b, n)
			b.ReportAllocs()
			for b.Loop() {
				round(e, l, streams)
				if l.running == 0 {
					b.StopTimer()
					e, l, streams = decoding(b, n)
					b.StartTimer()
				}
			}
		})
	}
}
