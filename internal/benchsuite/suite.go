package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"hearth/internal/loadgen"
)

// suite is one comparison.
type suite struct {
	settings settings
	entries  []entry
	clients  int           // above 0: the most of the growth curves, which are measured instead of the entries
	calls    bool          // measure calls of tools, too
	limit    time.Duration // of one run; it has failed then
	self     string        // this program, as a load generator
	dir      string        // where the report goes
	status   io.Writer
	raw      io.Writer

	runs     []run
	ceilings []ceiling
	clock    clock
	begun    time.Time
}

// measure runs all rounds. A run that fails is kept as failed and the others go
// on: after an hour, a report with a gap is worth more than none. It is an error
// if nothing but failures came of it.
func (s *suite) measure(ctx context.Context) error {
	s.begun = time.Now()
	s.clock = newClock(&s.settings, s.entries, s.begun)
	fmt.Fprintf(s.status, "%s of %d scenarios, %d runs, about %s on a machine of two cores\n", count(s.settings.Rounds, "round"), len(s.entries), s.clock.steps, minutes(s.clock.left()))
	good := 0
	for round := range s.settings.Rounds {
		for i := range s.entries {
			e := &s.entries[i]
			var lengths []string
			for _, system := range e.systems(round) {
				began := time.Now()
				r := s.one(ctx, system, e, round, s.settings.Seed+uint64(round))
				if ctx.Err() != nil {
					return ctx.Err()
				}
				s.clock.took(e, system, time.Since(began))
				r.Seconds = time.Since(began).Seconds()
				s.runs = append(s.runs, r)
				if err := s.keep(&r); err != nil {
					return err
				}
				if r.Failed != "" {
					s.say(round, e.Name, system, "FAILED: "+firstOf(r.Failed))
					continue
				}
				good++
				if system == plain && e.Ceiling {
					lengths = ceilingArgs(r.Result, r.Summary)
				}
			}
			if err := s.ceiling(ctx, e, round, lengths); err != nil {
				return err
			}
		}
	}
	if good == 0 {
		return fmt.Errorf("every run failed; the first: %s", s.runs[0].Failed)
	}
	return nil
}

func (s *suite) ceiling(ctx context.Context, e *entry, round int, lengths []string) error {
	if !e.Ceiling {
		return nil
	}
	s.say(round, e.Name, batchedBench, "")
	began := time.Now()
	defer func() { s.clock.took(e, batchedBench, time.Since(began)) }()
	if lengths == nil {
		return nil
	}
	c, err := measureCeiling(ctx, s.settings, e, round, lengths)
	if err != nil {
		return err
	}
	s.ceilings = append(s.ceilings, c)
	return nil
}

// keep appends a run with all its samples to raw.jsonl.
func (s *suite) keep(r *run) error {
	raw, err := json.Marshal(struct {
		*run
		Result  *loadgen.Result            `json:"result"`
		Results map[string]*loadgen.Result `json:"phase_results,omitempty"`
	}{r, r.Result, r.Results})
	if err != nil {
		return fmt.Errorf("encode samples: %w", err)
	}
	if _, err := s.raw.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("write samples: %w", err)
	}
	return nil
}
