package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := runMain(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "benchsuite:", err)
		os.Exit(1)
	}
}

func runMain(ctx context.Context, args []string) error {
	if len(args) == 1 && args[0] == loadCommand {
		return runLoad(ctx, os.Stdin, os.Stdout, os.Stderr)
	}
	if len(args) == 1 && args[0] == callCommand {
		return runCalls(ctx, os.Stdin, os.Stdout)
	}
	if len(args) == 3 && args[0] == peerCommand {
		return runPeer(ctx, args[1], args[2])
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, which is the load generator too: %w", err)
	}
	s, err := parse(args, self, os.Stderr)
	if err != nil {
		return err
	}
	if s.clients > 0 {
		if err := s.executeGrowth(ctx); err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "\ncurves: %s\n", filepath.Join(s.dir, "growth.md"))
		return nil
	}
	r, err := s.execute(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout)
	if err := errors.Join(writeTerminal(os.Stdout, r), writeCallsTerminal(os.Stdout, r.Calls)); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	fmt.Fprintf(os.Stdout, "\nreport: %s\n", filepath.Join(s.dir, "report.md"))
	return nil
}

// parse makes a suite of the command line.
func parse(args []string, self string, status io.Writer) (*suite, error) {
	s := &suite{self: self, status: status}
	set := &s.settings
	var names, tuning string
	flags := flag.NewFlagSet("benchsuite", flag.ContinueOnError)
	flags.StringVar(&set.Hearth, "hearth", "build/out/bin/hearth", "the hearth binary")
	flags.StringVar(&set.Yardstick, "yardsticks", "build/out/yardsticks", "folder of llama-server and llama-batched-bench")
	flags.StringVar(&set.Model, "model", modelFile("HEARTH_TEST_MODEL", "SmolLM2-135M-Instruct.Q4_1.gguf"), "GGUF file to serve")
	flags.StringVar(&set.Embedder, "embedding-model", modelFile("HEARTH_TEST_EMBEDDING_MODEL", "all-MiniLM-L6-v2.F16.gguf"), "GGUF file that the embed scenarios serve")
	flags.StringVar(&s.dir, "out", "build/out/bench", "folder for the report")
	flags.StringVar(&names, "only", "", "scenarios to run, divided by commas, or calls, for calls of tools alone (default: all)")
	flags.IntVar(&set.Context, "context", 16384, "cells of context in all")
	flags.IntVar(&set.Sequences, "sequences", 8, "requests at one time")
	flags.IntVar(&set.Threads, "threads", runtime.NumCPU(), "compute threads")
	flags.IntVar(&set.Rounds, "rounds", 5, "how often every scenario runs on every system")
	flags.Uint64Var(&set.Seed, "seed", 0, "seed of the first round's prompts (0: a random one)")
	flags.DurationVar(&s.limit, "limit", 20*time.Minute, "longest time of one run, which has failed then")
	flags.Float64Var(&set.Floor, "floor", 0, "replace all goals: no row below so many times llama-server as it comes")
	flags.StringVar(&tuning, "tuning", "", "flags of the tuned llama-server, instead of those that are known to serve it best")
	flags.IntVar(&s.clients, "growth", 0, "measure, instead of the table, how cost grows: with 1, 2, 4 … so many clients, with cached cells, with the context")
	flags.BoolVar(&set.Quick, "quick", false, "one round of tiny numbers, to see that everything works; its figures mean nothing")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if set.Quick {
		set.Rounds = 1
	}
	if set.Seed == 0 {
		set.Seed = rand.Uint64N(1 << 53) // so that every JSON reader keeps it exactly
	}
	for flagName, v := range map[string]int{"-context": set.Context, "-sequences": set.Sequences, "-threads": set.Threads, "-rounds": set.Rounds} {
		if v < 1 {
			return nil, fmt.Errorf("%s is %d: it must be at least 1", flagName, v)
		}
	}
	if tuning != "" {
		set.Tuning = strings.Fields(tuning)
	}
	if set.Floor < 0 || s.clients < 0 {
		return nil, fmt.Errorf("-floor is %g and -growth %d: neither may be below 0", set.Floor, s.clients)
	}
	if s.clients > 0 {
		return s, nil
	}
	// Calls of tools are no scenario: no llama-server answers any.
	s.calls = names == "" && set.Floor == 0
	if names == callsName {
		s.calls = true
		return s, nil
	}
	chosen, err := choose(names)
	if err != nil {
		return nil, err
	}
	for i := range chosen {
		if set.Quick {
			chosen[i].quick()
		}
		if set.Floor > 0 {
			chosen[i].floor(set.Floor)
		}
	}
	if set.Floor > 0 && names == "" {
		// Those serve a model of their own, whatever -model says.
		chosen = slices.DeleteFunc(chosen, func(e entry) bool { return e.Scenario.Embeds() })
	}
	s.entries = chosen
	return s, nil
}

// modelFile is where make leaves a model, unless the environment names another.
func modelFile(env, name string) string {
	if path := os.Getenv(env); path != "" {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "hearth", "models", name)
}

// prepare checks that what is needed is there, makes the folders and the file of
// samples, and keeps the thread, for diesWithUs. The function that it returns
// undoes that.
func (s *suite) prepare(models []string) (machine, func(), error) {
	needed := append([]string{s.settings.Hearth}, models...)
	if len(s.entries) > 0 || s.clients > 0 {
		needed = append(needed, filepath.Join(s.settings.Yardstick, "llama-server"), filepath.Join(s.settings.Yardstick, "llama-batched-bench"))
	}
	for _, path := range needed {
		if _, err := os.Stat(path); err != nil {
			return machine{}, nil, fmt.Errorf("%w: make bench builds and fetches what is compared", err)
		}
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "logs"), 0o755); err != nil {
		return machine{}, nil, fmt.Errorf("create the report's folder: %w", err)
	}
	raw, err := os.Create(filepath.Join(s.dir, "raw.jsonl"))
	if err != nil {
		return machine{}, nil, fmt.Errorf("create the file of samples: %w", err)
	}
	s.raw = raw
	runtime.LockOSThread()
	return describe(s.settings), func() {
		runtime.UnlockOSThread()
		_ = raw.Close() // every line was written, or measure has failed
	}, nil
}

// execute measures, and writes the report.
func (s *suite) execute(ctx context.Context) (*report, error) {
	var models []string
	for i := range s.entries {
		if s.entries[i].Scenario.Embeds() {
			models = append(models, s.settings.Embedder)
		} else {
			models = append(models, s.settings.Model)
		}
	}
	if s.calls {
		models = append(models, s.settings.Model)
	}
	m, finish, err := s.prepare(models)
	if err != nil {
		return nil, err
	}
	defer finish()
	fmt.Fprintf(s.status, "seed %d, %s, load averages %s\n", s.settings.Seed, m.CPU, m.Load)
	s.begun = time.Now()
	var calls *callReport
	if s.calls { // first, since they take no more than minutes
		f, err := s.measureCalls(ctx)
		if err != nil {
			return nil, fmt.Errorf("measure calls of tools: %w", err)
		}
		calls = f.report()
	}
	if len(s.entries) > 0 {
		if err := s.measure(ctx); err != nil {
			return nil, err
		}
	}
	fmt.Fprintln(s.status)
	r := assemble(s, m, time.Now())
	r.Calls = calls
	return r, s.write(r)
}

// write writes the three forms of the report.
func (s *suite) write(r *report) error {
	asJSON := func(w io.Writer, r *report) error {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		return e.Encode(r)
	}
	for name, form := range map[string]func(io.Writer, *report) error{"report.json": asJSON, "report.md": writeMarkdown, "report.svg": writeSVG} {
		if name == "report.svg" && len(r.Rows) == 0 {
			continue // there is nothing to plot
		}
		if err := writeFile(filepath.Join(s.dir, name), func(w io.Writer) error { return form(w, r) }); err != nil {
			return err
		}
	}
	return nil
}
