package main

import (
	"math"
	"slices"
	"time"
)

// row is one line of the report: one figure of one entry.
type row struct {
	Entry  string `json:"scenario"` // empty: all
	Title  string `json:"title"`
	Metric string `json:"metric"`
	Unit   string `json:"unit"`
	More   bool   `json:"more_is_better"`
	// Figures by system, llama-batched-bench among them where it has one.
	Figures map[string]spread `json:"figures"`
	// Ratios of Hearth as it comes to each other system, in the same rounds.
	Ratios map[string]spread `json:"ratios"`
	Others []string          `json:"other_systems,omitempty"` // beside Hearth and the two llama-servers
	Goals  []verdict         `json:"goals,omitempty"`
}

// verdict is a goal with what came of it.
type verdict struct {
	goal
	// Value is what the bound is on.
	Value   spread `json:"value"`
	Reached bool   `json:"reached"` // by the median of the rounds
	Rounds  int    `json:"rounds_that_reach_it"`
}

// report is what report.json holds.
type report struct {
	Version  int         `json:"version"`
	Begin    time.Time   `json:"begin"`
	End      time.Time   `json:"end"`
	Machine  machine     `json:"machine"`
	Settings settings    `json:"settings"`
	Plan     []entry     `json:"scenarios"`
	Rows     []row       `json:"rows"`
	Talks    []talk      `json:"conversations,omitempty"`
	Texts    []texts     `json:"texts,omitempty"`
	Runs     []run       `json:"runs"`
	Ceilings []ceiling   `json:"ceilings"`
	Calls    *callReport `json:"tool_calls,omitempty"`
	Notes    []string    `json:"notes"`
}

// assemble computes the report of a suite that has run.
func assemble(s *suite, m machine, end time.Time) *report {
	r := &report{Version: 2, Begin: s.begun, End: end, Machine: m, Settings: s.settings, Plan: s.entries, Runs: s.runs, Ceilings: s.ceilings}
	for i := range s.entries {
		e := &s.entries[i]
		for _, m := range e.Shown {
			r.Rows = append(r.Rows, s.row(e, m))
		}
	}
	if len(s.entries) > 0 {
		r.Rows = append(r.Rows, s.startRow())
	}
	r.Talks, r.Texts = talks(s), compareTexts(s)
	r.Notes = notes(s)
	return r
}

// row computes a figure of an entry.
func (s *suite) row(e *entry, m metric) row {
	figures := map[string]byRound{}
	for i := range s.runs {
		if r := &s.runs[i]; r.Entry == e.Name && r.Failed == "" {
			put(figures, r.System, r.Round, m.of(r))
		}
	}
	for i := range s.ceilings {
		if c := &s.ceilings[i]; c.Entry == e.Name && m.ceiling != nil {
			put(figures, batchedBench, c.Round, m.ceiling(c))
		}
	}
	line := row{Entry: e.Name, Title: e.Title, Metric: m.name, Unit: m.unit, More: m.more}
	line.fill(figures)
	for _, system := range append(e.systems(0), batchedBench) {
		if _, measured := line.Figures[system]; measured && !slices.Contains([]string{hearth, plain, tuned}, system) {
			line.Others = append(line.Others, system)
		}
	}
	for _, g := range e.Goals {
		if g.Metric == m.name {
			line.Goals = append(line.Goals, judge(g, figures))
		}
	}
	return line
}

// startRow is the start of the process: the median over the entries of a round.
func (s *suite) startRow() row {
	all := map[string]map[int][]float64{}
	for i := range s.runs {
		r := &s.runs[i]
		if r.Failed != "" || r.System != hearth && r.System != plain && r.System != tuned {
			continue
		}
		if all[r.System] == nil {
			all[r.System] = map[int][]float64{}
		}
		all[r.System][r.Round] = append(all[r.System][r.Round], r.ColdStart)
	}
	figures := map[string]byRound{}
	for system, rounds := range all {
		for round, values := range rounds {
			put(figures, system, round, spreadOf(values).Median)
		}
	}
	line := row{Title: "cold start", Metric: coldStart.name, Unit: coldStart.unit}
	line.fill(figures)
	if s.settings.Floor == 0 {
		line.Goals = []verdict{judge(startGoal, figures)}
	}
	return line
}

func put(figures map[string]byRound, system string, round int, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	if figures[system] == nil {
		figures[system] = byRound{}
	}
	figures[system][round] = v
}

func (r *row) fill(figures map[string]byRound) {
	r.Figures, r.Ratios = map[string]spread{}, map[string]spread{}
	for system, values := range figures {
		r.Figures[system] = values.spread()
		if system != hearth {
			if ratios := figures[hearth].over(values); len(ratios) > 0 {
				r.Ratios[system] = ratios.spread()
			}
		}
	}
}

// judge says what came of a goal. One that nothing was measured for is missed.
func judge(g goal, figures map[string]byRound) verdict {
	of := g.Of
	if of == "" {
		of = hearth
	}
	values := figures[of]
	if g.Against != "" {
		values = values.over(figures[g.Against])
	}
	v := verdict{goal: g, Value: values.spread()}
	for _, x := range v.Value.Values {
		if g.met(x) {
			v.Rounds++
		}
	}
	v.Reached = len(v.Value.Values) > 0 && g.met(v.Value.Median)
	return v
}
