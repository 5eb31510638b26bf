package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hearth/internal/config"
	"hearth/models"
)

// TrialConfig is how model files are tried: llama.cpp answers some damaged files
// with the end of the process, so a file that was not seen before is loaded in a
// process of its own first.
type TrialConfig struct {
	Off bool `yaml:"off"`
	// Stall ends a trial that got no further for so long.
	Stall time.Duration `yaml:"stall"`
	// Memory is what a trial may take beside the mapped file; 0: by the file.
	Memory config.Size `yaml:"memory"`
}

// trialMemory is what a trial may take, besides twice the file, where the
// configuration does not say: the vocabulary, small cells and buffers.
const trialMemory = 2 << 30

func (c *TrialConfig) check() error {
	if c.Stall < time.Second || c.Stall > time.Hour {
		return config.Invalid("stall", "must be between 1s and 1h, got %v", c.Stall)
	}
	if c.Memory < 0 || c.Memory != 0 && c.Memory < 64<<20 {
		return config.Invalid("memory", "must be 0 (by the file's size) or at least 64MiB, got %v", c.Memory)
	}
	return nil
}

// trialRequest is what the child is told, as JSON in its command line.
type trialRequest struct {
	Path         string
	ChatTemplate string
	Adapter      string // a LoRA adapter to try with the model; empty: none
	Placement    Placement
	Memory       int64 // bytes that loading may add to the child's data
}

// trialReport is one line that the child writes.
type trialReport struct {
	Progress float32 `json:"progress,omitempty"`
	Refused  string  `json:"refused,omitempty"` // what llama.cpp said
	Passed   bool    `json:"passed,omitempty"`
}

// try loads the file of m in a process of its own unless it is known to pass, and
// then each of its adapters with it. It returns the function to report the
// progress of the loading that follows to.
func (l *loader) try(ctx context.Context, m *ModelConfig, h *models.Header, progress func(float32)) (func(float32), error) {
	if l.cfg.Engine.Trial.Off {
		return progress, nil
	}
	cache, err := openTrialCache()
	if err != nil {
		l.log.Warn().Err(err).Msg("trial loads cannot be remembered: the file is tried at every start")
	}
	tried := false
	trials := len(m.Lora) + 1
	for i := range trials {
		req := trialRequest{Path: m.Path, ChatTemplate: m.ChatTemplate, Placement: m.placement(l.cfg.Engine.Placement), Memory: int64(l.cfg.Engine.Trial.Memory)}
		if i > 0 {
			req.Adapter = m.Lora[i-1].Path
		}
		now, err := l.tryOne(ctx, m, h, cache, &req, part(progress, 0.6*float32(i)/float32(trials), 0.6*float32(i+1)/float32(trials)))
		if err != nil {
			return nil, err
		}
		tried = tried || now
	}
	if !tried {
		return progress, nil
	}
	return part(progress, 0.6, 1), nil
}

// tryOne does one trial unless it is known to pass, and reports whether it did.
func (l *loader) tryOne(ctx context.Context, m *ModelConfig, h *models.Header, cache *trialCache, req *trialRequest, progress func(float32)) (bool, error) {
	files := models.Parts(m.Path, h)
	if req.Adapter != "" {
		files = append(files[:len(files):len(files)], req.Adapter)
	}
	key, known, err := cache.lookup(ctx, files, req, part(progress, 0, 0.5))
	if err != nil {
		return false, fmt.Errorf("trial load of %s: %w", req.what(), err)
	}
	if known {
		return false, nil
	}
	if req.Memory == 0 {
		req.Memory = trialMemory
		for _, f := range files {
			if st, err := os.Stat(f); err == nil {
				req.Memory += 2 * st.Size()
			}
		}
	}
	l.log.Info().Str("model", m.id()).Str("path", req.what()).Msg("a file that was not loaded before: it is tried in a process of its own")
	if err := runTrial(ctx, "/proc/self/exe", req, l.cfg.Engine.Trial.Stall, part(progress, 0.5, 1)); err != nil {
		return false, err
	}
	if err := cache.remember(key); err != nil {
		l.log.Warn().Err(err).Msg("the trial load cannot be remembered: the file is tried again at the next start")
	}
	return true, nil
}

// what names the file that is tried.
func (r *trialRequest) what() string {
	if r.Adapter != "" {
		return r.Adapter + " (an adapter of " + r.Path + ")"
	}
	return r.Path
}

// part returns a function that reports 0..1 as from..to.
func part(progress func(float32), from, to float32) func(float32) {
	return func(done float32) { progress(from + (to-from)*done) }
}

// runTrial runs the child, the program exe, and returns nil if the file passed,
// else an error that says what is wrong with it.
func runTrial(ctx context.Context, exe string, req *trialRequest, stall time.Duration, progress func(float32)) error {
	failed := func(format string, args ...any) error {
		return fmt.Errorf("trial load of %s: %w", req.what(), fmt.Errorf(format, args...))
	}
	lib, err := libDir()
	if err != nil {
		return failed("%w", err)
	}
	said, err := json.Marshal(req)
	if err != nil {
		return failed("%w", err)
	}
	// The kernel ends the child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(exe)
	cmd.Args = []string{"hearth", trialCommand, string(said)}
	cmd.Env = trialEnvironment(lib)
	// A group of its own: Ctrl-C on the terminal is for the parent, which ends it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log := &tail{}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return failed("%w", err)
	}
	if err := cmd.Start(); err != nil {
		return failed("the process cannot be started: %w (engine.trial.off: true loads files untried)", err)
	}
	w := &trialWatch{pid: cmd.Process.Pid, stall: stall}
	stop := w.start(ctx)
	last := w.follow(out, progress)
	err = cmd.Wait()
	stop()
	switch {
	case ctx.Err() != nil:
		return failed("%w", ctx.Err())
	case w.stalled.Load():
		return failed("it got no further for %v (engine.trial.stall): the file is damaged, or this machine is too slow for it; the last that was said: %s", stall, log.last())
	case err == nil && last.Passed:
		return nil
	case last.Refused != "":
		return failed("%s%s", last.Refused, req.memoryHint(last.Refused))
	}
	text := log.last()
	return failed("loading it ended the process that tried it (%s): %s%s; the file is damaged or not for this version of llama.cpp: download or convert it again",
		endedBy(cmd.ProcessState, log.String()), text, req.memoryHint(log.String()))
}

// trialEnvironment is the child's: what its libraries are found by and nothing
// that may be a secret. Without devices of CUDA, because the trial is on the CPU.
func trialEnvironment(lib string) []string {
	env := []string{"HEARTH_LIB_DIR=" + lib, "GOTRACEBACK=none", "CUDA_VISIBLE_DEVICES="}
	for _, name := range []string{"LD_LIBRARY_PATH", "LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// memoryHint names the limit where text says that memory ran out.
func (r *trialRequest) memoryHint(text string) string {
	text = strings.ToLower(text)
	for _, sign := range []string{"bad_alloc", "cannot allocate", "failed to allocate", "out of memory", "unable to allocate"} {
		if strings.Contains(text, sign) {
			return fmt.Sprintf(" (a trial may take %d MiB: engine.trial.memory raises that)", r.Memory>>20)
		}
	}
	return ""
}

// endedBy names what ended the process: Go's runtime catches the signals of C,
// says which it was, and exits.
func endedBy(s *os.ProcessState, log string) string {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return ws.Signal().String()
	}
	for line := range strings.Lines(log) {
		if name, what, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(name, "SIG") {
			return name + ", " + strings.TrimSpace(what)
		}
	}
	return s.String()
}

// trialWatch ends a child that gets no further.
type trialWatch struct {
	pid     int
	stall   time.Duration
	moved   atomic.Int64 // when it last got further, in nanoseconds since 1970
	stalled atomic.Bool
}

// start watches until the returned function is called, which waits for the end.
func (w *trialWatch) start(ctx context.Context) (stop func()) {
	w.moved.Store(time.Now().UnixNano())
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(min(w.stall/4, time.Second))
		defer tick.Stop()
		var faults uint64
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
			case <-tick.C:
				// What is read from the disk shows as major faults of the mapping.
				if n := majorFaults(w.pid); n > faults {
					faults = n
					w.moved.Store(time.Now().UnixNano())
				}
				if time.Since(time.Unix(0, w.moved.Load())) < w.stall {
					continue
				}
				w.stalled.Store(true)
			}
			_ = syscall.Kill(-w.pid, syscall.SIGKILL) // it may have ended by itself
			<-done
			return
		}
	})
	return func() { close(done); wg.Wait() }
}

// follow reads the child's reports to their end and returns the last.
func (w *trialWatch) follow(out io.Reader, progress func(float32)) trialReport {
	var last trialReport
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r trialReport
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue // a library wrote it
		}
		if r.Progress > last.Progress || r.Passed || r.Refused != "" {
			w.moved.Store(time.Now().UnixNano())
		}
		last = r
		progress(min(max(r.Progress, 0), 1))
	}
	_, _ = io.Copy(io.Discard, out) // a line that is too long must not block it
	return last
}

// majorFaults is how often a process waited for a page from the disk, 0 if that
// is not known.
func majorFaults(pid int) uint64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(b), ") ") // the name may hold anything
	f := strings.Fields(rest)
	if !ok || len(f) < 10 {
		return 0
	}
	n, err := strconv.ParseUint(f[9], 10, 64) // the 12th field of the line
	if err != nil {
		return 0
	}
	return n
}

// tail keeps the end of what a process writes. It is written by one goroutine
// and read after that ended.
type tail struct{ b []byte }

const tailBytes = 32 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if extra := len(t.b) - tailBytes; extra > 0 {
		t.b = append(t.b[:0], t.b[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

// last is the last line that is not of Go's runtime.
func (t *tail) last() string {
	said := "nothing"
	for line := range strings.Lines(t.String()) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "SIG") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "runtime: ") {
			break
		}
		if line != "" {
			said = line
		}
	}
	return said[:min(len(said), 500)]
}
