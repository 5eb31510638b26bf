package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSystems holds what each system is told.
func TestSystems(t *testing.T) {
	s := settings{Hearth: "hearth", Yardstick: "y", Model: "models/SmolLM2-135M.gguf", Embedder: "e.gguf", Context: 100, Sequences: 8, Threads: 2}
	told := func(system, name string) string {
		t.Helper()
		chosen, err := choose(name)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		argv, config, err := s.command(system, &chosen[0], 7, &place{dir: dir, data: "/d"})
		if err != nil {
			t.Fatal(err)
		}
		if isHearth(&chosen[0], system) {
			raw, err := os.ReadFile(filepath.Join(dir, "hearth.yaml"))
			if err != nil || !strings.HasSuffix(string(raw), config) {
				t.Errorf("%s of %s: the configuration file is %q, %v; want it to end in %q", system, name, raw, err, config)
			}
		}
		return strings.ReplaceAll(strings.Join(argv, " "), dir, "DIR") + "\n" + config
	}
	tests := []struct{ system, entry, want string }{
		{hearth, "single", "hearth serve --config DIR/hearth.yaml --model models/SmolLM2-135M.gguf --listen 127.0.0.1:7 --context 100 --sequences 8 --threads 2\n"},
		{lookupOff, "single", "engine: {prompt_lookup: {off: true}}\n"},
		{hearth, "shared-prefix-32", "--context 40960 --sequences 32"},
		{plain, "parallel", "y/llama-server -m models/SmolLM2-135M.gguf --host 127.0.0.1 --port 7 -c 100 -np 8 -t 2\n"},
		{plain, "shared-prefix-32", "-c 40960 -np 32"},
		{tuned, "mixed", "--cache-ram 0 -b 128 -ub 128"},
		{plain, "memory", "-t 2 --cache-ram 512\n"},
		{tuned, "memory", "-t 2 --cache-ram 512\n"},
		{plain, "tools", "--jinja --chat-template-file DIR/smollm2-tools.jinja"},
		{plain, "embed", "-m e.gguf"},
	}
	for _, tt := range tests {
		if got := told(tt.system, tt.entry); !strings.Contains(got, tt.want) {
			t.Errorf("%s in %s is told\n%s\nwant\n%s", tt.system, tt.entry, got, tt.want)
		}
	}
	s.Model, s.Tuning = "gemma-3-270m.Q4.gguf", []string{"-ub", "9"}
	if got := told(hearth, "parallel"); !strings.Contains(got, "--model bench") || !strings.Contains(got, `chat_template: "`) {
		t.Errorf("Hearth gets no template for a model without one: %s", got)
	}
	if got := told(tuned, "parallel"); !strings.Contains(got, "DIR/gemma.jinja -ub 9\n") {
		t.Errorf("the tuned one is told %s", got)
	}
}

func TestFloorReplacesTheGoals(t *testing.T) {
	flags, self := fakes(t, "-floor", "1", "-only", "mixed,parallel,restart")
	s, err := parse(flags, self, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.entries[0].Goals, (goal{Metric: itl99.name, Against: plain, Bound: 1}); len(got) != 1 || got[0] != want {
		t.Errorf("goals of mixed %+v, want %+v", got, want)
	}
	if got, want := s.entries[1].Goals, (goal{Metric: throughput.name, Against: plain, Bound: 1, More: true}); len(got) != 1 || got[0] != want {
		t.Errorf("goals of parallel %+v, want %+v", got, want)
	}
	if got, want := s.entries[2].Goals, (goal{Metric: warmTTFT.name, Of: onDisk, Against: plain, Bound: 1}); len(got) != 1 || got[0] != want {
		t.Errorf("goals of restart %+v, want %+v", got, want)
	}
}

// TestCatalog holds that every entry can be judged.
func TestCatalog(t *testing.T) {
	all, err := entries()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for i := range all {
		e := &all[i]
		if names[e.Name] || len(e.Shown) == 0 || e.Seconds <= 0 {
			t.Errorf("%s: is named twice, or shows nothing, or takes no time", e.Name)
		}
		names[e.Name] = true
		systems := append(e.systems(0), "")
		if e.Ceiling {
			systems = append(systems, batchedBench)
		}
		for _, g := range e.Goals {
			if !slices.ContainsFunc(e.Shown, func(m metric) bool { return m.name == g.Metric }) {
				t.Errorf("%s: a goal on %q, which is not shown", e.Name, g.Metric)
			}
			if !slices.Contains(systems, g.Against) || g.Of != "" && !slices.Contains(systems, g.Of) {
				t.Errorf("%s: a goal of %q against %q, which are not all measured", e.Name, g.Of, g.Against)
			}
		}
		if e.SameText != "" && !slices.Contains(systems, e.SameText) {
			t.Errorf("%s: compares texts with %q, which is not measured", e.Name, e.SameText)
		}
	}
}

func TestOrderFavoursNobody(t *testing.T) {
	e := entry{Variants: []variant{{Name: "v"}}}
	if !slices.Equal(e.systems(0), []string{hearth, "v", plain, tuned}) || !slices.Equal(e.systems(1), []string{tuned, plain, "v", hearth}) {
		t.Errorf("orders %v and %v", e.systems(0), e.systems(1))
	}
}
