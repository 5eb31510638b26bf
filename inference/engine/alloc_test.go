package engine

import (
	"fmt"
	"testing"
)

// TestSteadyStepAllocatesNothing: whatever way a step takes, and however many
// prefixes are kept.
func TestSteadyStepAllocatesNothing(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			s := newSteady(t, way, grown)
			if n := testing.AllocsPerRun(300, s.round); n != 0 {
				t.Errorf("a step of %d rows allocates %v times", way.rows, n)
			}
			if s.l.rowCount != way.rows || way.guesses != (s.l.guessed > 0) {
				t.Fatalf("%d rows in a step, %d guesses", s.l.rowCount, s.l.guessed)
			}
			s.shut()
		})
	}
}

func BenchmarkStep(b *testing.B) {
	for _, way := range ways {
		for _, size := range []kept{few, grown} {
			b.Run(fmt.Sprintf("%s/%s", way.name, size.name), func(b *testing.B) {
				s := newSteady(b, way, size)
				b.ReportAllocs()
				for b.Loop() {
					s.round()
					if s.l.running < way.rows { // they have come to their ends
						b.StopTimer()
						s.shut()
						s = newSteady(b, way, size)
						b.StartTimer()
					}
				}
				s.shut()
			})
		}
	}
}
