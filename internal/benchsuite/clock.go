package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// clock tells how much of a suite is left: at first from what the runs take on a
// machine with two cores, then from what they took on this one.
type clock struct {
	begun    time.Time
	rounds   int
	steps    int // in all
	step     int // the one that runs
	expected map[string]float64
	order    []string // of one round
	done     map[string][]float64
	planned  float64 // seconds that the runs so far were expected to take
	spent    float64 // and took
}

// modelBytes is the size of the model that expected times are of.
const modelBytes = 98e6

func newClock(s *settings, all []entry, begun time.Time) clock {
	c := clock{begun: begun, rounds: s.Rounds, expected: map[string]float64{}, done: map[string][]float64{}}
	scale := 1.0
	if info, err := os.Stat(s.Model); err == nil && info.Size() > 0 {
		scale = max(float64(info.Size())/modelBytes, 0.5)
	}
	for i := range all {
		e := &all[i]
		systems := e.systems(0)
		if e.Ceiling {
			systems = append(systems, batchedBench)
		}
		for _, system := range systems {
			seconds := e.Seconds * scale
			if s.Quick {
				seconds = 3
			}
			c.expected[e.Name+system] = seconds
			c.order = append(c.order, e.Name+system)
		}
	}
	c.steps = len(c.order) * s.Rounds
	return c
}

// took notes what a run has taken.
func (c *clock) took(e *entry, system string, d time.Duration) {
	key := e.Name + system
	c.done[key] = append(c.done[key], d.Seconds())
	c.planned += c.expected[key]
	c.spent += d.Seconds()
}

// left returns how long the rest will take, about.
func (c *clock) left() time.Duration {
	slower := 1.0
	if c.planned > 0 {
		slower = c.spent / c.planned
	}
	seconds := 0.0
	for _, key := range c.order {
		took := c.done[key]
		each := c.expected[key] * slower
		if len(took) > 0 {
			each = took[len(took)-1]
		}
		seconds += each * float64(c.rounds-len(took))
	}
	return time.Duration(seconds * float64(time.Second))
}

// minutes prints a time as a person says it.
func minutes(d time.Duration) string {
	if d < 90*time.Second {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d min", int(d.Minutes()+0.5))
}

// say begins a step: one line for each.
func (s *suite) say(round int, entry, system, detail string) {
	if detail == "" {
		s.clock.step++
		detail = "starting"
	}
	if isTerminal(s.status) && !strings.HasPrefix(detail, "FAILED") {
		s.detail(round, entry, system, detail)
		return
	}
	fmt.Fprintf(s.status, "%s %s\n", s.line(round, entry, system), detail)
}

// detail shows on a terminal what goes on in a step.
func (s *suite) detail(round int, entry, system, detail string) {
	if isTerminal(s.status) {
		fmt.Fprintf(s.status, "\r\x1b[K%s %s", s.line(round, entry, system), detail)
	}
}

func (s *suite) line(round int, entry, system string) string {
	return fmt.Sprintf("[%d/%d] round %d/%d  %-20s %-26s %s, about %s left ", s.clock.step, s.clock.steps, round+1, s.settings.Rounds,
		entry, system, minutes(time.Since(s.begun)), minutes(s.clock.left()))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// lineFunc is a writer that calls itself for the last whole line of each write.
type lineFunc func(line string)

func (f lineFunc) Write(p []byte) (int, error) {
	lines := strings.Split(strings.TrimRight(string(p), "\n"), "\n")
	var done, total int
	if n, _ := fmt.Sscanf(lines[len(lines)-1], "%d %d", &done, &total); n == 2 {
		f(fmt.Sprintf("%d of %d requests", done, total))
	}
	return len(p), nil
}

// firstOf returns the first line of a text.
func firstOf(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
