package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hearth/internal/loadgen"
)

// curve is how a figure grows with the load, on each system.
type curve struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	X     string `json:"x"` // what grows
	Y     string `json:"y"`
	Lines []line `json:"lines"`
}

// line is a curve of one system.
type line struct {
	System string  `json:"system"`
	Points []point `json:"points"`
}

// point is the median of the rounds, with all of them.
type point struct {
	X float64 `json:"x"`
	Y spread  `json:"y"`
}

// growthStep is one size of one kind of load.
type growthStep struct {
	entry
	x float64
	// figures go to curves, by the curve's name.
	figures map[string]metric
}

// The curves.
const (
	rateCurve   = "throughput"
	waitCurve   = "ttft"
	stepCurve   = "step"
	memoryCurve = "memory"
)

// curves returns the curves without points.
func curves() []curve {
	return []curve{
		{Name: rateCurve, Title: "Throughput by clients", X: "clients, each with a prompt of its own", Y: "tokens/s"},
		{Name: waitCurve, Title: "Time to the first token by clients", X: "clients, each with a prompt of its own", Y: "TTFT p50, ms"},
		{Name: stepCurve, Title: "Time of a step by cached cells", X: "words of the prompt of one stream", Y: "ITL p50, ms"},
		{Name: memoryCurve, Title: "Memory by context", X: "cells of context, four fifths of them used", Y: "peak resident memory, MB"},
	}
}

// growthSteps returns what is measured, small loads first. most bounds the
// clients.
func growthSteps(s *settings, most int) []growthStep {
	const instruction = "Write a long story in which these appear:"
	chat := func(name string, clients, words, tokens int) loadgen.Scenario {
		return loadgen.Scenario{Name: name, Groups: []loadgen.Group{
			{Name: "clients", Clients: clients, Requests: 1, Instruction: instruction, PromptWords: words, MaxTokens: tokens},
		}}
	}
	var out []growthStep
	for clients := 1; clients <= most; clients *= 2 {
		out = append(out, growthStep{x: float64(clients), figures: map[string]metric{rateCurve: throughput, waitCurve: ttft50}, entry: entry{
			Name: fmt.Sprintf("clients-%d", clients), Scenario: chat("clients", clients, 20, 64),
			Sequences: clients, Context: clients * 512, Untuned: true, Seconds: 6 + float64(clients)/2,
		}})
	}
	for words := 64; words <= s.Context*3/8; words *= 2 {
		out = append(out, growthStep{x: float64(words), figures: map[string]metric{stepCurve: itl50}, entry: entry{
			Name: fmt.Sprintf("depth-%d", words), Scenario: chat("depth", 1, words, 32),
			Sequences: 1, Context: s.Context, Untuned: true, Seconds: 6 + float64(words)/300,
		}})
	}
	for cells := 2048; cells <= s.Context; cells *= 2 {
		// A word is a token and a bit; four clients use up four fifths.
		out = append(out, growthStep{x: float64(cells), figures: map[string]metric{memoryCurve: peakMemory}, entry: entry{
			Name: fmt.Sprintf("context-%d", cells), Scenario: chat("context", 4, cells/4*2/3, 16),
			Sequences: 4, Context: cells, Untuned: true, Seconds: 6 + float64(cells)/400,
		}})
	}
	return out
}

// grow measures the curves of Hearth and llama-server and writes them.
func (s *suite) grow(ctx context.Context) ([]curve, error) {
	steps := growthSteps(&s.settings, s.clients)
	if s.settings.Quick {
		for i := range steps {
			steps[i].Scenario = tiny(steps[i].Scenario)
		}
	}
	// The sizes are each step's own, not the suite's.
	s.settings.Context, s.settings.Sequences = 1, 1
	for i := range steps {
		s.entries = append(s.entries, steps[i].entry)
	}
	if err := s.measure(ctx); err != nil {
		return nil, err
	}
	out := curves()
	for i := range out {
		for _, system := range []string{hearth, plain} {
			l := line{System: system}
			for k := range steps {
				if m, ok := steps[k].figures[out[i].Name]; ok {
					figures := s.row(&steps[k].entry, m).Figures
					if f, measured := figures[system]; measured {
						l.Points = append(l.Points, point{X: steps[k].x, Y: f})
					}
				}
			}
			out[i].Lines = append(out[i].Lines, l)
		}
	}
	return out, nil
}

// growth is what growth.json holds.
type growth struct {
	Version  int       `json:"version"`
	Begin    time.Time `json:"begin"`
	End      time.Time `json:"end"`
	Machine  machine   `json:"machine"`
	Settings settings  `json:"settings"`
	Curves   []curve   `json:"curves"`
	Runs     []run     `json:"runs"`
	Notes    []string  `json:"notes"`
}

// executeGrowth measures and writes the curves.
func (s *suite) executeGrowth(ctx context.Context) error {
	asked := s.settings
	m, finish, err := s.prepare([]string{s.settings.Model})
	if err != nil {
		return err
	}
	defer finish()
	made, err := s.grow(ctx)
	if err != nil {
		return err
	}
	g := growth{Version: 1, Begin: s.begun, End: time.Now(), Machine: m, Settings: asked, Curves: made, Runs: s.runs, Notes: notes(s)}
	for i := range made {
		if err := writeFile(filepath.Join(s.dir, made[i].Name+".svg"), func(w io.Writer) error { return writeCurve(w, &made[i], &g) }); err != nil {
			return err
		}
	}
	return errors.Join(
		writeFile(filepath.Join(s.dir, "growth.json"), func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", " ")
			return e.Encode(&g)
		}),
		writeFile(filepath.Join(s.dir, "growth.md"), func(w io.Writer) error { return writeGrowth(w, &g) }),
	)
}

// writeGrowth writes growth.md: a plot and a table of each curve.
func writeGrowth(w io.Writer, g *growth) error {
	var b strings.Builder
	b.WriteString("# How cost grows\n\n")
	if g.Settings.Quick {
		b.WriteString("**A quick run, which shows only that it works: its figures mean nothing.**\n\n")
	}
	fmt.Fprintf(&b, "%s of %s with %s on %s; %s, %s to %s. Medians with least–most.\n", count(g.Settings.Rounds, "round"), filepath.Base(g.Settings.Model),
		count(g.Settings.Threads, "thread"), g.Machine.CPU, g.Machine.HearthText, g.Begin.Format(time.DateTime), g.End.Format(time.DateTime))
	for i := range g.Curves {
		c := &g.Curves[i]
		fmt.Fprintf(&b, "\n## %s\n\n![%s](%s.svg)\n\n| %s |", c.Title, c.Title, c.Name, c.X)
		rows := map[float64]map[string]spread{}
		var order []float64
		for _, l := range c.Lines {
			fmt.Fprintf(&b, " %s, %s |", l.System, c.Y)
			for _, p := range l.Points {
				if rows[p.X] == nil {
					rows[p.X] = map[string]spread{}
					order = append(order, p.X)
				}
				rows[p.X][l.System] = p.Y
			}
		}
		b.WriteString("\n|" + strings.Repeat("---|", len(c.Lines)+1) + "\n")
		for _, x := range order {
			fmt.Fprintf(&b, "| %.0f |", x)
			for _, l := range c.Lines {
				fmt.Fprintf(&b, " %s |", figures(rows[x][l.System]))
			}
			b.WriteString("\n")
		}
	}
	if len(g.Notes) > 0 {
		b.WriteString("\n## Notes\n\n")
		for _, n := range g.Notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeFile writes one file of a report.
func writeFile(path string, form func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := errors.Join(form(f), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
