package sqldb

import (
	"encoding/json"
	"strings"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// sqliteStmt is a prepared statement.
type sqliteStmt struct {
	c *sqliteConn
	p uintptr
}

// prepare compiles a text that is one statement.
func (c *sqliteConn) prepare(text string) (*sqliteStmt, error) {
	if strings.ContainsRune(text, 0) {
		return nil, toolError("the statement holds a NUL character: leave it out") // SQLite would end there
	}
	p, err := libc.CString(text)
	if err != nil {
		return nil, &sqliteError{code: lib.SQLITE_NOMEM, message: "out of memory"}
	}
	defer libc.Xfree(c.tls, p)
	var first *sqliteStmt
	for at := p; at != p+uintptr(len(text)); {
		rc := lib.Xsqlite3_prepare_v2(c.tls, c.db, at, int32(p+uintptr(len(text))-at)+1, c.scratch, c.scratch+8)
		st := &sqliteStmt{c: c, p: libc.AtomicLoadPUintptr(c.scratch)}
		if rc != lib.SQLITE_OK {
			err := c.failure(rc)
			if first != nil {
				first.finalize()
				err = errTwoStatements
			}
			return nil, err
		}
		at = libc.AtomicLoadPUintptr(c.scratch + 8)
		switch {
		case st.p == 0: // space and comments
		case first != nil:
			first.finalize()
			st.finalize()
			return nil, errTwoStatements
		default:
			first = st
		}
	}
	if first == nil {
		return nil, toolError("the statement is empty: write one SQL statement, such as SELECT … FROM …")
	}
	return first, nil
}

var errTwoStatements = toolError("one statement a call: there is something behind the first semicolon")

func (s *sqliteStmt) finalize() { lib.Xsqlite3_finalize(s.c.tls, s.p) }

func (s *sqliteStmt) readOnly() bool { return lib.Xsqlite3_stmt_readonly(s.c.tls, s.p) != 0 }

func (s *sqliteStmt) parameters() int { return int(lib.Xsqlite3_bind_parameter_count(s.c.tls, s.p)) }

func (s *sqliteStmt) columns() []column {
	out := make([]column, lib.Xsqlite3_column_count(s.c.tls, s.p))
	for i := range out {
		out[i].Name = libc.GoString(lib.Xsqlite3_column_name(s.c.tls, s.p, int32(i)))
		out[i].Type = strings.ToLower(libc.GoString(lib.Xsqlite3_column_decltype(s.c.tls, s.p, int32(i))))
	}
	return out
}

// bind sets the n-th parameter, 1 the first.
func (s *sqliteStmt) bind(n int, v any) error {
	var rc int32
	switch v := v.(type) {
	case nil:
		rc = lib.Xsqlite3_bind_null(s.c.tls, s.p, int32(n))
	case bool:
		var b int64
		if v {
			b = 1
		}
		rc = lib.Xsqlite3_bind_int64(s.c.tls, s.p, int32(n), b)
	case json.Number:
		if whole, err := v.Int64(); err == nil {
			rc = lib.Xsqlite3_bind_int64(s.c.tls, s.p, int32(n), whole)
			break
		}
		f, err := v.Float64()
		if err != nil {
			return toolError("parameter %d, %s, is too large a number", n, v)
		}
		rc = lib.Xsqlite3_bind_double(s.c.tls, s.p, int32(n), f)
	case string:
		p, err := libc.CString(v)
		if err != nil {
			return &sqliteError{code: lib.SQLITE_NOMEM, message: "out of memory"}
		}
		defer libc.Xfree(s.c.tls, p)
		rc = lib.Xsqlite3_bind_text(s.c.tls, s.p, int32(n), p, int32(len(v)), ^uintptr(0)) // SQLITE_TRANSIENT: it copies
	}
	if rc != lib.SQLITE_OK {
		return s.c.failure(rc)
	}
	return nil
}

// step computes the next row; more is false at the end.
func (s *sqliteStmt) step() (more bool, err error) {
	switch rc := lib.Xsqlite3_step(s.c.tls, s.p); rc {
	case lib.SQLITE_ROW:
		return true, nil
	case lib.SQLITE_DONE:
		return false, nil
	default:
		return false, s.c.failure(rc)
	}
}

// value is the i-th value of the row, 0 the first, as JSON.
func (s *sqliteStmt) value(i, limit int) json.RawMessage {
	tls, col := s.c.tls, int32(i)
	switch lib.Xsqlite3_column_type(tls, s.p, col) {
	case lib.SQLITE_INTEGER:
		return intValue(lib.Xsqlite3_column_int64(tls, s.p, col))
	case lib.SQLITE_FLOAT:
		return floatValue(lib.Xsqlite3_column_double(tls, s.p, col), 64)
	case lib.SQLITE_TEXT:
		p := lib.Xsqlite3_column_text(tls, s.p, col)
		return textValue(string(s.bytes(p, col)), limit)
	case lib.SQLITE_BLOB:
		p := lib.Xsqlite3_column_blob(tls, s.p, col)
		return bytesValue(s.bytes(p, col), limit)
	}
	return null
}

// bytes are those of a value, valid until the next step.
func (s *sqliteStmt) bytes(p uintptr, col int32) []byte {
	n := int(lib.Xsqlite3_column_bytes(s.c.tls, s.p, col))
	if p == 0 || n == 0 {
		return nil
	}
	return libc.GoBytes(p, n)
}

// size is how many bytes the values of the row have.
func (s *sqliteStmt) size(columns int) (size int) {
	for i := range columns {
		size += int(lib.Xsqlite3_column_bytes(s.c.tls, s.p, int32(i)))
	}
	return size
}
