package main

import (
	"math"
	"slices"
	"time"

	"hearth/internal/loadgen"
)

// metric is one figure of a run.
type metric struct {
	name string
	unit string
	more bool // more is better
	of   func(*run) float64
}

var (
	throughput = metric{"output", "tokens/s", true, func(r *run) float64 { return r.Summary.TokensPerSecond }}
	embedded   = metric{"embedded", "tokens/s", true, func(r *run) float64 { return r.Summary.TokensPerSecond }}
	answer50   = metric{"time to the vectors p50", "ms", false, func(r *run) float64 { return r.Summary.TTFT.P50 }}
	answer99   = metric{"time to the vectors p99", "ms", false, func(r *run) float64 { return r.Summary.TTFT.P99 }}
	ttft50     = metric{"TTFT p50", "ms", false, func(r *run) float64 { return r.Summary.TTFT.P50 }}
	ttft99     = metric{"TTFT p99", "ms", false, func(r *run) float64 { return r.Summary.TTFT.P99 }}
	itl50      = metric{"ITL p50", "ms", false, func(r *run) float64 { return r.Summary.ITL.P50 }}
	itl99      = metric{"ITL p99", "ms", false, func(r *run) float64 { return r.Summary.ITL.P99 }}
	itlMax     = metric{"longest ITL", "ms", false, func(r *run) float64 { return r.Summary.ITL.Max }}
	coldStart  = metric{"process start to first token", "ms", false, func(r *run) float64 { return r.ColdStart }}
	peakMemory = metric{"peak resident memory", "MB", false, func(r *run) float64 { return float64(r.PeakBytes) / 1e6 }}
)

// shown are the figures of each scenario, in the order of the report.
var shown = map[string][]metric{
	"single":        {throughput, ttft50, itl50, itl99},
	"parallel":      {throughput, ttft50, ttft99, itl50, itl99},
	"shared-prefix": {throughput, ttft50, ttft99, itl50, itl99},
	"mixed":         {itl99, itlMax, itl50, throughput, ttft50, ttft99},
	"json-schema":   {throughput, ttft50, ttft99, itl50, itl99},
	"embed":         {embedded, answer50, answer99},
	"embed-lists":   {embedded, answer50, answer99},
}

// goal is the bound on the ratio of Hearth to llama-server as it comes.
type goal struct {
	Bound float64 `json:"bound"`
	More  bool    `json:"at_least"` // else at most
}

var goals = map[string]map[string]goal{
	"single":        {throughput.name: {0.97, true}},
	"parallel":      {throughput.name: {1.0, true}},
	"shared-prefix": {throughput.name: {2.0, true}},
	"mixed":         {itl99.name: {0.1, false}},
	"embed":         {embedded.name: {1.0, true}},
	"embed-lists":   {embedded.name: {1.0, true}},
}

// spread is a median with the extremes, over the rounds.
type spread struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Values []float64 `json:"values"` // by round
}

func spreadOf(values []float64) spread {
	s := spread{Values: values}
	if len(values) == 0 {
		return s
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	s.Min, s.Median, s.Max = sorted[0], sorted[middle], sorted[len(sorted)-1]
	if len(sorted)%2 == 0 {
		s.Median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return s
}

// row is one line of the report.
type row struct {
	Scenario string  `json:"scenario"` // empty: all scenarios
	Title    string  `json:"title"`
	Metric   string  `json:"metric"`
	Unit     string  `json:"unit"`
	More     bool    `json:"more_is_better"`
	Hearth   spread  `json:"hearth"`
	Plain    spread  `json:"llama_server"`
	Tuned    spread  `json:"llama_server_tuned"`
	Ceiling  *spread `json:"ceiling,omitempty"`
	// The ratios of the same round, Hearth over the other.
	ToPlain spread `json:"ratio_to_llama_server"`
	ToTuned spread `json:"ratio_to_tuned"`
	Goal    *goal  `json:"goal,omitempty"`
	Reached *bool  `json:"reached,omitempty"` // by the median of the rounds
}

// report is what report.json holds.
type report struct {
	Version  int                `json:"version"`
	Begin    time.Time          `json:"begin"`
	End      time.Time          `json:"end"`
	Machine  machine            `json:"machine"`
	Settings settings           `json:"settings"`
	Plan     []loadgen.Scenario `json:"scenarios"`
	Rows     []row              `json:"rows"`
	Runs     []run              `json:"runs"`
	Ceilings []ceiling          `json:"ceilings"`
	Notes    []string           `json:"notes"`
}

// assemble computes the report of a suite that has run.
func assemble(s *suite, m machine, end time.Time) *report {
	r := &report{Version: 1, Begin: s.begun, End: end, Machine: m, Settings: s.settings, Plan: s.scenarios, Runs: s.runs, Ceilings: s.ceilings}
	for _, scenario := range s.scenarios {
		for _, m := range shown[scenario.Name] {
			line := newRow(scenario.Name, scenario.Title, m, func(system string) []float64 {
				return perRound(s, system, scenario.Name, m.of, first)
			})
			if m.name == throughput.name {
				line.Ceiling = ceilingOf(s, scenario.Name)
			}
			if g, ok := goals[scenario.Name][m.name]; ok {
				line.judge(g)
			}
			r.Rows = append(r.Rows, line)
		}
	}
	r.Rows = append(r.Rows,
		newRow("", "cold start", coldStart, func(system string) []float64 { return perRound(s, system, "", coldStart.of, median) }),
		newRow("", "memory", peakMemory, func(system string) []float64 { return perRound(s, system, "", peakMemory.of, slices.Max[[]float64]) }))
	r.Notes = notes(s)
	return r
}

func first(v []float64) float64  { return v[0] }
func median(v []float64) float64 { return spreadOf(v).Median }

// perRound returns a figure of a system for each round; reduce makes one of those
// of all scenarios where none is named.
func perRound(s *suite, system, scenario string, of func(*run) float64, reduce func([]float64) float64) []float64 {
	var values []float64
	for round := range s.settings.Rounds {
		var all []float64
		for i := range s.runs {
			r := &s.runs[i]
			if r.System == system && r.Round == round && (scenario == "" || r.Scenario == scenario) {
				all = append(all, of(r))
			}
		}
		if len(all) > 0 {
			values = append(values, reduce(all))
		}
	}
	return values
}

func newRow(scenario, title string, m metric, values func(system string) []float64) row {
	h, p, t := values(hearth), values(plain), values(tuned)
	return row{
		Scenario: scenario, Title: title, Metric: m.name, Unit: m.unit, More: m.more,
		Hearth: spreadOf(h), Plain: spreadOf(p), Tuned: spreadOf(t),
		ToPlain: spreadOf(ratios(h, p)), ToTuned: spreadOf(ratios(h, t)),
	}
}

// ratios of the same rounds. A round whose divisor is zero has none.
func ratios(a, b []float64) []float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		if b[i] != 0 && !math.IsNaN(a[i]) && !math.IsNaN(b[i]) {
			out = append(out, a[i]/b[i])
		}
	}
	return out
}

func (r *row) judge(g goal) {
	reached := len(r.ToPlain.Values) > 0 && (g.More && r.ToPlain.Median >= g.Bound || !g.More && r.ToPlain.Median <= g.Bound)
	r.Goal, r.Reached = &g, &reached
}

func ceilingOf(s *suite, scenario string) *spread {
	var rates []float64
	for _, c := range s.ceilings {
		if c.Scenario == scenario {
			rates = append(rates, c.TokensPerSecond)
		}
	}
	if len(rates) == 0 {
		return nil
	}
	sp := spreadOf(rates)
	return &sp
}
