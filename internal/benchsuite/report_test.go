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
	chosen, err := choose("single,mixed")
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{settings: settings{Rounds: 2, Threads: 2, Model: "tiny.gguf"}, entries: chosen}
	add := func(name, system string, round int, rate, itl50, itl99, cold float64) {
		s.runs = append(s.runs, run{Entry: name, System: system, Round: round, ColdStart: cold, PeakBytes: 1e6, Wait: 1.5, Summary: loadgen.Summary{
			TokensPerSecond: rate, PromptTokens: 10, WindowMS: 1000, ITL: loadgen.Dist{P50: itl50, P99: itl99, Max: itl99}, TTFT: loadgen.Dist{P50: 1, P99: 1, Max: 1},
		}})
	}
	for round, scale := range []float64{1, 1.5} {
		add("single", hearth, round, 95*scale, 10, 50, 100)
		add("single", lookupOff, round, 100*scale, 9, 5, 100)
		add("single", plain, round, 100*scale, 10, 5, 200)
		add("single", tuned, round, 50*scale, 10, 5, 200)
		add("mixed", hearth, round, 10, 1, 60*scale, 300)
		add("mixed", plain, round, 10, 1, 3000, 400)
		add("mixed", tuned, round, 10, 1, 400, 400)
	}
	s.ceilings = []ceiling{{Entry: "single", TokensPerSecond: 120, StepMS: 9.8}, {Entry: "single", Round: 1, TokensPerSecond: 140, StepMS: 9.9}}
	return s
}

func find(t *testing.T, r *report, entry, metric string) *row {
	t.Helper()
	for i := range r.Rows {
		if r.Rows[i].Entry == entry && r.Rows[i].Metric == metric {
			return &r.Rows[i]
		}
	}
	t.Fatalf("no row %s %s", entry, metric)
	return nil
}

func against(t *testing.T, r *row, system string) *verdict {
	t.Helper()
	for i := range r.Goals {
		if r.Goals[i].Against == system {
			return &r.Goals[i]
		}
	}
	t.Fatalf("row %s %s has no goal against %q", r.Entry, r.Metric, system)
	return nil
}

func TestAssemble(t *testing.T) {
	r := assemble(known(t), machine{}, time.Time{})
	single := find(t, r, "single", throughput.name)
	if single.Ratios[plain].Median != 0.95 || single.Ratios[tuned].Median != 1.9 || single.Figures[hearth].Median != (95+95*1.5)/2 || single.Figures[batchedBench].Median != 130 {
		t.Errorf("one stream: %+v", single)
	}
	for system, reached := range map[string]bool{plain: false, tuned: true, lookupOff: false} {
		if v := against(t, single, system); v.Reached != reached {
			t.Errorf("one stream against %s: %+v, want reached %v", system, v, reached)
		}
	}
	if step := against(t, find(t, r, "single", itl50.name), batchedBench); !step.Reached || step.Rounds != 2 {
		t.Errorf("one stream's step against the ceiling: %+v", step)
	}
	mixed := find(t, r, "mixed", itl99.name)
	if v := against(t, mixed, plain); !v.Reached || math.Abs(v.Value.Max-0.03) > 1e-12 {
		t.Errorf("mixed: %+v; want a ratio of 0.02 to 0.03, which reaches the goal", v)
	}
	if v := against(t, find(t, r, "mixed", turnWait.name), ""); !v.Reached || v.Value.Median != 1.5 {
		t.Errorf("a goal on the figure itself: %+v", v)
	}
	if cold := find(t, r, "", coldStart.name); cold.Figures[hearth].Median != 200 || cold.Ratios[plain].Median != 200.0/300 || !cold.Goals[0].Reached {
		t.Errorf("cold start: %+v; want the median of the scenarios", cold)
	}
}

func TestAGoalThatNothingWasMeasuredForIsMissed(t *testing.T) {
	s := known(t)
	for i := range s.runs {
		if s.runs[i].System == plain {
			s.runs[i].Failed = "it died\nand said so"
		}
	}
	r := assemble(s, machine{}, time.Time{})
	v := against(t, find(t, r, "single", throughput.name), plain)
	if v.Reached || len(v.Value.Values) != 0 || !strings.Contains(v.text(), "nothing measured") {
		t.Errorf("verdict %+v, %q", v, v.text())
	}
	if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "Round 2, single on llama-server: it FAILED and has no figures: it died") {
		t.Errorf("the notes do not tell of the failure:\n%s", notes)
	}
	var b bytes.Buffer
	for _, err := range []error{writeMarkdown(&b, r), writeTerminal(&b, r), writeSVG(&b, r)} {
		if err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(b.String(), "NaN") {
		t.Error("a figure that was not measured is printed as a number")
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
		for _, want := range []string{
			"✗ FALLS SHORT of ≥ 1 of llama-server: 0.95 (0 of 2 rounds)", "✓ reached ≤ 0.0333 of llama-server: 0.025 (2 of 2 rounds)",
			"✗ FALLS SHORT of ≥ 0.98 of hearth, prompt lookup off: 0.95", "✓ reached ≤ 2: 1.50", "0.95×",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the %s table lacks %q:\n%s", name, want, text)
			}
		}
	}
	if !strings.Contains(plot.String(), missed) || strings.Contains(plot.String(), "NaN") || strings.Contains(plot.String(), "Inf") {
		t.Error("the plot lacks the missed goal's colour, or has a point nowhere")
	}
}

func TestNotesTellUnequalWork(t *testing.T) {
	s := known(t)
	s.runs[0].Summary.PromptTokens = 11
	s.runs[2].Summary.Short = 2
	s.runs[0].Summary.Coalesced = 3
	s.runs[3].Noise.Others = 0.7
	s.runs[2].Killed = true
	got := strings.Join(notes(s), "\n")
	for _, want := range []string{"Round 1, single: prompts had 11 tokens on hearth, 10 on llama-server.", "llama-server: 2 answers ended", "hearth: 3 tokens came together", "Round 1, single on llama-server, tuned: other processes used 0.7 CPUs", "Round 1, single on llama-server: it did not end"} {
		if !strings.Contains(got, want) {
			t.Errorf("notes lack %q:\n%s", want, got)
		}
	}
}

func TestSpreadAndRatios(t *testing.T) {
	if s := spreadOf([]float64{3, 1, 2, 10}); s.Median != 2.5 || s.Min != 1 || s.Max != 10 {
		t.Errorf("spread %+v", s)
	}
	got := byRound{0: 1, 1: 2, 2: 3, 4: 1}.over(byRound{0: 2, 1: 0, 2: 1, 3: 1})
	if len(got) != 2 || got[0] != 0.5 || got[2] != 3 {
		t.Errorf("ratios %v: want those of the rounds that both have, with a divisor", got)
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

func TestWaitInTurn(t *testing.T) {
	result := func(requests int, waits ...float64) *loadgen.Result {
		r := &loadgen.Result{Scenario: loadgen.Scenario{Groups: []loadgen.Group{{Name: "endless"}, {Name: "p", Requests: requests}}}}
		r.Samples = append(r.Samples, loadgen.Sample{Group: "endless", Arrivals: []float64{9000}})
		for _, w := range waits {
			r.Samples = append(r.Samples, loadgen.Sample{Group: "p", Start: 5, Arrivals: []float64{5 + w, 6 + w}})
		}
		return r
	}
	// In turn: 100, 200, 300. Answered after 400, 150, 450.
	if got := waitInTurn(result(1, 400, 150, 450), result(3, 100, 100, 100)); got != 2 {
		t.Errorf("waitInTurn = %v, want 400/200", got)
	}
	if got := waitInTurn(result(1), result(3)); !math.IsNaN(got) {
		t.Errorf("waitInTurn of nothing = %v", got)
	}
}

func TestTextsAreCompared(t *testing.T) {
	s := &suite{settings: settings{Rounds: 2}, entries: []entry{{Name: "x", SameText: "other"}}}
	add := func(system string, round int, texts ...string) {
		r := run{Entry: "x", System: system, Round: round, Result: &loadgen.Result{}}
		for i, text := range texts {
			r.Result.Samples = append(r.Result.Samples, loadgen.Sample{Group: "g", Client: i, Text: text})
		}
		s.runs = append(s.runs, r)
	}
	add(hearth, 0, "a", "b")
	add("other", 0, "a", "c")
	add(hearth, 1, "d")
	add("other", 1, "d")
	if got := compareTexts(s); len(got) != 1 || got[0].Answers != 3 || got[0].Differ != 1 {
		t.Errorf("compared %+v, want 1 of 3 to differ", got)
	}
}
