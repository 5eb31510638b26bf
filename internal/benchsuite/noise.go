package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTicks is how many of the kernel's units of CPU time a second has: USER_HZ,
// which is 100 on every Linux that Go runs on.
const clockTicks = 100

// tooNoisy is how many CPUs others may use during a run before the report says so.
// Two compute threads that wait for each other are many times slower as soon as
// somebody else takes one of their cores.
const tooNoisy = 0.1

// cpuTime is CPU time in seconds.
type cpuTime struct {
	Busy  float64 // of all processes of the machine
	Steal float64 // that a virtual machine wanted and did not get
}

// machineTime reads the CPU time since the machine's start.
func machineTime() (cpuTime, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpuTime{}, fmt.Errorf("read CPU time: %w", err)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	return parseStat(line)
}

// parseStat reads the first line of /proc/stat: user nice system idle iowait irq
// softirq steal.
func parseStat(line string) (cpuTime, error) {
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return cpuTime{}, fmt.Errorf("read CPU time: %q is no line of CPU times", line)
	}
	var v [8]float64
	for i := range v {
		ticks, err := strconv.ParseUint(fields[i+1], 10, 64)
		if err != nil {
			return cpuTime{}, fmt.Errorf("read CPU time: %w", err)
		}
		v[i] = float64(ticks) / clockTicks
	}
	return cpuTime{Busy: v[0] + v[1] + v[2] + v[5] + v[6], Steal: v[7]}, nil
}

// used returns the CPU time of the process and its children in seconds.
func (s *server) used() (float64, error) {
	total := 0.0
	for _, pid := range append([]int{s.cmd.Process.Pid}, childrenOf(s.cmd.Process.Pid)...) {
		raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil && pid != s.cmd.Process.Pid {
			continue // a child that has ended
		}
		if err != nil {
			return 0, fmt.Errorf("read the server's CPU time: %w", err)
		}
		seconds, err := parseProcessStat(string(raw))
		if err != nil {
			return 0, err
		}
		total += seconds
	}
	return total, nil
}

// parseProcessStat adds utime and stime of the text of /proc/PID/stat. The name
// in it is in parentheses and may contain anything.
func parseProcessStat(text string) (float64, error) {
	_, rest, ok := strings.Cut(text[max(strings.LastIndexByte(text, ')'), 0):], " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, errors.New("read the server's CPU time: the process status is too short")
	}
	user, err1 := strconv.ParseUint(fields[11], 10, 64)
	system, err2 := strconv.ParseUint(fields[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("read the server's CPU time: %w", err)
	}
	return float64(user+system) / clockTicks, nil
}

// noise is what else went on during a run.
type noise struct {
	Others float64 `json:"cpus_used_by_others"` // on average
	Steal  float64 `json:"cpus_stolen"`         // by the host of a virtual machine, on average
}

// watchNoise measures from now until the function it returns is called with the
// load generator that has run since.
func watchNoise(s *server) (func(generator *exec.Cmd) (noise, error), error) {
	begin := time.Now()
	machineBefore, err1 := machineTime()
	serverBefore, err2 := s.used()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return func(generator *exec.Cmd) (noise, error) {
		seconds := time.Since(begin).Seconds()
		machineAfter, err1 := machineTime()
		serverAfter, err2 := s.used()
		if err := errors.Join(err1, err2); err != nil {
			return noise{}, err
		}
		state := generator.ProcessState
		own := serverAfter - serverBefore + (state.UserTime() + state.SystemTime()).Seconds()
		return noise{
			Others: max(machineAfter.Busy-machineBefore.Busy-own, 0) / seconds,
			Steal:  (machineAfter.Steal - machineBefore.Steal) / seconds,
		}, nil
	}, nil
}
