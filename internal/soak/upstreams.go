package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"hearth/internal/subject"
)

// upstreamsCommand is the argument that makes this program run 50 MCP servers
// behind one Hearth.
const upstreamsCommand = "upstreams"

// upstreamSettings are its flags.
type upstreamSettings struct {
	hearth, out string
	self        string
	each        int // good ones, and as many bad ones
	length      time.Duration
	window      time.Duration
	settle      time.Duration
	warm        time.Duration
	every       time.Duration // between two calls of a good one
	badEvery    time.Duration // between two calls of a bad one
	timeout     time.Duration // of calls
	bounds      upstreamBounds
}

// upstreamBounds are what a run is held against.
type upstreamBounds struct {
	Slower float64 `json:"slower"` // p99 with the bad ones called, over that without, less one
	Growth float64 `json:"growth"` // of memory, as a part of it, once it is warm
	More   float64 `json:"more"`   // goroutines, files and children, likewise
}

func runUpstreams(ctx context.Context, args []string, out, messages io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, which is the MCP servers too: %w", err)
	}
	s := upstreamSettings{self: self}
	set := flag.NewFlagSet("soak upstreams", flag.ContinueOnError)
	set.SetOutput(messages)
	set.StringVar(&s.hearth, "hearth", filepath.Join("build", "out", "bin", "hearth"), "the program of Hearth")
	set.StringVar(&s.out, "out", filepath.Join("build", "out", "soak"), "folder of the report")
	set.IntVar(&s.each, "upstreams", 25, "good MCP servers, and as many bad ones")
	set.DurationVar(&s.length, "for", 10*time.Minute, "how long")
	set.DurationVar(&s.warm, "warm", time.Minute, "how long nothing is counted first, with the bad ones called")
	set.DurationVar(&s.window, "window", 30*time.Second, "how long the bad ones are called, or not, at a time")
	set.DurationVar(&s.settle, "settle", 6*time.Second, "the beginning of a window in which nothing is counted: what was called before ends")
	set.DurationVar(&s.every, "every", 250*time.Millisecond, "time between two calls of a good one")
	set.DurationVar(&s.badEvery, "bad-every", 2*time.Second, "time between two calls of a bad one")
	set.DurationVar(&s.timeout, "timeout", 5*time.Second, "of a call")
	set.Float64Var(&s.bounds.Slower, "slower", 0.1, "most that the p99 of good ones may rise while bad ones are called, as a part of it")
	set.Float64Var(&s.bounds.Growth, "growth", 0.05, "most that memory may grow once it is warm, as a part of it")
	set.Float64Var(&s.bounds.More, "more", 0.1, "most that goroutines, open files and child processes may grow, likewise")
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() != 1 || s.each < len(badKinds) || s.window <= s.settle || s.length < s.warm+2*s.window || s.every <= 0 || s.badEvery <= 0 {
		return fmt.Errorf("name the GGUF file of one model; at least %d upstreams, windows longer than -settle, and a time of at least -warm and two windows", len(badKinds))
	}
	r, err := s.measure(ctx, set.Arg(0), messages)
	if err != nil {
		return err
	}
	text, over := r.report(s.bounds)
	return errors.Join(over, publish(out, s.out, "upstreams", text, r))
}

// names are the labels of the servers of a run, and their kinds.
func (s *upstreamSettings) names() (good, bad []string, kinds map[string]string) {
	kinds = map[string]string{}
	for i := range s.each {
		g, b := fmt.Sprintf("good%02d", i), fmt.Sprintf("bad%02d", i)
		good, bad = append(good, g), append(bad, b)
		kinds[g], kinds[b] = kindGood, badKinds[i%len(badKinds)]
	}
	return good, bad, kinds
}

// config writes the configuration: every other of each kind is a program, the
// others are addresses at the one or the other peers.
func (s *upstreamSettings) config(folder, goodPeers, badPeers string) string {
	good, bad, kinds := s.names()
	var b strings.Builder
	b.WriteString("connectors:\n")
	for _, part := range []struct {
		peers string
		names []string
	}{{goodPeers, good}, {badPeers, bad}} {
		for i, name := range part.names {
			at := fmt.Sprintf("url: %s/%s/%d", part.peers, kinds[name], i)
			if i%2 == 0 { // each bad kind in both ways
				at = fmt.Sprintf("command: %q, args: [%s, %s]", s.self, peerCommand, kinds[name])
			}
			fmt.Fprintf(&b, "  - name: %s\n    limits: {timeout: %s}\n    mcp: {%s, read_only: ['*'], state: %q, connect_timeout: %s, message_bytes: 1MiB}\n",
				name, s.timeout, at, filepath.Join(folder, name), s.timeout)
		}
	}
	return b.String()
}

// measure runs the server with all upstreams, and reads it.
func (s *upstreamSettings) measure(ctx context.Context, model string, messages io.Writer) (r *upstreamRecord, err error) {
	folder, err := os.MkdirTemp("", "hearth-soak-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	// Apart, so that what the bad ones do to themselves is not measured.
	goodPeers, stopGood, err := s.startPeers(ctx)
	if err != nil {
		return nil, err
	}
	defer stopGood()
	badPeers, stopBad, err := s.startPeers(ctx)
	if err != nil {
		return nil, err
	}
	defer stopBad()
	config := filepath.Join(folder, "hearth.yaml")
	if err := os.WriteFile(config, []byte(s.config(folder, goodPeers, badPeers)), 0o600); err != nil {
		return nil, err
	}
	server, err := subject.Start(ctx, "/readyz", func(port string) []string {
		return []string{s.hearth, "serve", "--config", config, "--model", model, "--listen", "127.0.0.1:" + port, "--context", "512", "--threads", "1"}
	})
	if err != nil {
		return nil, err
	}
	pid := server.PID()
	defer func() {
		children := childrenOf(pid)
		err = errors.Join(err, server.Stop())
		if r != nil {
			r.Left = alive(children)
		}
	}()
	r = &upstreamRecord{Upstreams: 2 * s.each, Warm: s.warm.Seconds(), Window: s.window.Seconds(), Settle: s.settle.Seconds(), Every: s.every.Seconds(), BadEvery: s.badEvery.Seconds()}
	r.Bad = map[string]int{}
	quit, cancel := context.WithTimeout(ctx, s.length)
	defer cancel()
	if err := s.load(quit, server, r, cancel, messages); err != nil {
		return nil, err
	}
	return r, ctx.Err()
}

// startPeers starts the servers that are reached over HTTP.
func (s *upstreamSettings) startPeers(ctx context.Context) (url string, stop func(), err error) {
	cmd := exec.CommandContext(ctx, s.self, peerCommand)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", nil, fmt.Errorf("start the MCP servers: %w", err)
	}
	stop = func() {
		_ = cmd.Process.Kill() // it has nothing to save
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("start the MCP servers: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}

// load calls all upstreams until ctx ends.
func (s *upstreamSettings) load(ctx context.Context, server *subject.Server, r *upstreamRecord, cancel func(), messages io.Writer) error {
	good, bad, kinds := s.names()
	phase := newPhases(s)
	var all sync.WaitGroup
	failed := make(chan error, 2*s.each+1)
	run := func(name string, f func() error) {
		all.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("%s: %w", name, err)
				cancel()
			}
		})
	}
	for i, name := range good {
		// Spread over the interval: constant load, not bursts.
		begin := phase.begun.Add(s.every * time.Duration(i) / time.Duration(s.each))
		run(name, func() error { return s.callGood(ctx, server.URL, name, begin, phase, r) })
	}
	for i, name := range bad {
		begin := phase.begun.Add(s.badEvery * time.Duration(i) / time.Duration(s.each))
		run(name, func() error { return s.callBad(ctx, server.URL, name, kinds[name], begin, phase, r) })
	}
	run("read the server", func() error { return s.watch(ctx, server.PID(), server.URL, phase, r, messages) })
	all.Wait()
	close(failed)
	return <-failed
}

// phases say what is done when.
type phases struct {
	begun                time.Time
	warm, window, settle time.Duration
}

func newPhases(s *upstreamSettings) *phases {
	return &phases{begun: time.Now(), warm: s.warm, window: s.window, settle: s.settle}
}

// at says whether the bad ones are called at a time, and whether what happens then
// counts: in windows that take turns, the first without bad ones.
func (p *phases) at(t time.Time) (bad, counts bool) {
	since := t.Sub(p.begun) - p.warm
	if since < 0 {
		return true, false
	}
	return since/p.window%2 == 1, since%p.window >= p.settle
}

// callGood calls a server that works, at a constant rate but at random times, and holds
// every answer against what was asked.
func (s *upstreamSettings) callGood(ctx context.Context, url, name string, next time.Time, p *phases, r *upstreamRecord) error {
	c, err := openSession(ctx, url)
	if err != nil {
		return err
	}
	for n := int64(1); wait(ctx, next); n++ {
		// A call that could not begin when it should have, since the one before took
		// too long, has waited since then.
		began := time.Now()
		if late := began.Sub(next); late > s.every {
			began = next
		}
		text, bad, err := c.call(ctx, name+"__"+peerTool, n)
		switch took := time.Since(began); {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case bad || text != strconv.FormatInt(n, 10):
			r.wronged(fmt.Sprintf("%s, asked for %d after %.0f s: %.200s", name, n, time.Since(p.begun).Seconds(), text))
		default:
			harmed, counts := p.at(began)
			if after, _ := p.at(began.Add(took)); counts && after == harmed {
				r.took(harmed, took)
			}
		}
		next = next.Add(about(s.every))
	}
	return nil
}

// about returns a time between half and one and a half of d. Callers know nothing of each
// other: at fixed times each call of a bad one would begin in the very moment of a good
// one's.
func about(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// callBad calls a server that does harm, as long as bad ones are called.
func (s *upstreamSettings) callBad(ctx context.Context, url, name, kind string, next time.Time, p *phases, r *upstreamRecord) error {
	c, err := openSession(ctx, url)
	if err != nil {
		return err
	}
	for n := int64(1); wait(ctx, next); n++ {
		if bad, _ := p.at(time.Now()); bad {
			began := time.Now()
			text, failed, err := c.call(ctx, name+"__"+peerTool, n)
			if ctx.Err() != nil {
				return nil
			}
			if took := time.Since(began); took > s.timeout+5*time.Second {
				return fmt.Errorf("a call was answered after %v, and its timeout is %v", took, s.timeout)
			}
			// What the circuit breaker keeps from the server never got there.
			r.suffered(kind, err == nil && !failed, err == nil && failed && strings.Contains(text, "calls failed"))
		}
		for !next.After(time.Now()) {
			next = next.Add(about(s.badEvery))
		}
	}
	return nil
}

// wait waits until a time; false: ctx has ended.
func wait(ctx context.Context, until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// readEvery is the time between two looks at the server. Each takes it some
// milliseconds: once a second they would be the p99 of a hundred calls a second.
const readEvery = 5 * time.Second

// watch reads the server until ctx ends.
func (s *upstreamSettings) watch(ctx context.Context, pid int, url string, p *phases, r *upstreamRecord, messages io.Writer) error {
	proc := fmt.Sprintf("/proc/%d", pid)
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		x, err := readState(ctx, proc, url)
		if err != nil {
			return err
		}
		bad, counts := p.at(time.Now())
		x.Seconds, x.Bad, x.Counts = time.Since(p.begun).Seconds(), bad, counts
		r.read(*x)
		if n%3 == 0 {
			fmt.Fprintln(messages, r.progress())
		}
	}
}
