package sqldb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// maxMessage bounds one message of a server, hence one row.
	maxMessage = 16 << 20
	// fetchRows is how many rows are asked for at a time.
	fetchRows = 500
	// cleanUp bounds what is done with a connection after a call, whose own
	// context may have ended.
	cleanUp = 2 * time.Second
	// dialTimeout bounds the making of a connection.
	dialTimeout = 10 * time.Second
)

// postgres is a PostgreSQL server.
type postgres struct {
	cfg   Config
	pool  *pgxpool.Pool
	types *pgtype.Map // read only
}

func newPostgres(ctx context.Context, cfg Config) (*postgres, error) {
	dsn, password, err := cfg.readDSN()
	if err != nil {
		return nil, err
	}
	pc, err := parsePostgres(dsn)
	if err != nil {
		return nil, err
	}
	if password != "" {
		pc.ConnConfig.Password = password
	}
	p := &postgres{cfg: cfg, types: pgtype.NewMap()}
	pc.MinConns, pc.MaxConns = 0, int32(cfg.Connections)
	pc.MaxConnIdleTime = 5 * time.Minute
	cc := &pc.ConnConfig.Config
	if cc.ConnectTimeout == 0 {
		cc.ConnectTimeout = dialTimeout
	}
	cc.RuntimeParams["application_name"] = "hearth"
	cc.RuntimeParams["client_encoding"] = "UTF8"
	cc.RuntimeParams["datestyle"] = "ISO"
	cc.RuntimeParams["intervalstyle"] = "iso_8601"
	cc.RuntimeParams["bytea_output"] = "hex"
	cc.RuntimeParams["default_transaction_read_only"] = "on"
	// A caller who is gone has the statement cancelled at the server.
	cc.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: cleanUp}
	}
	pc.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		c.PgConn().Frontend().SetMaxBodyLen(maxMessage)
		return checkPostgresRole(ctx, c.PgConn())
	}
	if p.pool, err = pgxpool.NewWithConfig(ctx, pc); err != nil {
		return nil, fmt.Errorf("set up the connections: %w", err)
	}
	return p, nil
}

func (p *postgres) close() { p.pool.Close() }

// begin opens the transaction of a call. It ends with a statement that takes the
// snapshot, after which nothing can make a read-only transaction another one.
func (p *postgres) begin(write bool) string {
	mode := "READ ONLY"
	if write {
		mode = "READ WRITE"
	}
	return fmt.Sprintf("BEGIN %s; SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d; SET LOCAL idle_in_transaction_session_timeout = %d; SELECT 1",
		mode, p.cfg.Timeout.Milliseconds(), p.cfg.LockTimeout.Milliseconds(), (p.cfg.Timeout + time.Minute).Milliseconds())
}

// open takes a connection and begins a transaction on it. A connection that broke
// while nobody used it is replaced, once: nothing was asked on it yet.
func (p *postgres) open(ctx context.Context, write bool) (*pgxpool.Conn, error) {
	for again := true; ; again = false {
		conn, err := p.pool.Acquire(ctx)
		if err != nil {
			return nil, fmt.Errorf("connect: %w", err)
		}
		pc := conn.Conn().PgConn()
		if _, err = pc.Exec(ctx, p.begin(write)).ReadAll(); err == nil {
			return conn, nil
		}
		broken := pc.IsClosed()
		p.release(conn)
		if !again || !broken || ctx.Err() != nil {
			return nil, fmt.Errorf("begin: %w", err)
		}
	}
}

func (p *postgres) release(conn *pgxpool.Conn) {
	if pc := conn.Conn().PgConn(); !p.reset(pc) {
		closeConn(pc)
	}
	conn.Release()
}

func (p *postgres) run(ctx context.Context, s *statement) (*rowset, error) {
	conn, err := p.open(ctx, s.write)
	if err != nil {
		return nil, err
	}
	pc := conn.Conn().PgConn()
	defer func() { p.release(conn) }()
	set, err := p.extended(ctx, pc, s)
	if err != nil {
		return nil, err
	}
	if s.write {
		if _, err := pc.Exec(ctx, "COMMIT").ReadAll(); err != nil {
			return nil, postgresError(err)
		}
	}
	return set, nil
}

// extended runs one statement by the extended protocol, which takes no more than
// one, with its results as text, and fetches rows in portions.
func (p *postgres) extended(ctx context.Context, pc *pgconn.PgConn, s *statement) (*rowset, error) {
	fe := pc.Frontend()
	fe.SendParse(&pgproto3.Parse{Query: s.text})
	fe.SendBind(&pgproto3.Bind{Parameters: postgresParams(s.params)})
	fe.SendDescribe(&pgproto3.Describe{ObjectType: 'P'})
	c := newCollector(s)
	var oids []uint32
	var failed error
	for portion := true; portion; {
		portion = false
		fe.SendExecute(&pgproto3.Execute{MaxRows: fetchRows})
		fe.SendSync(&pgproto3.Sync{})
		if err := fe.Flush(); err != nil {
			return nil, fmt.Errorf("send the statement: %w", err)
		}
		more := true
		for done := false; !done; {
			msg, err := pc.ReceiveMessage(ctx)
			var large *pgproto3.ExceededMaxBodyLenErr
			if errors.As(err, &large) {
				closeConn(pc)
				return nil, toolError("a row is larger than %d bytes: select fewer columns, or a part of the value with substr()", maxMessage)
			}
			if err != nil {
				return nil, fmt.Errorf("read the result: %w", err)
			}
			switch m := msg.(type) {
			case *pgproto3.RowDescription:
				for _, f := range m.Fields {
					oids = append(oids, f.DataTypeOID)
					c.set.columns = append(c.set.columns, column{Name: string(f.Name), Type: p.typeName(f.DataTypeOID)})
				}
			case *pgproto3.DataRow:
				more = p.row(c, oids, m) && more
			case *pgproto3.CommandComplete:
				if tag := pgconn.NewCommandTag(string(m.CommandTag)); !tag.Select() {
					c.set.affected = tag.RowsAffected()
				}
			case *pgproto3.PortalSuspended:
				portion = more
				c.set.atLeast = !more
			case *pgproto3.ErrorResponse:
				failed = pgconn.ErrorResponseToPgError(m)
			case *pgproto3.CopyInResponse, *pgproto3.CopyOutResponse, *pgproto3.CopyBothResponse:
				closeConn(pc)
				return nil, toolError("COPY is not possible here: use SELECT, or INSERT with values")
			case *pgproto3.ReadyForQuery:
				done = true
			}
		}
	}
	if failed != nil {
		return nil, p.failure(ctx, failed)
	}
	if pc.TxStatus() != 'T' {
		closeConn(pc)
		return nil, toolError("the statement ended its transaction: leave COMMIT, ROLLBACK and the like out")
	}
	return &c.set, nil
}

func (p *postgres) row(c *collector, oids []uint32, m *pgproto3.DataRow) (more bool) {
	if !c.wants() || len(m.Values) > len(oids) {
		size := 0
		for _, v := range m.Values {
			size += len(v)
		}
		return c.skip(size)
	}
	row := make([]json.RawMessage, len(m.Values))
	for i, v := range m.Values {
		row[i] = null
		if v != nil {
			row[i] = p.value(oids[i], string(v), c.cell())
		}
	}
	return c.add(row)
}

// reset leaves a connection as it was made, and says whether it can be used again.
func (p *postgres) reset(pc *pgconn.PgConn) bool {
	if pc.IsClosed() || pc.IsBusy() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanUp)
	defer cancel()
	if pc.TxStatus() != 'I' {
		if _, err := pc.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
			return false
		}
	}
	_, err := pc.Exec(ctx, "DISCARD ALL").ReadAll()
	return err == nil
}

func closeConn(pc *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanUp)
	defer cancel()
	_ = pc.Close(ctx) // it is being thrown away
}

// postgresParams are parameters in text form; the server knows their types.
func postgresParams(params []any) [][]byte {
	out := make([][]byte, len(params))
	for i, v := range params {
		switch v := v.(type) {
		case nil:
		case bool:
			out[i] = fmt.Append(nil, v)
		case json.Number:
			out[i] = []byte(v)
		case string:
			out[i] = append([]byte{}, v...)
		}
	}
	return out
}

// failure tells what the statement did wrong from what the connection did.
func (p *postgres) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return postgresError(err)
}

// postgresError puts a server's error into words for the model.
func postgresError(err error) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "57": // operator intervention, but for a timeout
		if e.Code == "57014" {
			return toolError("the database stopped the statement because it took too long: make it cheaper, with a WHERE, a LIMIT or an index")
		}
		return err
	case "08":
		if e.Code == "08P01" { // a number of parameters that is not the statement's
			return toolError("%s", strings.Replace(e.Message, `prepared statement ""`, "the statement", 1))
		}
		return err
	case "53", "58", "XX": // resources, system, internal
		return err
	}
	text := e.Message
	if e.Detail != "" {
		text += ". " + e.Detail
	}
	if e.Hint != "" {
		text += ". Hint: " + e.Hint
	}
	if e.Position > 0 {
		text += fmt.Sprintf(" (at character %d)", e.Position)
	}
	return toolError("%s [SQLSTATE %s]", text, e.Code)
}
