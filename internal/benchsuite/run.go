package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"hearth/internal/loadgen"
)

// run is one entry on one system, which is started for it.
type run struct {
	Entry     string   `json:"scenario"`
	System    string   `json:"system"`
	Round     int      `json:"round"`
	Command   []string `json:"command"`
	Config    string   `json:"config,omitempty"` // of a Hearth that has more than its flags
	Load      string   `json:"load_before"`      // load averages just before the start
	Seconds   float64  `json:"seconds"`          // in all
	Failed    string   `json:"failed,omitempty"` // why there are no figures
	ColdStart float64  `json:"cold_start_ms"`
	PeakBytes int64    `json:"peak_bytes"`
	Noise     noise    `json:"noise"`
	Killed    bool     `json:"killed,omitempty"` // it did not end when it was told to, after the measurement
	// Wait is the longest wait of a prompt, of alone in its turn; of entries with
	// such a phase.
	Wait    float64                    `json:"longest_wait_of_alone,omitempty"`
	Summary loadgen.Summary            `json:"summary"`
	Phases  map[string]loadgen.Summary `json:"phases,omitempty"` // the further ones
	// Result holds the raw samples, Results those of the further phases; they go
	// to raw.jsonl, not to the report.
	Result  *loadgen.Result            `json:"-"`
	Results map[string]*loadgen.Result `json:"-"`
}

// phase returns the summary of a further phase; an empty one if there is none.
func (r *run) phase(name string) loadgen.Summary { return r.Phases[name] }

// one measures an entry on a system.
func (s *suite) one(ctx context.Context, system string, e *entry, round int, seed uint64) run {
	r := run{Entry: e.Name, System: system, Round: round, Load: loadAverage()}
	s.say(round, e.Name, system, "")
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	if err := s.fill(ctx, &r, e, seed); err != nil {
		r.Failed, r.Wait = err.Error(), 0
	}
	return r
}

// fill starts the server, lets it do the phases, and stops it.
func (s *suite) fill(ctx context.Context, r *run, e *entry, seed uint64) (err error) {
	name := fileName(fmt.Sprintf("%s-%s-%d", e.Name, r.System, r.Round+1))
	at, remove, err := s.place(name)
	if err != nil {
		return err
	}
	defer remove()
	phases := append([]phase{{Scenario: e.Scenario}}, e.Phases...)
	var running *server
	stop := func() {
		if running == nil {
			return
		}
		switch stopped := running.stop(); {
		case stopped == nil:
		case err == nil && !isHearth(e, r.System):
			// What a yardstick does after its last answer was not measured.
			r.Killed = true
		default:
			err = errors.Join(err, stopped)
		}
		running = nil
	}
	defer stop()
	var target loadgen.Target
	for i, p := range phases {
		if i == 0 || p.Restart {
			if stop(); err != nil {
				return err
			}
			log := fmt.Sprintf("%s%s.log", name, strings.Repeat("-again", min(i, 1)))
			if running, target, err = s.open(ctx, r, e, at, filepath.Join(s.dir, "logs", log), seed, i == 0); err != nil {
				return err
			}
		}
		result, noise, err := s.load(ctx, r, running, target, p.Scenario, seed)
		if err != nil {
			return err
		}
		if i > 0 {
			if r.Phases == nil {
				r.Phases, r.Results = map[string]loadgen.Summary{}, map[string]*loadgen.Result{}
			}
			r.Phases[p.Name], r.Results[p.Name] = loadgen.Summarize(result), result
			continue
		}
		r.Result, r.Summary, r.Noise = result, loadgen.Summarize(result), noise
		if r.PeakBytes, err = running.peak(); err != nil {
			return err
		}
	}
	if quiet := r.Results[alone]; quiet != nil {
		if w := waitInTurn(r.Result, quiet); !math.IsNaN(w) {
			r.Wait = w
		}
	}
	return running.dead()
}

// place makes the folders of a run; the function it returns removes what is of
// no use afterwards.
func (s *suite) place(name string) (*place, func(), error) {
	dir, err := filepath.Abs(filepath.Join(s.dir, "runs", name))
	if err != nil {
		return nil, nil, fmt.Errorf("find the run's folder: %w", err)
	}
	at := &place{dir: dir, data: filepath.Join(dir, "data")}
	if err := errors.Join(os.RemoveAll(at.data), os.MkdirAll(at.data, 0o755)); err != nil {
		return nil, nil, fmt.Errorf("make the run's folder: %w", err)
	}
	// What is left behind is found, and removed, by the next run of this name.
	return at, func() { _ = os.RemoveAll(at.data) }, nil
}

// open starts a server, asks it for its first token and warms it up. The first
// start of a run gives the run its command and its start time.
func (s *suite) open(ctx context.Context, r *run, e *entry, at *place, log string, seed uint64, first bool) (*server, loadgen.Target, error) {
	none := loadgen.Target{}
	port, err := freePort()
	if err != nil {
		return nil, none, err
	}
	argv, config, err := s.settings.command(r.System, e, port, at)
	if err != nil {
		return nil, none, err
	}
	running, err := startServer(argv, port, log)
	if err != nil {
		return nil, none, err
	}
	// The caller stops a server that is returned, with whatever error.
	cold, err := firstToken(ctx, running, e.Scenario.Embeds(), seed)
	if err != nil {
		return running, none, err
	}
	if first {
		r.Command, r.Config = argv, config
		r.ColdStart = float64(cold.Microseconds()) / 1000
	}
	target := loadgen.Target{URL: running.url}
	if err := target.Discover(ctx, loadgen.NewHTTPClient()); err != nil {
		return running, none, err
	}
	if len(target.EndTokens) == 0 && !e.Scenario.Embeds() {
		return running, none, errors.New("the server did not say which tokens end an answer, so answers would have different lengths")
	}
	_, _, err = load(ctx, s.self, job{Target: target, Scenario: warmUp(max(s.settings.Sequences, e.Sequences), e.Scenario.Embeds()), Seed: seed}, io.Discard)
	if err != nil {
		return running, none, fmt.Errorf("warm up: %w", err)
	}
	return running, target, nil
}

// load runs a scenario on a running server.
func (s *suite) load(ctx context.Context, r *run, running *server, target loadgen.Target, scenario loadgen.Scenario, seed uint64) (*loadgen.Result, noise, error) {
	status := lineFunc(func(line string) { s.detail(r.Round, r.Entry, r.System, line) })
	listen, err := watchNoise(running)
	if err != nil {
		return nil, noise{}, err
	}
	var result *loadgen.Result
	var generator *exec.Cmd
	if result, generator, err = load(ctx, s.self, job{Target: target, Scenario: scenario, Seed: seed}, status); err != nil {
		if dead := running.dead(); dead != nil {
			err = errors.Join(err, dead)
		}
		return nil, noise{}, err
	}
	n, err := listen(generator)
	return result, n, err
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

// waitsOf returns the times to the first token of the groups that have a number
// of requests, in the order of the answers.
func waitsOf(r *loadgen.Result) []float64 {
	numbered := map[string]bool{}
	for _, g := range r.Scenario.Groups {
		numbered[g.Name] = g.Requests > 0
	}
	var waits []float64
	for i := range r.Samples {
		if t, ok := r.Samples[i].TTFT(); ok && numbered[r.Samples[i].Group] {
			waits = append(waits, t)
		}
	}
	return slices.Sorted(slices.Values(waits))
}

var notInNames = regexp.MustCompile(`[^a-z0-9.-]+`)

func fileName(s string) string { return notInNames.ReplaceAllString(s, "-") }
