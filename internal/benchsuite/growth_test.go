package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wellFormed fails for what is no XML.
func wellFormed(t *testing.T, name string, r io.Reader) {
	t.Helper()
	for d := xml.NewDecoder(r); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s is no XML: %v", name, err)
		}
	}
}

func TestGrowthMeasuresEverySize(t *testing.T) {
	flags, self := fakes(t, "-quick", "-growth", "2", "-context", "2048")
	var status bytes.Buffer
	s, err := parse(flags, self, &status)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.executeGrowth(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, status.String())
	}
	raw, err := os.ReadFile(filepath.Join(s.dir, "growth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g growth
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	// Clients 1 and 2; 64, 128, 256, 512 words; 2,048 cells.
	want := map[string]int{rateCurve: 2, waitCurve: 2, stepCurve: 4, memoryCurve: 1}
	if len(g.Curves) != len(want) || g.Settings.Context != 2048 {
		t.Errorf("%d curves of a context of %d", len(g.Curves), g.Settings.Context)
	}
	for _, c := range g.Curves {
		if len(c.Lines) != 2 {
			t.Errorf("%s has %d lines, want Hearth's and llama-server's", c.Name, len(c.Lines))
		}
		for _, l := range c.Lines {
			if len(l.Points) != want[c.Name] {
				t.Errorf("%s of %s has %d points, want %d", c.Name, l.System, len(l.Points), want[c.Name])
			}
			for _, p := range l.Points {
				if p.X <= 0 || p.Y.Median <= 0 && c.Name != stepCurve {
					t.Errorf("%s of %s at %g is %g", c.Name, l.System, p.X, p.Y.Median)
				}
			}
		}
		plot, err := os.Open(filepath.Join(s.dir, c.Name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		defer plot.Close()
		wellFormed(t, plot.Name(), plot)
	}
	page, err := os.ReadFile(filepath.Join(s.dir, "growth.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Memory by context", "| 2048 |", "hearth, tokens/s", "(ttft.svg)"} {
		if !strings.Contains(string(page), part) {
			t.Errorf("growth.md lacks %q", part)
		}
	}
}

func TestCurvesOfAnything(t *testing.T) {
	at := func(x, y float64) point { return point{X: x, Y: spreadOf([]float64{y, y * 2})} }
	for name, lines := range map[string][]line{
		"nothing":   nil,
		"one point": {{System: hearth, Points: []point{at(8, 3)}}},
		"zeros":     {{System: plain, Points: []point{at(1, 0), at(2, 0)}}},
		"many":      {{System: hearth, Points: []point{at(1, 0.001), at(64, 123456)}}, {System: plain}},
	} {
		var b bytes.Buffer
		if err := writeCurve(&b, &curve{Title: "a < b", Lines: lines}, &growth{}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
			t.Errorf("%s: a point lies nowhere:\n%s", name, b.String())
		}
		if strings.Count(b.String(), "<text") > 40 {
			t.Errorf("%s: %d texts", name, strings.Count(b.String(), "<text"))
		}
		wellFormed(t, name, &b)
	}
}

func TestGrowthSteps(t *testing.T) {
	all := growthSteps(&settings{Context: 16384}, 64)
	names := map[string]bool{}
	for i := range all {
		step := &all[i]
		group := step.Scenario.Groups[0]
		// A word is at most one and a half tokens, the chat template some more.
		need := group.Clients * (group.PromptWords*3/2 + 60 + group.MaxTokens)
		if step.Name != "" && names[step.Name] || len(step.figures) == 0 || need > step.Context*5/4 {
			t.Errorf("%s: needs about %d of %d cells", step.Name, need, step.Context)
		}
		names[step.Name] = true
	}
	for _, want := range []string{"clients-64", "depth-4096", "context-16384"} {
		if !names[want] {
			t.Errorf("no step %s", want)
		}
	}
}
