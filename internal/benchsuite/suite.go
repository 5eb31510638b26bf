package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"hearth/internal/loadgen"
)

// run is one scenario on one freshly started server.
type run struct {
	Scenario  string          `json:"scenario"`
	System    string          `json:"system"`
	Round     int             `json:"round"`
	Command   []string        `json:"command"`
	Load      string          `json:"load_before"` // load averages just before the start
	ColdStart float64         `json:"cold_start_ms"`
	PeakBytes int64           `json:"peak_bytes"`
	Noise     noise           `json:"noise"`
	Killed    bool            `json:"killed,omitempty"` // it did not end when it was told to, after the measurement
	Summary   loadgen.Summary `json:"summary"`
	// Result holds the raw samples; they go to raw.jsonl, not to the report.
	Result *loadgen.Result `json:"-"`
}

// suite is one comparison.
type suite struct {
	settings  settings
	scenarios []loadgen.Scenario
	self      string // this program, as a load generator
	dir       string // where the report goes
	status    io.Writer
	raw       io.Writer

	runs     []run
	ceilings []ceiling
	step     int
	steps    int
	begun    time.Time
}

// measure runs all rounds.
func (s *suite) measure(ctx context.Context) error {
	s.begun = time.Now()
	s.steps = s.settings.Rounds * len(s.scenarios) * (len(systems) + 1)
	for round := range s.settings.Rounds {
		for _, scenario := range s.scenarios {
			seed := s.settings.Seed + uint64(round)
			var lengths []string
			for _, system := range order(round) {
				r, err := s.one(ctx, system, scenario, round, seed)
				if err != nil {
					return fmt.Errorf("round %d, %s on %s: %w", round+1, scenario.Name, system, err)
				}
				s.runs = append(s.runs, r)
				if err := s.keep(r); err != nil {
					return err
				}
				if system == plain {
					lengths = ceilingArgs(r.Result, r.Summary)
				}
			}
			if err := s.ceiling(ctx, scenario, round, lengths); err != nil {
				return err
			}
		}
	}
	return nil
}

// one starts a server, measures its cold start, warms it up, runs the scenario,
// reads its peak memory and stops it.
func (s *suite) one(ctx context.Context, system string, scenario loadgen.Scenario, round int, seed uint64) (r run, err error) {
	s.progress(round, scenario.Name, system, "starting")
	port, err := freePort()
	if err != nil {
		return r, err
	}
	r = run{Scenario: scenario.Name, System: system, Round: round, Load: loadAverage()}
	if r.Command, err = s.settings.command(system, scenario, port); err != nil {
		return r, err
	}
	log := filepath.Join(s.dir, "logs", fileName(fmt.Sprintf("%s-%s-%d.log", scenario.Name, system, round+1)))
	server, err := startServer(r.Command, port, log)
	if err != nil {
		return r, err
	}
	defer func() {
		switch stopped := server.stop(); {
		case stopped == nil:
		case err == nil && system != hearth:
			// What a yardstick does after its last answer was not measured.
			r.Killed = true
		default:
			err = errors.Join(err, stopped)
		}
	}()

	cold, err := firstToken(ctx, server, scenario.Embeds(), seed)
	if err != nil {
		return r, err
	}
	r.ColdStart = float64(cold.Microseconds()) / 1000
	target := loadgen.Target{URL: server.url}
	if err := target.Discover(ctx, loadgen.NewHTTPClient()); err != nil {
		return r, err
	}
	if len(target.EndTokens) == 0 && !scenario.Embeds() {
		return r, errors.New("the server did not say which tokens end an answer, so answers would have different lengths")
	}
	if _, _, err := load(ctx, s.self, job{Target: target, Scenario: warmUp(s.settings.Sequences, scenario.Embeds()), Seed: seed}, io.Discard); err != nil {
		return r, fmt.Errorf("warm up: %w", err)
	}
	status := lineFunc(func(line string) { s.progress(round, scenario.Name, system, line) })
	listen, err := watchNoise(server)
	if err != nil {
		return r, err
	}
	var generator *exec.Cmd
	if r.Result, generator, err = load(ctx, s.self, job{Target: target, Scenario: scenario, Seed: seed}, status); err != nil {
		return r, err
	}
	if r.Noise, err = listen(generator); err != nil {
		return r, err
	}
	r.Summary = loadgen.Summarize(r.Result)
	if r.PeakBytes, err = server.peak(); err != nil {
		return r, err
	}
	return r, server.dead()
}

// warmUp touches every sequence once with words that no scenario has.
func warmUp(sequences int, embeds bool) loadgen.Scenario {
	if embeds {
		return loadgen.Scenario{Name: "warm-up", Groups: []loadgen.Group{{Name: "clients", Clients: sequences, Requests: 2, PromptWords: 40, Texts: 2}}}
	}
	return loadgen.Scenario{Name: "warm-up", Groups: []loadgen.Group{
		{Name: "clients", Clients: sequences, Requests: 1, Instruction: "Say something about:", PromptWords: 5, MaxTokens: 4},
	}}
}

func (s *suite) ceiling(ctx context.Context, scenario loadgen.Scenario, round int, lengths []string) error {
	s.progress(round, scenario.Name, "llama-batched-bench", "")
	if lengths == nil {
		return nil
	}
	c, err := measureCeiling(ctx, s.settings, scenario.Name, round, lengths)
	if err != nil {
		return err
	}
	s.ceilings = append(s.ceilings, c)
	return nil
}

// keep appends a run with all its samples to raw.jsonl.
func (s *suite) keep(r run) error {
	raw, err := json.Marshal(struct {
		run
		Result *loadgen.Result `json:"result"`
	}{r, r.Result})
	if err != nil {
		return fmt.Errorf("encode samples: %w", err)
	}
	if _, err := s.raw.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("write samples: %w", err)
	}
	return nil
}

// progress prints one line for each step, and on a terminal also what goes on in it.
func (s *suite) progress(round int, scenario, system, detail string) {
	fresh := detail == "starting" || detail == ""
	if fresh {
		s.step++
	}
	line := fmt.Sprintf("[%d/%d] round %d/%d  %-14s %-20s", s.step, s.steps, round+1, s.settings.Rounds, scenario, system)
	elapsed := time.Since(s.begun).Round(time.Second)
	switch {
	case isTerminal(s.status):
		fmt.Fprintf(s.status, "\r\x1b[K%s %s  %s", line, detail, elapsed)
	case fresh:
		fmt.Fprintf(s.status, "%s  %s\n", line, elapsed)
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// lineFunc is a writer that calls itself for the last whole line of each write.
type lineFunc func(line string)

func (f lineFunc) Write(p []byte) (int, error) {
	lines := strings.Split(strings.TrimRight(string(p), "\n"), "\n")
	var done, total int
	if n, _ := fmt.Sscanf(lines[len(lines)-1], "%d %d", &done, &total); n == 2 {
		f(fmt.Sprintf("%d of %d requests", done, total))
	}
	return len(p), nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9.-]+`)

func fileName(s string) string { return notInNames.ReplaceAllString(s, "-") }
