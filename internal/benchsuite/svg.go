package main

import (
	"fmt"
	"html"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
)

// Measures of the plot in pixels.
const (
	plotWidth  = 900
	labelWidth = 330
	rightEdge  = plotWidth - 40
	rowHeight  = 30
	topMargin  = 104
)

// Colours of rows whose goals were all met, and of the others that have goals.
const (
	met    = "#1a7f4b"
	missed = "#c0392b"
)

// gain is how many times better Hearth is: above 1 it is ahead, whichever way
// the figure counts.
func gain(ratio float64, more bool) float64 {
	if more {
		return ratio
	}
	return 1 / ratio
}

// writeSVG plots, for each row and round, how many times better Hearth was than
// llama-server as it comes (full dots) and tuned (rings), with the medians as
// bars and the goals as marks, on a logarithmic axis.
func writeSVG(w io.Writer, r *report) error {
	low, high := 0.5, 2.0
	rows := r.compared()
	for _, row := range rows {
		for _, v := range append(slices.Clone(row.Ratios[plain].Values), row.Ratios[tuned].Values...) {
			if g := gain(v, row.More); g > 0 && !math.IsInf(g, 0) {
				low, high = min(low, g), max(high, g)
			}
		}
		if g := row.plainGoal(); g != nil {
			high = max(high, gain(g.Bound, row.More))
		}
	}
	low, high = low/1.15, high*1.15
	x := func(g float64) float64 {
		return labelWidth + (math.Log(g)-math.Log(low))/(math.Log(high)-math.Log(low))*(rightEdge-labelWidth)
	}
	height := topMargin + rowHeight*len(rows) + 40
	bottom := topMargin + rowHeight*len(rows)

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img">`+"\n", plotWidth, height, plotWidth, height)
	fmt.Fprintf(&b, "<title>Hearth against llama-server, by round</title>\n")
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", plotWidth, height)
	text(&b, 16, 26, "start", "16", "#1b1b1b", "How many times better than llama-server, by round")
	text(&b, 16, 46, "start", "12", "#555555", fmt.Sprintf("right of 1×: Hearth ahead; %s on %s, %s, %s", count(r.Settings.Rounds, "round"), r.Machine.CPU, count(r.Settings.Threads, "thread"), filepath.Base(r.Settings.Model)))
	legend(&b)
	for _, tick := range ticks(low, high) {
		color, width := "#e3e3e3", 1.0
		if tick == 1 {
			color, width = "#555555", 1.5
		}
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s" stroke-width="%.1f"/>`+"\n", x(tick), topMargin-6, x(tick), bottom, color, width)
		text(&b, x(tick), float64(bottom+18), "middle", "12", "#555555", fmt.Sprintf("%g×", tick))
	}
	for i, row := range rows {
		drawRow(&b, row, float64(topMargin+rowHeight*i)+rowHeight/2, x)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// compared returns the rows that have a ratio to llama-server.
func (r *report) compared() []*row {
	var out []*row
	for i := range r.Rows {
		if len(r.Rows[i].Ratios[plain].Values) > 0 {
			out = append(out, &r.Rows[i])
		}
	}
	return out
}

// plainGoal returns the goal against llama-server as it comes; nil if there is none.
func (r *row) plainGoal() *verdict {
	for i := range r.Goals {
		if r.Goals[i].Against == plain && r.Goals[i].Of == "" {
			return &r.Goals[i]
		}
	}
	return nil
}

func drawRow(b *strings.Builder, row *row, y float64, x func(float64) float64) {
	name := row.Entry
	if name == "" {
		name = row.Title
	}
	text(b, labelWidth-14, y+4, "end", "12", "#1b1b1b", name+": "+row.Metric)
	color := "#2f6fb3"
	for i := range row.Goals {
		if color != missed {
			color = met
		}
		if !row.Goals[i].Reached {
			color = missed
		}
	}
	if g := row.plainGoal(); g != nil {
		at := x(gain(g.Bound, row.More))
		fmt.Fprintf(b, `<path d="M%.1f %.1f l5 -7 h-10 z" fill="#b7791f"/>`+"\n", at, y-4)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#b7791f" stroke-width="1.5"/>`+"\n", at, y-5, at, y+11)
	}
	for _, v := range row.Ratios[tuned].Values {
		if g := gain(v, row.More); g > 0 && !math.IsInf(g, 0) {
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="none" stroke="#8a8a8a"/>`+"\n", x(g), y+4)
		}
	}
	for _, v := range row.Ratios[plain].Values {
		if g := gain(v, row.More); g > 0 && !math.IsInf(g, 0) {
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s" fill-opacity="0.55"/>`+"\n", x(g), y-3, color)
		}
	}
	if len(row.Ratios[plain].Values) > 0 && row.Ratios[plain].Median > 0 {
		at := x(gain(row.Ratios[plain].Median, row.More))
		fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="3"/>`+"\n", at, y-9, at, y+4, color)
	}
}

func legend(b *strings.Builder) {
	dot := func(x, y float64, fill, stroke, label string) {
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s" fill-opacity="0.55" stroke="%s"/>`+"\n", x, y-4, fill, stroke)
		text(b, x+10, y, "start", "11", "#555555", label)
	}
	dot(22, 66, "#2f6fb3", "none", "against llama-server as it comes (bar: median; green: goal reached, red: goal missed)")
	dot(22, 84, "none", "#8a8a8a", "against llama-server tuned for the scenario")
	fmt.Fprintf(b, `<path d="M302 %d l5 -7 h-10 z" fill="#b7791f"/>`+"\n", 84)
	text(b, 312, 84, "start", "11", "#555555", "goal")
}

func text(b *strings.Builder, x, y float64, anchor, size, color, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%s" fill="%s">%s</text>`+"\n", x, y, anchor, size, color, html.EscapeString(s))
}

// ticks returns the round numbers of a logarithmic axis.
func ticks(low, high float64) []float64 {
	var out []float64
	for exponent := math.Floor(math.Log10(low)); exponent <= math.Ceil(math.Log10(high)); exponent++ {
		for _, digit := range []float64{1, 2, 5} {
			if v := digit * math.Pow(10, exponent); v >= low && v <= high {
				out = append(out, v)
			}
		}
	}
	return out
}
