package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"hearth/inference"
)

// Progress is shown of what takes longer than barDelay: a bar on a terminal,
// else a line now and then.
const (
	barDelay     = time.Second
	lineInterval = 10 * time.Second
	pollInterval = 200 * time.Millisecond
)

// meter shows how far one piece of work is. It belongs to one goroutine.
type meter struct {
	w        io.Writer
	terminal bool
	what     string
	now      func() time.Time
	began    time.Time
	line     time.Time // when the last line was written
	written  int       // what it said
	bar      *progressbar.ProgressBar
}

func newMeter(w io.Writer, terminal bool, what string) *meter {
	m := &meter{w: w, terminal: terminal, what: what, now: time.Now}
	m.began = m.now()
	m.line = m.began
	return m
}

// set shows that done of total is reached.
func (m *meter) set(done, total int) {
	now := m.now()
	if total <= 0 || now.Sub(m.began) < barDelay {
		return
	}
	percent := min(100*done/total, 100)
	if !m.terminal {
		if now.Sub(m.line) >= lineInterval && percent > m.written {
			m.line, m.written = now, percent
			fmt.Fprintf(m.w, "%s: %d %%\n", m.what, percent)
		}
		return
	}
	if m.bar == nil {
		m.bar = progressbar.NewOptions(100, progressbar.OptionSetWriter(m.w), progressbar.OptionSetDescription(m.what),
			progressbar.OptionSetWidth(min(40, terminalWidth(m.w)/2)), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	}
	_ = m.bar.Set(percent) // a bar that cannot be drawn changes nothing
}

// say changes what the meter says before the share.
func (m *meter) say(what string) {
	m.what = what
	if m.bar != nil {
		m.bar.Describe(what)
	}
}

// finish takes the bar away.
func (m *meter) finish() {
	if m.bar != nil {
		_ = m.bar.Finish()
		m.bar = nil
	}
}

// lister is what is watched while models load.
type lister interface {
	List() []inference.ModelStatus
}

// watchLoading shows the progress of the models that load, until none does or
// ctx ends. The returned group waits for its end.
func watchLoading(ctx context.Context, w io.Writer, models lister) *sync.WaitGroup {
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(pollInterval)
		defer tick.Stop()
		var m *meter
		var id string
		for {
			s := loading(models.List())
			if m != nil && (s == nil || s.Info.ID != id) {
				m.finish()
				m = nil
			}
			if s == nil {
				return
			}
			if m == nil {
				id = s.Info.ID
				m = newMeter(w, isTerminal(w), "loading "+id)
			}
			m.set(int(1000*s.Progress), 1000)
			select {
			case <-tick.C:
			case <-ctx.Done():
				m.finish()
				return
			}
		}
	})
	return &wg
}

// loading returns the first model that still loads.
func loading(all []inference.ModelStatus) *inference.ModelStatus {
	for i := range all {
		if all[i].State == inference.ModelLoading {
			return &all[i]
		}
	}
	return nil
}
