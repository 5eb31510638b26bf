package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// journal appends lines to a file. Each is written by who has it, at once. Who wants
// it to outlast a power cut then waits for the next fdatasync that begins; all who
// come while one is on its way share the next (group commit, D. DeWitt and others,
// "Implementation Techniques for Main Memory Database Systems", 1984). So a durable
// line takes two of them at most, the rest of one and a whole one, and a line that
// need not be durable none. It is safe for concurrent use.
type journal struct {
	file   *os.File
	sync   func(*os.File) error // fdatasync; another one in tests
	synced func()               // is told of each

	mu     sync.Mutex
	next   *group // who waits for the next fdatasync; nil: nobody
	busy   bool   // a goroutine calls it
	idle   *sync.Cond
	broken error // of an earlier write: nothing is durable any more
	closed bool
}

// group is who waits for one fdatasync.
type group struct {
	lines []byte
	done  chan struct{}
	err   error // once done is closed
}

// errClosed says that a record came after the end.
var errClosed = errors.New("audit: the file is closed")

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the audit file: %w", err)
	}
	j := &journal{file: f, sync: func(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }, synced: func() {}}
	j.idle = sync.NewCond(&j.mu)
	return j, nil
}

// Write appends one line and returns when the system has it: it outlasts this
// process, not a power cut. It implements io.Writer for a logger.
func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.append(line); err != nil {
		return 0, err
	}
	return len(line), nil
}

// append writes one line. The lock is held: lines do not mix.
func (j *journal) append(line []byte) error {
	if j.closed {
		return errClosed
	}
	if _, err := j.file.Write(line); err != nil {
		return j.fail(err, line)
	}
	return nil
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

// commit appends one line and returns when it is on the disk.
func (j *journal) commit(ctx context.Context, line []byte) error {
	g, err := j.add(line)
	if err != nil {
		return err
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// add appends one line, and has the next fdatasync called.
func (j *journal) add(line []byte) (*group, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil && !j.closed {
		return nil, j.broken
	}
	if err := j.append(line); err != nil {
		return nil, err
	}
	if j.next == nil {
		j.next = &group{done: make(chan struct{})}
	}
	g := j.next
	g.lines = append(g.lines, line...)
	if !j.busy {
		j.busy = true
		go j.flush()
	}
	return g, nil
}

// flush calls fdatasync until nobody waits for it.
func (j *journal) flush() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.next != nil {
		g := j.next
		j.next = nil
		j.mu.Unlock()
		err := j.sync(j.file)
		j.synced()
		j.mu.Lock()
		if err != nil {
			g.err = j.fail(err, g.lines)
		}
		close(g.done)
	}
	j.busy = false
	j.idle.Broadcast()
}

// close has what is left written to the disk and closes the file.
func (j *journal) close() error {
	j.mu.Lock()
	j.closed = true
	for j.busy {
		j.idle.Wait()
	}
	broken := j.broken
	j.mu.Unlock()
	return errors.Join(broken, j.sync(j.file), j.file.Close())
}
