package main

import (
	"fmt"
	"html"
	"io"
	"math"
	"path/filepath"
	"strings"
)

// Measures of a curve's plot in pixels.
const (
	curveWidth  = 720
	curveHeight = 420
	curveLeft   = 80
	curveRight  = curveWidth - 30
	curveTop    = 90
	curveBottom = curveHeight - 60
)

// colors of the systems in plots of curves.
var colors = map[string]string{hearth: "#2f6fb3", plain: "#b7791f"}

// writeCurve plots the curve of each system, with the least and the most of the
// rounds as whiskers: the load on a logarithmic axis, the figure from zero on.
func writeCurve(w io.Writer, c *curve, g *growth) error {
	low, high, top := math.Inf(1), math.Inf(-1), 0.0
	for _, l := range c.Lines {
		for _, p := range l.Points {
			low, high, top = min(low, p.X), max(high, p.X), max(top, p.Y.Max)
		}
	}
	if math.IsInf(low, 0) || top <= 0 {
		low, high, top = 1, 2, 1 // nothing was measured: empty axes
	}
	if low == high {
		high = low * 2
	}
	top *= 1.08
	x := func(v float64) float64 {
		return curveLeft + (math.Log(v)-math.Log(low))/(math.Log(high)-math.Log(low))*(curveRight-curveLeft)
	}
	y := func(v float64) float64 { return curveBottom - v/top*(curveBottom-curveTop) }

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img">`+"\n", curveWidth, curveHeight, curveWidth, curveHeight)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(c.Title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", curveWidth, curveHeight)
	text(&b, 16, 26, "start", "16", "#1b1b1b", c.Title)
	text(&b, 16, 46, "start", "12", "#555555", fmt.Sprintf("%s; %s on %s, %s, %s", c.Y, count(g.Settings.Rounds, "round"), g.Machine.CPU,
		count(g.Settings.Threads, "thread"), filepath.Base(g.Settings.Model)))
	for _, tick := range steps(top) {
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#e3e3e3"/>`+"\n", curveLeft, y(tick), curveRight, y(tick))
		text(&b, curveLeft-8, y(tick)+4, "end", "12", "#555555", fmt.Sprintf("%g", tick))
	}
	labelled := map[float64]bool{}
	at := 16.0
	for _, l := range c.Lines {
		color := colors[l.System]
		fmt.Fprintf(&b, `<line x1="%.1f" y1="66" x2="%.1f" y2="66" stroke="%s" stroke-width="3"/>`+"\n", at, at+20, color)
		text(&b, at+26, 70, "start", "12", "#1b1b1b", l.System)
		at += 60 + 7*float64(len(l.System))
		var path []string
		for _, p := range l.Points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x(p.X), y(p.Y.Median)))
			fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x(p.X), y(p.Y.Min), x(p.X), y(p.Y.Max), color)
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x(p.X), y(p.Y.Median), color)
			if !labelled[p.X] {
				labelled[p.X] = true
				text(&b, x(p.X), curveBottom+18, "middle", "12", "#555555", fmt.Sprintf("%.0f", p.X))
			}
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(path, " "), color)
	}
	text(&b, (curveLeft+curveRight)/2, curveHeight-18, "middle", "12", "#555555", c.X)
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// steps returns about five round numbers from zero to top.
func steps(top float64) []float64 {
	unit := math.Pow(10, math.Floor(math.Log10(top/5)))
	for _, times := range []float64{1, 2, 5, 10} {
		if top/(unit*times) <= 6 {
			unit *= times
			break
		}
	}
	var out []float64
	for v := 0.0; v <= top; v += unit {
		out = append(out, v)
	}
	return out
}
