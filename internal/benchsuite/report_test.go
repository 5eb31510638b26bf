package main

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"hearth/internal/loadgen"
)

// known is a suite of two rounds with figures that can be checked by hand.
func known(t *testing.T) *suite {
	t.Helper()
	scenario, err := loadgen.Find("mixed")
	if err != nil {
		t.Fatal(err)
	}
	single, err := loadgen.Find("single")
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{settings: settings{Rounds: 2, Threads: 2, Model: "tiny.gguf"}, scenarios: []loadgen.Scenario{single, scenario}}
	add := func(name, system string, round int, rate, itl99, cold float64, peak int64) {
		s.runs = append(s.runs, run{Scenario: name, System: system, Round: round, ColdStart: cold, PeakBytes: peak, Summary: loadgen.Summary{
			TokensPerSecond: rate, PromptTokens: 10, ITL: loadgen.Dist{P50: 1, P99: itl99, Max: itl99}, TTFT: loadgen.Dist{P50: 1, P99: 1, Max: 1},
		}})
	}
	for round, scale := range []float64{1, 1.5} {
		add("single", hearth, round, 95*scale, 5, 100, 400e6)
		add("single", plain, round, 100*scale, 5, 200, 800e6)
		add("single", tuned, round, 50*scale, 5, 200, 500e6)
		add("mixed", hearth, round, 10, 100*scale, 300, 600e6)
		add("mixed", plain, round, 10, 2000, 400, 900e6)
		add("mixed", tuned, round, 10, 400, 400, 600e6)
	}
	s.ceilings = []ceiling{{Scenario: "single", TokensPerSecond: 120}, {Scenario: "single", Round: 1, TokensPerSecond: 140}}
	return s
}

func find(t *testing.T, r *report, scenario, metric string) row {
	t.Helper()
	for _, row := range r.Rows {
		if row.Scenario == scenario && row.Metric == metric {
			return row
		}
	}
	t.Fatalf("no row %s %s", scenario, metric)
	return row{}
}

func TestAssemble(t *testing.T) {
	r := assemble(known(t), machine{}, time.Time{})
	single := find(t, r, "single", throughput.name)
	if single.ToPlain.Median != 0.95 || single.ToTuned.Median != 1.9 || single.Hearth.Median != (95+95*1.5)/2 || single.Ceiling.Median != 130 {
		t.Errorf("one stream: %+v", single)
	}
	if single.Reached == nil || *single.Reached {
		t.Error("0.95 was taken for at least 0.97")
	}
	mixed := find(t, r, "mixed", itl99.name)
	if mixed.Reached == nil || !*mixed.Reached || math.Abs(mixed.ToPlain.Max-0.075) > 1e-12 {
		t.Errorf("mixed: %+v; want a ratio of 0.05 to 0.075, which reaches the goal", mixed)
	}
	if cold := find(t, r, "", coldStart.name); cold.Hearth.Median != 200 || cold.ToPlain.Median != 200.0/300 {
		t.Errorf("cold start: %+v; want the median of the scenarios", cold)
	}
	if peak := find(t, r, "", peakMemory.name); peak.Hearth.Median != 600 || peak.Plain.Median != 900 {
		t.Errorf("peak memory: %+v; want the largest of the scenarios", peak)
	}
}

func TestMissedGoalsStayAndAreMarked(t *testing.T) {
	r := assemble(known(t), machine{}, time.Time{})
	var markdown, terminal, plot bytes.Buffer
	for _, err := range []error{writeMarkdown(&markdown, r), writeTerminal(&terminal, r), writeSVG(&plot, r)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"markdown": markdown.String(), "terminal": terminal.String()} {
		for _, want := range []string{"✗ FALLS SHORT of ≥ 0.97 (0 of 2 rounds)", "✓ reached ≤ 0.1 (2 of 2 rounds)", "0.95×"} {
			if !strings.Contains(text, want) {
				t.Errorf("the %s table lacks %q:\n%s", name, want, text)
			}
		}
	}
	if !strings.Contains(plot.String(), "#c0392b") || strings.Contains(plot.String(), "NaN") || strings.Contains(plot.String(), "Inf") {
		t.Error("the plot lacks the missed goal's colour, or has a point nowhere")
	}
}

func TestNotesTellUnequalWork(t *testing.T) {
	s := known(t)
	s.runs[0].Summary.PromptTokens = 11
	s.runs[1].Summary.Short = 2
	s.runs[0].Summary.Coalesced = 3
	s.runs[2].Noise.Others = 0.7
	s.runs[1].Killed = true
	got := strings.Join(notes(s), "\n")
	for _, want := range []string{"Round 1, single: prompts had 11 tokens on hearth, 10 on llama-server", "llama-server: 2 answers ended", "hearth: 3 tokens came together", "Round 1, single on llama-server, tuned: other processes used 0.7 CPUs", "Round 1, single on llama-server: it did not end"} {
		if !strings.Contains(got, want) {
			t.Errorf("notes lack %q:\n%s", want, got)
		}
	}
}

func TestSpreadAndRatios(t *testing.T) {
	if s := spreadOf([]float64{3, 1, 2, 10}); s.Median != 2.5 || s.Min != 1 || s.Max != 10 {
		t.Errorf("spread %+v", s)
	}
	if got := ratios([]float64{1, 2, 3}, []float64{2, 0, 1}); len(got) != 2 || got[0] != 0.5 || got[1] != 3 {
		t.Errorf("ratios %v: want those of the rounds with a divisor", got)
	}
}

func TestParseCPUTimes(t *testing.T) {
	got, err := parseStat("cpu  100 20 30 4000 50 6 7 80 0 0")
	if err != nil || math.Abs(got.Busy-1.63) > 1e-9 || got.Steal != 0.8 {
		t.Errorf("parseStat = %+v, %v; want 1.63 s busy, 0.8 s stolen", got, err)
	}
	seconds, err := parseProcessStat("7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20\n")
	if err != nil || seconds != 2 {
		t.Errorf("parseProcessStat = %v, %v; want 2 s", seconds, err)
	}
	for _, bad := range []string{"", "cpu 1 2", "cpu a b c d e f g h", "intr 1 2 3 4 5 6 7 8 9"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("parseStat(%q) was accepted", bad)
		}
		if _, err := parseProcessStat(bad); err == nil {
			t.Errorf("parseProcessStat(%q) was accepted", bad)
		}
	}
}

func TestParseMachine(t *testing.T) {
	name, virtual := parseCPU("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nflags\t\t: fpu hypervisor avx\n")
	if name != "A CPU @ 2 GHz" || !virtual {
		t.Errorf("parseCPU = %q, %v", name, virtual)
	}
	if got := parseRelease("NAME=x\nPRETTY_NAME=\"Some Linux 12\"\n"); got != "Some Linux 12" {
		t.Errorf("parseRelease = %q", got)
	}
}
