package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	meterDelay  = time.Second      // what is done sooner shows nothing
	sparseEvery = 15 * time.Second // least distance of two lines where no terminal is
)

// meter shows how far one piece of work is: one line redrawn in place on a
// terminal, a line now and then elsewhere.
type meter struct {
	out   io.Writer
	tty   bool
	label string
	total int64 // 0 while unknown
	bytes bool
	now   func() time.Time

	start, last time.Time
	done        int64
	shown       bool
	bar         *progressbar.ProgressBar
}

// newMeter starts a meter; bytes says that the count is one of bytes.
func newMeter(out io.Writer, label string, total int64, bytes bool) *meter {
	m := &meter{out: out, tty: isTerminal(out), label: label, total: total, bytes: bytes, now: time.Now}
	m.start = m.now()
	return m
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// Write counts p as done, so that a meter can stand beside a hash in a
// MultiWriter.
func (m *meter) Write(p []byte) (int, error) {
	m.set(m.done+int64(len(p)), m.total)
	return len(p), nil
}

// set moves the meter to done of total.
func (m *meter) set(done, total int64) {
	m.done, m.total = done, total
	now := m.now()
	if now.Sub(m.start) < meterDelay {
		return
	}
	if m.tty {
		m.draw()
		return
	}
	if !m.shown || now.Sub(m.last) >= sparseEvery {
		m.shown, m.last = true, now
		fmt.Fprintf(m.out, "%s: %s\n", m.label, m.position())
	}
}

func (m *meter) draw() {
	if m.bar == nil {
		m.shown = true
		m.bar = progressbar.NewOptions64(m.total,
			progressbar.OptionSetWriter(m.out),
			progressbar.OptionSetDescription(m.label),
			progressbar.OptionShowBytes(m.bytes),
			progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(28),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	if m.bar.GetMax64() != m.total {
		m.bar.ChangeMax64(m.total)
	}
	// The bar draws on a terminal that may be gone; the work goes on.
	_ = m.bar.Set64(m.done)
}

func (m *meter) position() string {
	if m.bytes {
		return fmt.Sprintf("%.0f of %.0f MB", float64(m.done)/1e6, float64(m.total)/1e6)
	}
	return fmt.Sprintf("%d of %d", m.done, m.total)
}

// finish closes the meter. Work that took longer than a second leaves one line.
func (m *meter) finish() {
	if !m.shown {
		return
	}
	if m.bar != nil {
		_ = m.bar.Clear()
	}
	fmt.Fprintf(m.out, "%s: %s in %s\n", m.label, m.position(), m.now().Sub(m.start).Round(100*time.Millisecond))
}
