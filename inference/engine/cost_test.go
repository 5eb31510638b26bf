package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"hearth/internal/testkit"
)

const (
	// stepBound is the most that the engine's own side of a step may take.
	stepBound = 50 * time.Microsecond
	// growthBound is how many times that, or a request, may cost with all the
	// prefixes there can be, of what it costs with few.
	growthBound = 1.5
)

// TestStepCost measures the engine's own side of a step, and of a request that
// comes and ends beside others, with few prefixes and with many, by turns. Times
// need a quiet machine, so they are held against the bounds only where
// HEARTH_STEP_RUNS asks for more than one run (make bench-step).
func TestStepCost(t *testing.T) {
	runs := int(testkit.Number(t, "HEARTH_STEP_RUNS", 1))
	cost := func(w way, name string, bound time.Duration, sample func(*steady) time.Duration) {
		var took [2][]time.Duration
		var both [2]*steady
		for i, k := range []kept{few, grown} {
			both[i] = newSteady(t, w, k)
			defer both[i].shut()
		}
		for range runs {
			for i, s := range both {
				took[i] = append(took[i], sample(s))
				if s.l.running != w.rows {
					t.Fatalf("%s: %d of %d sequences run", name, s.l.running, w.rows)
				}
			}
		}
		small, large := median(took[0]), median(took[1])
		ratio := float64(large) / float64(small)
		t.Logf("%-42s %9v  %9v  %.2f", name, small, large, ratio)
		if runs == 1 {
			return
		}
		if bound > 0 && large > bound {
			t.Errorf("%s: %v, at most %v are allowed", name, large, bound)
		}
		if ratio > growthBound {
			t.Errorf("%s: %.2f times as much with %s as with %s, at most %.2f are allowed", name, ratio, grown.name, few.name, growthBound)
		}
	}
	t.Logf("medians of %d runs with %s; with %s; the ratio", runs, few.name, grown.name)
	for _, w := range ways {
		cost(w, "step, "+w.name, stepBound, func(s *steady) time.Duration { return s.time(1000) })
	}
	for _, w := range []way{{rows: 2}, {rows: 32}} {
		cost(w, fmt.Sprintf("request of 320 tokens beside %d", w.rows-1), 0, func(s *steady) time.Duration {
			s.streams[0].Close()
			s.streams = s.streams[1:]
			for s.l.running == w.rows || s.e.mailed() {
				s.round()
			}
			began := time.Now()
			for range 100 {
				s.answer(prompt(1))
			}
			d := time.Since(began) / 100
			s.submit(ask("prompt", 1<<18))
			for s.l.running < w.rows {
				s.round()
			}
			return d
		})
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
