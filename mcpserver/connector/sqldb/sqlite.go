package sqldb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

// sqliteFile is a SQLite database: connections to one file, in this process.
type sqliteFile struct {
	cfg   Config
	slots chan struct{} // one for each connection that may be in use
	mu    sync.Mutex
	idle  []*sqliteConn
	ended bool
}

var errClosed = errors.New("the database is closed")

func newSQLite(cfg Config) *sqliteFile {
	return &sqliteFile{cfg: cfg, slots: make(chan struct{}, cfg.Connections)}
}

func (f *sqliteFile) close() {
	f.mu.Lock()
	f.ended = true
	idle := f.idle
	f.idle = nil
	f.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
	for range cap(f.slots) { // until those in use are back
		f.slots <- struct{}{}
	}
}

func (f *sqliteFile) acquire(ctx context.Context, write bool) (*sqliteConn, error) {
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.mu.Lock()
	ended := f.ended
	for i := len(f.idle) - 1; i >= 0; i-- {
		if c := f.idle[i]; c.write == write {
			f.idle = append(f.idle[:i], f.idle[i+1:]...)
			f.mu.Unlock()
			return c, nil
		}
	}
	f.mu.Unlock()
	if ended {
		<-f.slots
		return nil, errClosed
	}
	c, err := openSQLite(&f.cfg, write)
	if err != nil {
		<-f.slots
		return nil, err
	}
	return c, nil
}

func (f *sqliteFile) release(c *sqliteConn, keep bool) {
	f.mu.Lock()
	if keep = keep && !f.ended && len(f.idle) < cap(f.slots); keep {
		f.idle = append(f.idle, c)
	}
	f.mu.Unlock()
	if !keep {
		c.close()
	}
	<-f.slots
}

func (f *sqliteFile) run(ctx context.Context, s *statement) (*rowset, error) {
	c, err := f.acquire(ctx, s.write)
	if err != nil {
		return nil, err
	}
	keep := false
	defer func() { f.release(c, keep) }()
	defer c.watch(ctx)()
	set, err := f.statement(c, s)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	keep = err == nil
	var own *sqliteError
	if errors.As(err, &own) && own.aboutStatement() {
		keep = true
		return nil, toolError("%s", own.message)
	}
	return set, err
}

func (f *sqliteFile) statement(c *sqliteConn, s *statement) (*rowset, error) {
	st, err := c.prepare(s.text)
	if err != nil {
		return nil, err
	}
	defer st.finalize()
	if !s.write && !st.readOnly() {
		return nil, toolError("query only reads, and this statement writes")
	}
	if n := st.parameters(); n != len(s.params) {
		return nil, toolError("the statement has %s and params has %d: give one value for each ?", plural(int64(n), "parameter"), len(s.params))
	}
	for i, v := range s.params {
		if err := st.bind(i+1, v); err != nil {
			return nil, err
		}
	}
	col := newCollector(s)
	col.set.columns = st.columns()
	for {
		more, err := st.step()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if col.wants() {
			row := make([]json.RawMessage, len(col.set.columns))
			for i := range row {
				row[i] = st.value(i, col.cell())
			}
			more = col.add(row)
		} else {
			more = col.skip(st.size(len(col.set.columns)))
		}
		// A statement that writes and returns rows is run to its end.
		if !more && !s.write {
			break
		}
	}
	if s.write && !st.readOnly() {
		col.set.affected = c.changes()
	}
	return &col.set, nil
}

// sqliteError is what SQLite says.
type sqliteError struct {
	code    int // the extended result code
	message string
}

func (e *sqliteError) Error() string { return fmt.Sprintf("sqlite: %s (%d)", e.message, e.code) }
