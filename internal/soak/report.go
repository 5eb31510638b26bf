package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// bounds are what a run is held against.
type bounds struct {
	Growth float64       // of the peak of memory once it is warm, as a part of it
	Others float64       // processor time of anything but computing, as a part of all
	Wait   time.Duration // for a token
}

// reading is what /proc said at one time.
type reading struct {
	Seconds   float64 `json:"seconds"` // since the first
	Memory    int64   `json:"memory_bytes"`
	Total     float64 `json:"cpu_seconds"`
	Computing float64 `json:"computing_cpu_seconds"`
}

// record is what a run saw. Its methods are safe for concurrent use.
type record struct {
	Model   string  `json:"model"`
	Streams int     `json:"streams"`
	Threads int     `json:"threads"`
	Warm    float64 `json:"warm_seconds"`

	mu       sync.Mutex
	Readings []reading     `json:"readings"`
	Answers  int           `json:"answers"`
	Pieces   int           `json:"pieces"`
	First    time.Duration `json:"longest_wait_for_first_ns"`
	Between  time.Duration `json:"longest_wait_between_two_ns"`
}

func (r *record) read(x reading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Readings = append(r.Readings, x)
}

func (r *record) waited(first bool, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Pieces++
	if first {
		r.First = max(r.First, d)
	} else {
		r.Between = max(r.Between, d)
	}
}

func (r *record) ended(pieces int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pieces > 0 {
		r.Answers++
	}
}

func (r *record) progress() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.Readings[len(r.Readings)-1]
	return fmt.Sprintf("%4.0f s: %d answers, %d pieces, %d MB, longest waits %s and %s, %.0f s of CPU, %.1f of them not computing",
		x.Seconds, r.Answers, r.Pieces, x.Memory>>20, r.First.Round(time.Millisecond), r.Between.Round(time.Millisecond), x.Total, x.Total-x.Computing)
}

// report says how the run went, and which bounds it exceeded.
func (r *record) report(b bounds) (text string, over error) {
	warm := slices.IndexFunc(r.Readings, func(x reading) bool { return x.Seconds >= r.Warm })
	if warm < 0 || len(r.Readings)-warm < 2 || r.Answers == 0 {
		return "", errors.New("too short: nothing was read once memory was warm, or no answer ended")
	}
	// Memory falls where cells move to another layout, and grows again as the new ones are
	// first written: a slope over both says little, and peaks go up with what is kept.
	half := warm + (len(r.Readings)-warm)/2
	earlier, later := peak(r.Readings[warm:half]), peak(r.Readings[half:])
	growth := float64(later)/float64(earlier) - 1
	last := r.Readings[len(r.Readings)-1]
	others := 1 - last.Computing/last.Total
	row := func(name, value, bound string, bad bool) string {
		verdict := "held"
		if bad {
			verdict = "**exceeded**"
			over = errors.Join(over, fmt.Errorf("%s: %s, at most %s", name, value, bound))
		}
		return fmt.Sprintf("| %s | %s | %s | %s |\n", name, value, bound, verdict)
	}
	var t strings.Builder
	fmt.Fprintf(&t, "%d streams of %s for %.0f s on %d threads: %d answers, %d pieces of text, %.1f a second.\n\n", r.Streams, r.Model, last.Seconds, r.Threads, r.Answers, r.Pieces, float64(r.Pieces)/last.Seconds)
	t.WriteString("| | measured | bound | |\n|---|---|---|---|\n")
	t.WriteString(row(fmt.Sprintf("growth of the peak of resident memory, from the first half after %.0f s to the second", r.Warm), fmt.Sprintf("%.1f%% (%d to %d MB; %d MB at %.0f s)", 100*growth, earlier>>20, later>>20, r.Readings[warm].Memory>>20, r.Readings[warm].Seconds), fmt.Sprintf("%.0f%%", 100*b.Growth), growth > b.Growth))
	t.WriteString(row("longest wait for a first token", r.First.Round(time.Millisecond).String(), b.Wait.String(), r.First > b.Wait))
	t.WriteString(row("longest wait between two tokens", r.Between.Round(time.Millisecond).String(), b.Wait.String(), r.Between > b.Wait))
	t.WriteString(row("processor time of anything but the threads that compute", fmt.Sprintf("%.1f%% (%.1f of %.0f s)", 100*others, last.Total-last.Computing, last.Total), fmt.Sprintf("%.0f%%", 100*b.Others), others > b.Others))
	return t.String(), over
}

// peak is the most memory of some readings.
func peak(of []reading) int64 {
	return slices.MaxFunc(of, func(a, b reading) int { return cmp.Compare(a.Memory, b.Memory) }).Memory
}

// publish prints a report, and leaves it and what was read, r, in folder.
func publish(out io.Writer, folder, name, text string, r any) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return errors.Join(err, os.WriteFile(filepath.Join(folder, name+".json"), data, 0o644), os.WriteFile(filepath.Join(folder, name+".md"), []byte(text), 0o644))
}
