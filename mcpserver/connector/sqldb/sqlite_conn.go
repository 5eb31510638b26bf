package sqldb

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// sqliteConn is one connection to a file. It belongs to one goroutine at a time.
// It is made of the library's own calls: through database/sql a statement can be
// stopped only before its first row, the rest of a text behind the first
// statement would run, and a file would be opened for writing.
type sqliteConn struct {
	tls   *libc.TLS
	db    uintptr
	write bool
	// scratch is room for one pointer.
	scratch uintptr
	stopped atomic.Bool
}

// Bounds of one connection, by SQLite's own limits.
var sqliteLimits = map[int32]int32{
	lib.SQLITE_LIMIT_ATTACHED:            0,
	lib.SQLITE_LIMIT_LENGTH:              32 << 20,
	lib.SQLITE_LIMIT_SQL_LENGTH:          maxStatement,
	lib.SQLITE_LIMIT_VARIABLE_NUMBER:     maxParams,
	lib.SQLITE_LIMIT_EXPR_DEPTH:          200,
	lib.SQLITE_LIMIT_COMPOUND_SELECT:     100,
	lib.SQLITE_LIMIT_TRIGGER_DEPTH:       20,
	lib.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
	lib.SQLITE_LIMIT_WORKER_THREADS:      0,
}

// watched are the connections by their handles: what SQLite calls back knows
// nothing else.
var watched sync.Map // uintptr → *sqliteConn

// progressSteps is how many steps of SQLite's machine lie between two looks at
// whether the caller is gone.
const progressSteps = 1000

// callback is a function as the library calls it.
func callback[F any](f F) uintptr {
	// A function value is a pointer to a pointer to its code; the library takes the
	// former. Functions of a package do not move.
	return *(*uintptr)(unsafe.Pointer(&struct{ f F }{f}))
}

func sqliteProgress(_ *libc.TLS, db uintptr) int32 {
	if c, ok := watched.Load(db); ok && !c.(*sqliteConn).stopped.Load() {
		return 0
	}
	return 1
}

func sqliteAuthorize(_ *libc.TLS, db uintptr, action int32, arg1, arg2, _, _ uintptr) int32 {
	c, ok := watched.Load(db)
	if !ok || !allowedAction(action, libc.GoString(arg1), libc.GoString(arg2), c.(*sqliteConn).write) {
		return lib.SQLITE_DENY
	}
	return lib.SQLITE_OK
}

func openSQLite(cfg *Config, write bool) (_ *sqliteConn, err error) {
	if info, err := os.Stat(cfg.Path); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open the database: %s is no file", cfg.Path)
	}
	if log, err := os.Stat(cfg.Path + "-wal"); cfg.Immutable && err == nil && log.Size() > 0 {
		return nil, fmt.Errorf("open the database: %s-wal holds changes that immutable: true would not see: take it out, or close the program that writes", cfg.Path)
	}
	c := &sqliteConn{tls: libc.NewTLS(), write: write}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.scratch = libc.Xmalloc(c.tls, 16); c.scratch == 0 {
		return nil, &sqliteError{code: lib.SQLITE_NOMEM, message: "out of memory"}
	}
	if err := c.open(cfg); err != nil {
		return nil, err
	}
	for id, value := range sqliteLimits {
		lib.Xsqlite3_limit(c.tls, c.db, id, value)
	}
	c.configure(lib.SQLITE_DBCONFIG_DEFENSIVE, 1)
	c.configure(lib.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
	c.configure(lib.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)
	c.configure(lib.SQLITE_DBCONFIG_DQS_DML, 0)
	lib.Xsqlite3_busy_timeout(c.tls, c.db, int32(cfg.LockTimeout.Milliseconds()))
	pragmas := []string{"PRAGMA foreign_keys = ON", "SELECT count(*) FROM sqlite_schema"}
	if !write {
		pragmas = append(pragmas, "PRAGMA query_only = ON")
	}
	for _, text := range pragmas {
		if err := c.exec(text); err != nil {
			return nil, explainOpen(cfg, err)
		}
	}
	watched.Store(c.db, c)
	if rc := lib.Xsqlite3_set_authorizer(c.tls, c.db, callback(sqliteAuthorize), c.db); rc != lib.SQLITE_OK {
		return nil, c.failure(rc)
	}
	lib.Xsqlite3_progress_handler(c.tls, c.db, progressSteps, callback(sqliteProgress), c.db)
	return c, nil
}

func (c *sqliteConn) open(cfg *Config) error {
	name := url.URL{Scheme: "file", Path: cfg.Path, OmitHost: true}
	if cfg.Immutable {
		name.RawQuery = "immutable=1"
	}
	text, err := libc.CString(name.String())
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer libc.Xfree(c.tls, text)
	flags := int32(lib.SQLITE_OPEN_READONLY)
	if c.write {
		flags = lib.SQLITE_OPEN_READWRITE
	}
	rc := lib.Xsqlite3_open_v2(c.tls, text, c.scratch, flags|lib.SQLITE_OPEN_URI|lib.SQLITE_OPEN_FULLMUTEX|lib.SQLITE_OPEN_EXRESCODE, 0)
	c.db = libc.AtomicLoadPUintptr(c.scratch)
	if rc != lib.SQLITE_OK {
		return explainOpen(cfg, c.failure(rc))
	}
	return nil
}

// explainOpen adds the remedy for what commonly keeps a file from being read.
func explainOpen(cfg *Config, err error) error {
	if cfg.Immutable {
		return fmt.Errorf("open the database: %w", err)
	}
	return fmt.Errorf("open the database: %w. A database in WAL mode needs a folder in which its -shm and -wal files can be made (%s); where it never changes, set immutable: true",
		err, filepath.Dir(cfg.Path))
}

// configure sets a switch of the connection.
func (c *sqliteConn) configure(op, value int32) {
	args := libc.VaList(c.scratch, value, uintptr(0))
	lib.Xsqlite3_db_config(c.tls, c.db, op, args)
}

// exec runs a statement of our own, before any rule is on.
func (c *sqliteConn) exec(text string) error {
	st, err := c.prepare(text)
	if err != nil {
		return err
	}
	defer st.finalize()
	_, err = st.step()
	return err
}

// watch stops the statements of this connection when ctx ends. The function
// returned ends the watch.
func (c *sqliteConn) watch(ctx context.Context) (done func()) {
	c.stopped.Store(ctx.Err() != nil)
	stop := context.AfterFunc(ctx, func() { c.stopped.Store(true) })
	return func() { stop() }
}

func (c *sqliteConn) changes() int64 { return int64(lib.Xsqlite3_changes(c.tls, c.db)) }

func (c *sqliteConn) close() {
	if c.db != 0 {
		lib.Xsqlite3_close_v2(c.tls, c.db)
		watched.Delete(c.db)
		c.db = 0
	}
	if c.scratch != 0 {
		libc.Xfree(c.tls, c.scratch)
		c.scratch = 0
	}
	c.tls.Close()
}

func (c *sqliteConn) failure(rc int32) error {
	e := &sqliteError{code: int(rc), message: libc.GoString(lib.Xsqlite3_errstr(c.tls, rc))}
	if c.db == 0 {
		return e
	}
	if text := libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db)); text != "" {
		e.message = text
	}
	if at := lib.Xsqlite3_error_offset(c.tls, c.db); at >= 0 {
		e.message += fmt.Sprintf(" (at byte %d)", at+1)
	}
	return e
}

// aboutStatement says whether the statement is at fault, and not the file or the
// machine.
func (e *sqliteError) aboutStatement() bool {
	switch e.code & 0xff {
	case lib.SQLITE_ERROR, lib.SQLITE_AUTH, lib.SQLITE_CONSTRAINT, lib.SQLITE_MISMATCH, lib.SQLITE_RANGE,
		lib.SQLITE_TOOBIG, lib.SQLITE_READONLY, lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_SCHEMA:
		return true
	}
	return false
}
