package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// journal appends lines to a file. Who wants a line to outlast a power cut waits for
// the next fdatasync that begins when it is written; all whose lines are written while
// one is on its way share the next (group commit, D. DeWitt and others, "Implementation
// Techniques for Main Memory Database Systems", 1984). So a durable line takes two of
// them at most, the rest of one and a whole one, and a line that need not be durable
// none. Where several are at work, lines are written together, too: by a goroutine that
// lets those go first that can run now. It is safe for concurrent use.
type journal struct {
	file   *os.File
	sync   func(*os.File) error // fdatasync; another one in tests
	synced func()               // is told of each

	mu       sync.Mutex
	lines    []byte // that are to be written
	spare    []byte // memory for them
	group    *group // who waits for those of them; nil: nobody
	written  []*group
	waiting  int  // in all groups
	writing  bool // a goroutine writes lines, or is about to
	syncing  bool // one calls fdatasync
	progress *sync.Cond
	broken   error // of an earlier write: nothing is durable any more
	closed   bool
}

// group is who waits for the same lines.
type group struct {
	lines []byte // of which they are, once those were written
	size  int    // waiters
	done  chan struct{}
	err   error // once done is closed
}

// mostLines bounds what waits to be written, in bytes.
const mostLines = 4 << 20

// errClosed says that a record came after the end.
var errClosed = errors.New("audit: the file is closed")

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the audit file: %w", err)
	}
	j := &journal{file: f, sync: func(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }, synced: func() {}}
	j.progress = sync.NewCond(&j.mu)
	return j, nil
}

// Write appends one line, for a logger. Where nobody waits for the disk it returns when
// the system has the line: it outlasts this process, not a power cut. Otherwise the
// system has it soon, with others.
func (j *journal) Write(line []byte) (int, error) {
	if _, err := j.add(line, false); err != nil {
		return 0, err
	}
	return len(line), nil
}

// wait waits until what was added is on the disk.
func (g *group) wait(ctx context.Context) error {
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// add takes over one line and sees to it that it is written. The group is that of a
// durable one.
func (j *journal) add(line []byte, durable bool) (*group, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.lines) > mostLines && !j.closed {
		j.progress.Wait()
	}
	if j.closed {
		return nil, errClosed
	}
	if durable && j.broken != nil {
		return nil, j.broken
	}
	j.lines = append(j.lines, line...)
	var g *group
	if durable {
		if j.group == nil {
			j.group = &group{done: make(chan struct{})}
		}
		g = j.group
		g.size++
		j.waiting++
	}
	switch {
	case j.writing:
	case j.waiting > 0:
		j.writing = true
		go j.run()
	default: // alone
		_, err := j.file.Write(j.lines)
		if err != nil {
			err = j.fail(err, j.lines)
		}
		j.lines = j.lines[:0]
		return nil, err
	}
	return g, nil
}

// run writes lines until there are no more, and has them made durable.
func (j *journal) run() {
	runtime.Gosched() // who can run now may have a line, too
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.lines) > 0 {
		j.write()
	}
	j.writing = false
	if len(j.written) > 0 && !j.syncing {
		j.syncing = true
		for len(j.written) > 0 {
			j.flush()
		}
		j.syncing = false
	}
	j.progress.Broadcast()
}

// write writes all lines that there are. The lock is held, but not meanwhile.
func (j *journal) write() {
	lines, g := j.lines, j.group
	j.lines, j.spare, j.group = j.spare[:0], nil, nil
	j.mu.Unlock()
	_, err := j.file.Write(lines)
	j.mu.Lock()
	j.progress.Broadcast()
	switch {
	case err != nil:
		err = j.fail(err, lines)
		if g != nil {
			j.end(g, err)
		}
	case g != nil:
		g.lines = lines
		j.written = append(j.written, g)
	default:
		j.reuse(lines)
	}
}

// reuse keeps memory for lines, unless it is much. The lock is held.
func (j *journal) reuse(lines []byte) {
	if cap(lines) <= 64<<10 {
		j.spare = lines
	}
}

// flush makes durable what was written. The lock is held, but not meanwhile.
func (j *journal) flush() {
	groups := j.written
	j.written = nil
	j.mu.Unlock()
	err := j.sync(j.file)
	j.synced()
	j.mu.Lock()
	if err != nil {
		for _, g := range groups {
			_ = j.fail(err, g.lines)
		}
	}
	for _, g := range groups {
		j.reuse(g.lines)
		j.end(g, j.broken)
	}
}

// end tells those who wait in a group. The lock is held.
func (j *journal) end(g *group, err error) {
	g.err, g.lines = err, nil
	j.waiting -= g.size
	close(g.done)
}

// fail tells of lines that may be lost. The lock is held.
func (j *journal) fail(err error, lines []byte) error {
	err = fmt.Errorf("write the audit file: %w", err)
	// What was not written is told at least; a file whose sync failed once may have
	// lost what came before, so nothing is durable from here on.
	fmt.Fprintf(os.Stderr, "hearth: %v; the records were:\n%s", err, lines)
	j.broken = err
	return err
}

// close has what is left written to the disk and closes the file.
func (j *journal) close() error {
	j.mu.Lock()
	j.closed = true
	j.progress.Broadcast()
	for j.writing || j.syncing {
		j.progress.Wait()
	}
	broken := j.broken
	j.mu.Unlock()
	return errors.Join(broken, j.sync(j.file), j.file.Close())
}
