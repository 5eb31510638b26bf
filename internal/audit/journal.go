package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// journal appends lines to a file. Who wants a line to outlast a power cut waits
// for it; all who wait while one write is on its way share the next (group commit,
// D. DeWitt and others, "Implementation Techniques for Main Memory Database
// Systems", 1984). It is safe for concurrent use.
type journal struct {
	file *os.File
	sync func(*os.File) error // fdatasync; another one in tests

	mu     sync.Mutex
	next   *group // gathers lines; nil: there are none
	busy   bool   // a goroutine writes
	idle   *sync.Cond
	broken error // of an earlier write: nothing is durable any more
	closed bool
}

// group is lines that are written together.
type group struct {
	lines   []byte
	durable bool // somebody waits
	done    chan struct{}
	err     error // once done is closed
}

// errClosed says that a record came after the end.
var errClosed = errors.New("audit: the file is closed")

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the audit file: %w", err)
	}
	j := &journal{file: f, sync: func(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }}
	j.idle = sync.NewCond(&j.mu)
	return j, nil
}

// Write appends one line and returns when the system has it: it outlasts this
// process, not a power cut. It implements io.Writer for a logger.
func (j *journal) Write(line []byte) (int, error) {
	g, err := j.add(line, false)
	if err != nil {
		return 0, err
	}
	if <-g.done; g.err != nil {
		return 0, g.err
	}
	return len(line), nil
}

// commit appends one line and returns when it is on the disk.
func (j *journal) commit(ctx context.Context, line []byte) error {
	g, err := j.add(line, true)
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

func (j *journal) add(line []byte, durable bool) (*group, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil, errClosed
	}
	if j.broken != nil && durable {
		return nil, j.broken
	}
	if j.next == nil {
		j.next = &group{done: make(chan struct{})}
	}
	j.next.lines = append(j.next.lines, line...)
	j.next.durable = j.next.durable || durable
	g := j.next
	if !j.busy {
		j.busy = true
		go j.write()
	}
	return g, nil
}

// write writes groups until there are none.
func (j *journal) write() {
	for {
		j.mu.Lock()
		g := j.next
		j.next = nil
		if g == nil {
			j.busy = false
			j.idle.Broadcast()
			j.mu.Unlock()
			return
		}
		j.mu.Unlock()
		_, err := j.file.Write(g.lines)
		if err == nil && g.durable {
			err = j.sync(j.file)
		}
		if err != nil {
			err = fmt.Errorf("write the audit file: %w", err)
			// What was not written is told at least; a file whose sync failed once may
			// have lost what came before, so nothing is durable from here on.
			fmt.Fprintf(os.Stderr, "hearth: %v; the records were:\n%s", err, g.lines)
			j.mu.Lock()
			j.broken = err
			j.mu.Unlock()
		}
		g.err = err
		close(g.done)
	}
}

// close writes what is left and closes the file.
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
