package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ticks are the units of processor time in /proc: a hundred a second, on every
// Linux that Go runs on.
const ticks = 100

// computeName is what the server calls the thread that computes.
const computeName = "hearth-compute"

// thread is one thread of a process.
type thread struct {
	name    string
	seconds float64 // of processor time, in user mode and in the kernel
}

// readThreads reads the threads of a process, by their ids. One that ends meanwhile
// is left out.
func readThreads(proc string) (map[int]thread, error) {
	files, err := filepath.Glob(filepath.Join(proc, "task", "*", "stat"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("read the threads in %s: there are none: %w", proc, err)
	}
	all := map[int]thread{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		id, t, err := parseStat(text)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f, err)
		}
		all[id] = t
	}
	return all, nil
}

// parseStat reads a line of /proc/PID/task/TID/stat. The name is in parentheses and
// may hold some itself.
func parseStat(line []byte) (id int, t thread, err error) {
	open, shut := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 0 || shut < open {
		return 0, t, fmt.Errorf("no name in parentheses in %q", line)
	}
	if id, err = strconv.Atoi(strings.TrimSpace(string(line[:open]))); err != nil {
		return 0, t, fmt.Errorf("no thread id in %q: %w", line, err)
	}
	// From the state on, which is field 3: utime is 14, stime 15.
	fields := strings.Fields(string(line[shut+1:]))
	if len(fields) < 13 {
		return 0, t, fmt.Errorf("%d fields behind the name in %q", len(fields), line)
	}
	for _, f := range fields[11:13] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0, t, fmt.Errorf("no time in %q: %w", line, err)
		}
		t.seconds += float64(n) / ticks
	}
	t.name = string(line[open+1 : shut])
	return id, t, nil
}

// readMemory reads the resident set of a process, in bytes.
func readMemory(proc string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(proc, "statm"))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("read the memory of %s: %q", proc, text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", proc, err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// computing is how much processor time n threads that compute took between two
// readings: the one that the server has named so, and those with the most.
func computing(from, to map[int]thread, n int) (seconds float64) {
	var rest []float64
	for id, t := range to {
		spent := t.seconds - from[id].seconds
		if t.name == computeName && n > 0 {
			seconds += spent
			n--
			continue
		}
		rest = append(rest, spent)
	}
	slices.Sort(rest)
	for _, s := range rest[max(len(rest)-n, 0):] {
		seconds += s
	}
	return seconds
}

// readTotal reads the processor time of a process, in seconds, with that of threads
// that have ended.
func readTotal(proc string) (float64, error) {
	text, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return 0, err
	}
	_, t, err := parseStat(text)
	return t.seconds, err
}
