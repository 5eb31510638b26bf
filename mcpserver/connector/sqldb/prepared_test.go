package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
)

// panicking is a driver that takes an answer of the server for longer than it is, as
// that of MySQL does with the answer to SET GLOBAL.
type panicking struct{ driver.Conn }

func (p panicking) Connect(context.Context) (driver.Conn, error) { return p, nil }
func (panicking) Driver() driver.Driver                          { return nil }
func (panicking) Close() error                                   { return nil }

func (panicking) Prepare(string) (driver.Stmt, error) {
	short := make([]byte, 7)
	return nil, errors.New(string(short[7 : cap(short)+2]))
}

// TestPreparingPanics: it is the statement that is refused, the process goes on, and
// the connection can be closed.
func TestPreparingPanics(t *testing.T) {
	db := sql.OpenDB(panicking{})
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if stmt, err := prepared(t.Context(), conn, "SET GLOBAL x = 1"); stmt != nil || !errors.Is(err, errUnprepared) {
		t.Errorf("got %v, %v", stmt, err)
	}
	if err := errors.Join(conn.Close(), db.Close()); err != nil {
		t.Error(err)
	}
}
