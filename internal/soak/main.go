package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"hearth/internal/subject"
)

func main() {
	runtime.LockOSThread() // the server ends with the thread that starts it
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	hush()
	err := choose(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// choose runs what the first argument says.
func choose(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == peerCommand:
		return servePeer(ctx, args[1], os.Stdin, os.Stdout)
	case len(args) == 1 && args[0] == peerCommand:
		return servePeers(ctx, os.Stdout)
	case len(args) > 0 && args[0] == upstreamsCommand:
		return runUpstreams(ctx, args[1:], os.Stdout, os.Stderr)
	}
	return run(ctx, args, os.Stdout, os.Stderr)
}

// quietMemory is how much memory what measures may have before it collects garbage.
const quietMemory = 256 << 20

// hush keeps this program's own collector from being what is measured: in a run with
// MCP servers it would take both processors for a millisecond about once a second, which
// is as much as the p99 of a hundred calls a second can tell of.
func hush() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(quietMemory)
}

// settings are the flags.
type settings struct {
	hearth, out string
	streams     int
	threads     int
	length      time.Duration
	warm        time.Duration
	every       time.Duration
	bounds      bounds
}

// cellsEach is how many cells there are for each stream: more than the mean of
// prompts and answers takes, so that all are written to in the first minute.
const cellsEach = 96

func run(ctx context.Context, args []string, out, messages io.Writer) error {
	var s settings
	set := flag.NewFlagSet("soak", flag.ContinueOnError)
	set.SetOutput(messages)
	set.StringVar(&s.hearth, "hearth", filepath.Join("build", "out", "bin", "hearth"), "the program of Hearth")
	set.StringVar(&s.out, "out", filepath.Join("build", "out", "soak"), "folder of the report")
	set.IntVar(&s.streams, "streams", 256, "streams at the same time")
	set.IntVar(&s.threads, "threads", runtime.NumCPU(), "threads that compute")
	set.DurationVar(&s.length, "for", 10*time.Minute, "how long")
	set.DurationVar(&s.warm, "warm", time.Minute, "how long memory may grow first")
	set.DurationVar(&s.every, "every", 2*time.Second, "time between two readings")
	set.Float64Var(&s.bounds.Growth, "growth", 0.03, "most that the peak of memory may grow from the first half of what follows to the second, as a part of it")
	set.Float64Var(&s.bounds.Others, "others", 0.1, "most of the processor time that may go to anything but computing, as a part of it")
	set.DurationVar(&s.bounds.Wait, "wait", 2*time.Minute, "longest wait, for a first token and between two")
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() != 1 || s.streams < 1 || s.streams > 256 || s.threads < 1 || s.every <= 0 || s.length < s.warm+4*s.every {
		return errors.New("name the GGUF file of one model, 1 to 256 streams, and a time that is longer than that of warming up")
	}
	r, err := s.measure(ctx, set.Arg(0), messages)
	if err != nil {
		return err
	}
	text, over := r.report(s.bounds)
	return errors.Join(over, publish(out, s.out, "streams", text, r))
}

// measure runs the server with all streams, and reads it.
func (s *settings) measure(ctx context.Context, model string, messages io.Writer) (r *record, err error) {
	folder, err := os.MkdirTemp("", "hearth-soak-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	config := filepath.Join(folder, "hearth.yaml")
	// A bounded store is full before memory is watched.
	if err := os.WriteFile(config, []byte("engine: {queue: 256, prefix_cache: {ram: 32MiB}}\n"), 0o600); err != nil {
		return nil, err
	}
	server, err := subject.Start(ctx, "/readyz", func(port string) []string {
		return []string{
			s.hearth, "serve", "--config", config, "--model", model, "--listen", "127.0.0.1:" + port,
			"--context", strconv.Itoa(s.streams * cellsEach), "--sequences", strconv.Itoa(s.streams), "--threads", strconv.Itoa(s.threads),
		}
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	r = &record{Model: filepath.Base(model), Streams: s.streams, Threads: s.threads, Warm: s.warm.Seconds()}
	quit, cancel := context.WithTimeout(ctx, s.length)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, s.streams)
	for i := range s.streams {
		wg.Go(func() {
			for n := 0; quit.Err() == nil; n++ {
				if err := r.stream(quit, server, i, n); err != nil && quit.Err() == nil {
					failed <- fmt.Errorf("stream %d, answer %d: %w", i, n, err)
					cancel()
				}
			}
		})
	}
	err = s.watch(quit, server.PID(), r, messages)
	cancel()
	wg.Wait()
	close(failed)
	return r, errors.Join(err, <-failed, ctx.Err())
}

// watch reads the server until ctx ends.
func (s *settings) watch(ctx context.Context, pid int, r *record, messages io.Writer) error {
	proc := fmt.Sprintf("/proc/%d", pid)
	first, err := readThreads(proc)
	if err != nil {
		return err
	}
	before, err := readTotal(proc)
	if err != nil {
		return err
	}
	began := time.Now()
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		memory, err := readMemory(proc)
		if err != nil {
			return err
		}
		threads, err := readThreads(proc)
		if err != nil {
			return err
		}
		total, err := readTotal(proc)
		if err != nil {
			return err
		}
		r.read(reading{Seconds: time.Since(began).Seconds(), Memory: memory, Total: total - before, Computing: computing(first, threads, s.threads)})
		if n%15 == 0 {
			fmt.Fprintln(messages, r.progress())
		}
	}
}

// stream has one answer streamed, and notes how long it waits for each piece.
func (r *record) stream(ctx context.Context, server *subject.Server, client, n int) error {
	asked := time.Now()
	reply, err := server.Post(ctx, "/v1/chat/completions", map[string]any{
		"messages":   []map[string]string{{"role": "user", "content": fmt.Sprintf("Tell story %d of the %d. lighthouse, its keeper and the sea.", n, client)}},
		"max_tokens": 8 << (client % 4), "stream": true,
	})
	if err != nil {
		return err
	}
	defer reply.Close()
	last, pieces := asked, 0
	lines := bufio.NewScanner(reply)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		if bytes.Equal(data, []byte("[DONE]")) {
			r.ended(pieces)
			return nil
		}
		var c struct {
			Choices []struct {
				Delta struct {
					Content string `json:"content"`
				} `json:"delta"`
			} `json:"choices"`
			Error json.RawMessage `json:"error"`
		}
		if err := json.Unmarshal(data, &c); err != nil || c.Error != nil {
			return fmt.Errorf("a chunk that is none: %s: %w", data, err)
		}
		if len(c.Choices) == 0 || c.Choices[0].Delta.Content == "" {
			continue
		}
		now := time.Now()
		r.waited(pieces == 0, now.Sub(last))
		last = now
		pieces++
	}
	return errors.Join(errors.New("the stream ended in the middle"), lines.Err())
}
