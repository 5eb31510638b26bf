package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/loadgen"
)

// loadCommand is the argument that makes this program a load generator.
const loadCommand = "load"

// job is what a load generator is told on its standard input.
type job struct {
	Target   loadgen.Target   `json:"target"`
	Scenario loadgen.Scenario `json:"scenario"`
	Seed     uint64           `json:"seed"`
}

// runLoad is the child process: one job in, one result out, progress on stderr.
func runLoad(ctx context.Context, in io.Reader, out, status io.Writer) error {
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("decode job: %w", err)
	}
	result, err := loadgen.Run(ctx, j.Target, j.Scenario, loadgen.Options{Seed: j.Seed, OnProgress: func(p loadgen.Progress) {
		fmt.Fprintf(status, "%d %d\n", p.Done, p.Total)
	}})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(result); err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return nil
}

// load runs a job in a child process of one thread, pinned to the last CPU, and
// returns its result with the process that has ended.
func load(ctx context.Context, self string, j job, status io.Writer) (*loadgen.Result, *exec.Cmd, error) {
	var result loadgen.Result
	cmd, err := generate(ctx, self, loadCommand, j, &result, status)
	if err != nil {
		return nil, nil, err
	}
	return &result, cmd, nil
}

// generate runs a job by one of this program's commands, in a child process of one
// thread that is pinned to the last CPU, and decodes its result. It returns the
// process, which has ended.
func generate(ctx context.Context, self, command string, job, result any, status io.Writer) (*exec.Cmd, error) {
	raw, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("encode job: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, command)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.SysProcAttr = diesWithUs()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var out, failure bytes.Buffer
	cmd.Stdin, cmd.Stdout = bytes.NewReader(raw), &out
	cmd.Stderr = io.MultiWriter(status, &failure)
	if err := startPinned(cmd); err != nil {
		return nil, fmt.Errorf("start the load generator: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("load generator: %w\n%s", err, failure.String())
	}
	if err := json.Unmarshal(out.Bytes(), result); err != nil {
		return nil, fmt.Errorf("decode the load generator's result: %w", err)
	}
	return cmd, nil
}

// maxCPUs is how many CPUs a CPUSet has bits for.
const maxCPUs = 1024

// startPinned starts cmd on the last CPU that this process may use. A child
// inherits the CPUs of the thread that starts it, so the thread is pinned for as
// long as that takes.
func startPinned(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, last unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read the CPUs of this process: %w", err)
	}
	for cpu := range maxCPUs {
		if before.IsSet(cpu) {
			last.Zero()
			last.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &last); err != nil {
		return fmt.Errorf("pin to one CPU: %w", err)
	}
	err := cmd.Start()
	return errors.Join(err, unix.SchedSetaffinity(0, &before))
}

// firstToken asks for one token, or one vector, until it gets it, and returns the
// time from the start of the process to its arrival. The server may refuse while it loads. The
// request names no model, which both servers take for the only one there is.
func firstToken(ctx context.Context, s *server, embeds bool, seed uint64) (time.Duration, error) {
	scenario := loadgen.Scenario{Name: "cold-start", Groups: []loadgen.Group{
		{Name: "client", Clients: 1, Requests: 1, Instruction: "Say one word about:", PromptWords: 5, MaxTokens: 1},
	}}
	if embeds {
		scenario.Groups = []loadgen.Group{{Name: "client", Clients: 1, Requests: 1, PromptWords: 5, Texts: 1}}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	client := loadgen.NewHTTPClient()
	for {
		result, err := loadgen.Run(ctx, loadgen.Target{URL: s.url}, scenario, loadgen.Options{Seed: seed, Client: client})
		if err == nil && len(result.Samples) == 1 && len(result.Samples[0].Arrivals) > 0 {
			arrival := time.Duration(result.Samples[0].Arrivals[0] * float64(time.Millisecond))
			return result.Begin.Add(arrival).Sub(s.begun), nil
		}
		if dead := s.dead(); dead != nil {
			return 0, dead
		}
		if e := sleep(ctx, 5*time.Millisecond); e != nil {
			return 0, fmt.Errorf("wait for the first token of %s: %w (last: %v)", s.url, e, err)
		}
	}
}
