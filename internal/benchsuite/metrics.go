package main

import (
	"math"

	"hearth/internal/loadgen"
)

// metric is one figure of a run.
type metric struct {
	name string
	unit string
	more bool // more is better
	// of returns the figure of a server's run; NaN where it has none.
	of func(*run) float64
	// ceiling returns that of llama-batched-bench; nil: it has none.
	ceiling func(*ceiling) float64
}

var (
	throughput = metric{
		name: "output", unit: "tokens/s", more: true, of: func(r *run) float64 { return r.Summary.TokensPerSecond },
		ceiling: func(c *ceiling) float64 { return c.TokensPerSecond },
	}
	documents = metric{name: "finished documents", unit: "1/s", more: true, of: func(r *run) float64 { return r.Summary.DocumentsPerSecond }}
	embedded  = metric{name: "embedded", unit: "tokens/s", more: true, of: func(r *run) float64 { return r.Summary.TokensPerSecond }}
	answer50  = metric{name: "time to the vectors p50", unit: "ms", of: func(r *run) float64 { return r.Summary.TTFT.P50 }}
	answer99  = metric{name: "time to the vectors p99", unit: "ms", of: func(r *run) float64 { return r.Summary.TTFT.P99 }}
	ttft50    = metric{name: "TTFT p50", unit: "ms", of: func(r *run) float64 { return r.Summary.TTFT.P50 }}
	ttft99    = metric{name: "TTFT p99", unit: "ms", of: func(r *run) float64 { return r.Summary.TTFT.P99 }}
	itl50     = metric{
		name: "ITL p50", unit: "ms", of: func(r *run) float64 { return r.Summary.ITL.P50 },
		ceiling: func(c *ceiling) float64 { return c.StepMS },
	}
	itl99     = metric{name: "ITL p99", unit: "ms", of: func(r *run) float64 { return r.Summary.ITL.P99 }}
	itlMax    = metric{name: "longest ITL", unit: "ms", of: func(r *run) float64 { return r.Summary.ITL.Max }}
	totalTime = metric{name: "total time", unit: "s", of: func(r *run) float64 { return r.Summary.WindowMS / 1000 }}
	// What was computed of the prompts; the rest came from caches.
	computed   = metric{name: "prompt tokens computed", unit: "tokens", of: func(r *run) float64 { return float64(r.Summary.PromptTokens - r.Summary.CachedTokens) }}
	recomputed = metric{name: "old tokens computed again", unit: "tokens", of: func(r *run) float64 { return recomputedOf(r.Summary.Turns) }}
	turnWait   = metric{name: "longest wait, of alone in its turn", unit: "×", of: func(r *run) float64 { return r.Wait }}
	coldStart  = metric{name: "process start to first token", unit: "ms", of: func(r *run) float64 { return r.ColdStart }}
	peakMemory = metric{name: "peak resident memory", unit: "MB", of: func(r *run) float64 { return float64(r.PeakBytes) / 1e6 }}
	coldTTFT   = metric{name: "TTFT, never seen", unit: "ms", of: func(r *run) float64 { return r.Summary.TTFT.P50 }}
	warmTTFT   = metric{name: "TTFT, after the restart", unit: "ms", of: func(r *run) float64 { return r.phase(again).TTFT.P50 }}
	warmOfCold = metric{name: "after the restart, of never seen", unit: "×", of: func(r *run) float64 { return r.phase(again).TTFT.P50 / r.Summary.TTFT.P50 }}
)

// recomputedOf adds what the turns after the first computed again.
func recomputedOf(turns []loadgen.Turn) float64 {
	n := 0
	for i := 1; i < len(turns); i++ {
		n += turns[i].Recomputed
	}
	return float64(n)
}

// waitInTurn returns the longest wait of a prompt for its first token, measured
// by how long it would have waited alone in its turn: the first of n prompts
// that come at once has a server's time that one prompt takes on an idle server,
// the second of two, and so on. The prompts are those of the group that has a
// number of requests, in the order in which they were answered; alone has the
// times of as many prompts of the same lengths, one after another on the idle
// server. NaN without prompts.
func waitInTurn(busy, alone *loadgen.Result) float64 {
	waits, single := waitsOf(busy), waitsOf(alone)
	worst, turn := math.NaN(), 0.0
	for i := range min(len(waits), len(single)) {
		turn += single[i]
		if w := waits[i] / turn; !(w <= worst) {
			worst = w
		}
	}
	return worst
}
