package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// killTimeout bounds the ending of a statement, for which a connection is made.
const killTimeout = 10 * time.Second

// mysqlServer is a MySQL or MariaDB server.
type mysqlServer struct {
	cfg Config
	db  *sql.DB
	// killers make the connections that end statements on others.
	killers *sql.DB
	kills   sync.WaitGroup
}

func newMySQL(cfg Config) (*mysqlServer, error) {
	dsn, password, err := cfg.readDSN()
	if err != nil {
		return nil, err
	}
	mc, err := parseMySQL(dsn)
	if err != nil {
		return nil, err
	}
	if password != "" {
		mc.Passwd = password
	}
	if mc.Timeout == 0 {
		mc.Timeout = dialTimeout
	}
	connector, err := mysql.NewConnector(mc)
	if err != nil {
		return nil, errDSN
	}
	m := &mysqlServer{cfg: cfg, db: sql.OpenDB(mysqlConnector{connector, cfg}), killers: sql.OpenDB(connector)}
	m.db.SetMaxOpenConns(cfg.Connections)
	m.db.SetMaxIdleConns(cfg.Connections)
	m.db.SetConnMaxIdleTime(5 * time.Minute)
	m.killers.SetMaxIdleConns(-1)
	return m, nil
}

func (m *mysqlServer) close() {
	m.kills.Wait()
	_ = m.db.Close() // what is open is thrown away
	_ = m.killers.Close()
}

// mysqlConnector makes connections, and gives out none of an account that may do
// too much.
type mysqlConnector struct {
	driver.Connector
	cfg Config
}

func (c mysqlConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := c.prepare(ctx, mysqlSession{conn}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func (c mysqlConnector) prepare(ctx context.Context, s mysqlSession) error {
	version, err := s.column(ctx, "SELECT VERSION()")
	if err != nil || len(version) == 0 {
		return fmt.Errorf("ask for the version: %w", err)
	}
	maria := strings.Contains(strings.ToLower(version[0]), "mariadb")
	if err := checkMySQLRole(ctx, s, maria); err != nil {
		return err
	}
	limit := fmt.Sprintf("SET SESSION max_execution_time = %d", c.cfg.Timeout.Milliseconds())
	if maria {
		limit = fmt.Sprintf("SET SESSION max_statement_time = %.3f", c.cfg.Timeout.Seconds())
	}
	wait := max(1, int(c.cfg.LockTimeout.Round(time.Second).Seconds()))
	for _, text := range []string{
		"SET SESSION TRANSACTION READ ONLY",
		"SET SESSION time_zone = '+00:00'",
		fmt.Sprintf("SET SESSION lock_wait_timeout = %d", wait),
		fmt.Sprintf("SET SESSION innodb_lock_wait_timeout = %d", wait),
		limit,
	} {
		if err := s.exec(ctx, text); err != nil {
			return fmt.Errorf("set up the session: %w", err)
		}
	}
	return nil
}

// mysqlSession is a connection before it is in the pool.
type mysqlSession struct{ conn driver.Conn }

func (s mysqlSession) exec(ctx context.Context, text string) error {
	e, ok := s.conn.(driver.ExecerContext)
	if !ok {
		return errors.ErrUnsupported
	}
	_, err := e.ExecContext(ctx, text, nil)
	return err
}

// column returns the first column of what a statement gives.
func (s mysqlSession) column(ctx context.Context, text string) (out []string, err error) {
	q, ok := s.conn.(driver.QueryerContext)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	rows, err := q.QueryContext(ctx, text, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	row := make([]driver.Value, len(rows.Columns()))
	for rows.Next(row) == nil {
		switch v := row[0].(type) {
		case []byte:
			out = append(out, string(v))
		case string:
			out = append(out, v)
		}
	}
	return out, nil
}

func (m *mysqlServer) run(ctx context.Context, s *statement) (*rowset, error) {
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	clean := false
	defer func() {
		if !clean {
			// database/sql closes a connection whose driver says that it is bad.
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		}
		_ = conn.Close()
	}()
	mode := "READ ONLY"
	if s.write {
		mode = "READ WRITE"
	}
	if _, err := conn.ExecContext(ctx, "START TRANSACTION "+mode); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	var id int64
	if err := conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	m.kills.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer m.kills.Done()
		m.kill(id)
	})
	set, err := m.statement(ctx, conn, s, func() { m.kill(id) })
	if stop() {
		m.kills.Done()
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, errUnprepared) {
			return nil, err // and the connection is gone
		}
		// The statement failed and its transaction is ended; the connection is as it was.
		clean = m.end(ctx, conn, "ROLLBACK") == nil && leavesNothing(s.text)
		return nil, mysqlError(err)
	}
	if set.atLeast {
		return set, nil // and the connection is gone
	}
	end := "ROLLBACK"
	if s.write {
		end = "COMMIT"
	}
	if err := m.end(ctx, conn, end); err != nil {
		return nil, mysqlError(err)
	}
	clean = leavesNothing(s.text)
	return set, nil
}

func (m *mysqlServer) end(ctx context.Context, conn *sql.Conn, how string) error {
	_, err := conn.ExecContext(ctx, how)
	return err
}

// leavesNothing says whether a statement leaves no variable, lock, temporary
// table or setting in its session, as far as its words tell. In doubt the
// connection is closed.
func leavesNothing(text string) bool {
	word, err := firstWord(text)
	if err != nil {
		return false
	}
	switch word {
	case "SELECT", "WITH", "VALUES", "SHOW", "EXPLAIN", "DESCRIBE", "DESC", "INSERT", "UPDATE", "DELETE", "REPLACE":
		return !strings.Contains(text, "@") && !strings.Contains(strings.ToUpper(text), "LOCK") &&
			!strings.Contains(strings.ToUpper(text), "LAST_INSERT_ID")
	}
	return false
}

// kill ends the connection of that id at the server.
func (m *mysqlServer) kill(id int64) {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	// It may have ended by itself, which is as good.
	_, _ = m.killers.ExecContext(ctx, "KILL "+strconv.FormatInt(id, 10))
}

// statement runs one statement as a prepared one, which the server takes one of.
// Kill ends the connection: the driver reads all rows of a result before it
// closes it, and behind the bounds that may be many.
func (m *mysqlServer) statement(ctx context.Context, conn *sql.Conn, s *statement, kill func()) (*rowset, error) {
	stmt, err := prepared(ctx, conn, s.text)
	if err != nil {
		return nil, err
	}
	defer stmt.Close()
	rows, err := stmt.QueryContext(ctx, mysqlParams(s.params)...)
	if err != nil {
		return nil, err
	}
	c := newCollector(s)
	err = m.collect(rows, c)
	if c.set.atLeast {
		kill()
	}
	_ = rows.Close() // what failed, collect has said
	if err != nil || c.set.atLeast {
		return &c.set, err
	}
	if s.write && len(c.set.columns) == 0 {
		if err := conn.QueryRowContext(ctx, "SELECT ROW_COUNT()").Scan(&c.set.affected); err != nil {
			return nil, err
		}
	}
	return &c.set, nil
}

// errUnprepared says that the server did not prepare a statement and gave no reason.
var errUnprepared = toolError("the server cannot take this statement apart from its values: it is none that reads or changes rows")

// prepared prepares a statement. MySQL answers some that it does not prepare, such as
// SET GLOBAL, with less than the driver reads without looking, which panics.
func prepared(ctx context.Context, conn *sql.Conn, text string) (stmt *sql.Stmt, err error) {
	defer func() {
		if recover() != nil {
			stmt, err = nil, errUnprepared
		}
	}()
	return conn.PrepareContext(ctx, text)
}

func (m *mysqlServer) collect(rows *sql.Rows, c *collector) error {
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	for _, t := range types {
		c.set.columns = append(c.set.columns, column{Name: t.Name(), Type: strings.ToLower(t.DatabaseTypeName())})
	}
	values := make([]any, len(types))
	into := make([]any, len(types))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		more := false
		if c.wants() {
			row := make([]json.RawMessage, len(values))
			for i, v := range values {
				row[i] = mysqlValue(types[i].DatabaseTypeName(), v, c.cell())
			}
			more = c.add(row)
		} else {
			more = c.skip(mysqlSize(values))
		}
		if !more {
			return nil
		}
	}
	return rows.Err()
}

func mysqlParams(params []any) []any {
	out := make([]any, len(params))
	for i, v := range params {
		if n, ok := v.(json.Number); ok {
			if whole, err := n.Int64(); err == nil {
				v = whole
			} else {
				v = n.String() // a decimal keeps its digits
			}
		}
		out[i] = v
	}
	return out
}

// mysqlError tells what the statement did wrong from what the connection did.
func mysqlError(err error) error {
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Number {
	case 1969, 3024: // max_statement_time, max_execution_time
		return toolError("the database stopped the statement because it took too long: make it cheaper, with a WHERE, a LIMIT or an index")
	case 1040, 1041, 1053, 1129, 1130, 1158, 1159, 1160, 1161, 1203, 1226, 1927: // connections, memory, network, shutdown
		return err
	}
	return toolError("%s [error %d]", e.Message, e.Number)
}
