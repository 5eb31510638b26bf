package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// state is what a server was like at one time.
type state struct {
	Seconds    float64 `json:"seconds"` // since the first call
	Bad        bool    `json:"bad_called"`
	Counts     bool    `json:"counts"` // in a window that has settled
	Memory     int64   `json:"memory_bytes"`
	CPU        float64 `json:"cpu_seconds"`
	Goroutines int     `json:"goroutines"`
	Files      int     `json:"open_files"`
	Children   int     `json:"children"`
}

// readState reads a server.
func readState(ctx context.Context, proc, url string) (*state, error) {
	var x state
	var err error
	if x.Memory, err = readMemory(proc); err != nil {
		return nil, err
	}
	if x.CPU, err = readTotal(proc); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return nil, err
	}
	x.Files = len(files)
	pid, _ := strconv.Atoi(filepath.Base(proc)) // it is one
	x.Children = len(childrenOf(pid))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return &x, nil // it is over
		}
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			x.Goroutines, err = strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return &x, err
}

// childrenOf returns the processes that a process has started.
func childrenOf(pid int) []int {
	var all []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread is gone
		}
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// alive counts the processes that are there.
func alive(pids []int) int {
	n := 0
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			n++
		}
	}
	return n
}

// upstreamRecord is what a run saw. Its methods are safe for concurrent use.
type upstreamRecord struct {
	Upstreams int     `json:"upstreams"`
	Warm      float64 `json:"warm_seconds"`
	Window    float64 `json:"window_seconds"`
	Settle    float64 `json:"settle_seconds"`
	Every     float64 `json:"seconds_between_calls_of_a_good_one"`
	BadEvery  float64 `json:"seconds_between_calls_of_a_bad_one"`
	// Left is how many of the server's children were there when it had ended.
	Left int `json:"processes_left"`

	mu     sync.Mutex
	States []state `json:"states"`
	// Times of calls of good ones, in microseconds, while bad ones are called and not.
	Harmed []float64 `json:"with_bad_us"`
	Calm   []float64 `json:"without_bad_us"`
	// Wrong are the calls of good ones without the right answer, and the first of them.
	Wrong      int    `json:"wrong"`
	FirstWrong string `json:"first_wrong,omitempty"`
	// Bad are the calls of bad ones that reached them, by kind; Kept those that the
	// circuit breakers kept from them, Answered those that had an answer.
	Bad      map[string]int `json:"bad_calls"`
	Kept     int            `json:"bad_calls_kept_back"`
	Answered int            `json:"bad_calls_answered"`
}

func (r *upstreamRecord) read(x state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.States = append(r.States, x)
}

func (r *upstreamRecord) took(harmed bool, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	us := float64(d.Nanoseconds()) / 1000
	if harmed {
		r.Harmed = append(r.Harmed, us)
	} else {
		r.Calm = append(r.Calm, us)
	}
}

// wronged notes a call of a good one without the right answer.
func (r *upstreamRecord) wronged(how string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Wrong++; r.Wrong == 1 {
		r.FirstWrong = how
	}
}

func (r *upstreamRecord) suffered(kind string, answered, kept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if kept {
		r.Kept++
		return
	}
	r.Bad[kind]++
	if answered {
		r.Answered++
	}
}

// percentile of values; 0 for none.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(float64(len(sorted)-1)*p)]
}

func (r *upstreamRecord) progress() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.States[len(r.States)-1]
	return fmt.Sprintf("%4.0f s: p99 %.0f µs without bad ones (%d calls), %.0f with (%d), %d MB, %d goroutines, %d files, %d children",
		x.Seconds, percentile(r.Calm, 0.99), len(r.Calm), percentile(r.Harmed, 0.99), len(r.Harmed), x.Memory>>20, x.Goroutines, x.Files, x.Children)
}

// calm returns a figure of the server in the first and in the last window in which no
// bad one was called: the median of each.
func (r *upstreamRecord) calm(figure func(*state) float64) (first, last float64) {
	by := map[int][]float64{}
	lowest, highest := -1, -1
	for i := range r.States {
		x := &r.States[i]
		if !x.Counts || x.Bad {
			continue
		}
		window := int((x.Seconds - r.Warm) / r.Window)
		by[window] = append(by[window], figure(x))
		if lowest < 0 {
			lowest = window
		}
		highest = window
	}
	return percentile(by[lowest], 0.5), percentile(by[highest], 0.5)
}

// busy is how many CPUs the server used in windows with and without bad ones.
func (r *upstreamRecord) busy(bad bool) float64 {
	cpu, seconds := 0.0, 0.0
	for i := 1; i < len(r.States); i++ {
		a, b := &r.States[i-1], &r.States[i]
		if a.Counts && b.Counts && a.Bad == bad && b.Bad == bad {
			cpu, seconds = cpu+b.CPU-a.CPU, seconds+b.Seconds-a.Seconds
		}
	}
	if seconds == 0 {
		return 0
	}
	return cpu / seconds
}

// report says how the run went, and which bounds it exceeded.
func (r *upstreamRecord) report(b upstreamBounds) (text string, over error) {
	if len(r.Harmed) == 0 || len(r.Calm) == 0 {
		return "", errors.New("too short: nothing was counted in windows with bad ones, or in those without")
	}
	row := func(name, value, bound string, bad bool) string {
		verdict := "held"
		if bad {
			verdict = "**exceeded**"
			over = errors.Join(over, fmt.Errorf("%s: %s, at most %s", name, value, bound))
		}
		return fmt.Sprintf("| %s | %s | %s | %s |\n", name, value, bound, verdict)
	}
	last := r.States[len(r.States)-1]
	var t strings.Builder
	fmt.Fprintf(&t, "%d MCP servers, half of them bad, for %.0f s: %d calls of good ones counted, and %d of bad ones, of which %d had an answer; the circuit breakers kept back %d more",
		r.Upstreams, last.Seconds, len(r.Harmed)+len(r.Calm), sum(r.Bad), r.Answered, r.Kept)
	var kinds []string
	for _, k := range badKinds {
		kinds = append(kinds, fmt.Sprintf("%s %d", k, r.Bad[k]))
	}
	fmt.Fprintf(&t, " (%s).\n\n| | measured | bound | |\n|---|---|---|---|\n", strings.Join(kinds, ", "))
	with, without := percentile(r.Harmed, 0.99), percentile(r.Calm, 0.99)
	t.WriteString(row("p99 of calls of good ones while bad ones are called, over that while they are not", fmt.Sprintf("%.3f (%.0f of %.0f µs; p50 %.0f of %.0f)", with/without, with, without, percentile(r.Harmed, 0.5), percentile(r.Calm, 0.5)),
		fmt.Sprintf("%.2f", 1+b.Slower), with > without*(1+b.Slower)))
	wrong := strconv.Itoa(r.Wrong)
	if r.Wrong > 0 {
		wrong += ", the first: " + r.FirstWrong
	}
	t.WriteString(row("calls of good ones without the right answer", wrong, "0", r.Wrong > 0))
	grew := func(name string, most float64, spare float64, unit float64, figure func(*state) float64) {
		from, to := r.calm(figure)
		t.WriteString(row(name+", last calm window over the first", fmt.Sprintf("%.0f of %.0f", to/unit, from/unit), fmt.Sprintf("%+.0f%%", 100*most), to > from*(1+most)+spare))
	}
	grew("resident memory, MB", b.Growth, 0, 1<<20, func(x *state) float64 { return float64(x.Memory) })
	grew("goroutines", b.More, 2, 1, func(x *state) float64 { return float64(x.Goroutines) })
	grew("open files", b.More, 2, 1, func(x *state) float64 { return float64(x.Files) })
	grew("child processes", b.More, 0, 1, func(x *state) float64 { return float64(x.Children) })
	t.WriteString(row("child processes left when the server had ended", strconv.Itoa(r.Left), "0", r.Left > 0))
	fmt.Fprintf(&t, "\nThe server used %.2f CPUs while bad ones were called, and %.2f while not.\n", r.busy(true), r.busy(false))
	return t.String(), over
}

func sum(by map[string]int) int {
	n := 0
	for _, v := range by {
		n += v
	}
	return n
}
