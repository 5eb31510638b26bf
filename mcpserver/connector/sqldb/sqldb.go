package sqldb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"hearth/mcpserver/router"
)

// backend is one kind of database.
type backend interface {
	// run runs one statement. What the statement did wrong is a *router.ToolError.
	run(ctx context.Context, s *statement) (*rowset, error)
	// close frees what is open. Calls have ended by then.
	close()
}

// DB is one database. It is a router.Connector.
type DB struct {
	cfg     Config
	backend backend
	catalog *catalog
	tools   []router.Tool
	log     zerolog.Logger
	ctx     context.Context // ends with the DB
	cancel  context.CancelFunc
}

// New makes the connector of a database. It connects to nothing yet; what is
// wrong with the DSN, or with a secret, it says.
func New(cfg Config, log zerolog.Logger) (*DB, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	d := &DB{cfg: cfg.withDefaults(), log: log}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	var err error
	switch d.cfg.driver() {
	case SQLite:
		d.backend, d.catalog = newSQLite(d.cfg), &sqliteCatalog
	case Postgres:
		d.backend, err = newPostgres(d.ctx, d.cfg)
		d.catalog = &postgresCatalog
	case MySQL:
		d.backend, err = newMySQL(d.cfg)
		d.catalog = &mysqlCatalog
	}
	if err != nil {
		d.cancel()
		return nil, err
	}
	d.tools = tools(d.cfg.driver(), d.cfg.Write, d.cfg.Timeout)
	return d, nil
}

// Tools returns the tools there are.
func (d *DB) Tools() []router.Tool { return d.tools }

// Close ends statements in flight and closes the connections.
func (d *DB) Close(context.Context) error {
	d.cancel()
	d.backend.close()
	return nil
}

// Check connects and asks for nothing: what it says is for the operator.
func (d *DB) Check(ctx context.Context) error {
	_, err := d.do(ctx, d.statement("SELECT 1", nil, false))
	return err
}

// Run calls a tool.
func (d *DB) Run(ctx context.Context, c *router.Call) (*router.Result, error) {
	switch c.Tool {
	case toolTables:
		return d.listTables(ctx, c.Arguments)
	case toolDescribe:
		return d.describeTable(ctx, c.Arguments)
	case toolQuery, toolExecute:
		var args struct {
			SQL    string `json:"sql"`
			Params []any  `json:"params"`
		}
		if err := decode(c.Arguments, &args); err != nil {
			return nil, err
		}
		write := c.Tool == toolExecute
		if write {
			if !d.cfg.Write {
				break
			}
			if err := checkWrites(args.SQL); err != nil {
				return nil, err
			}
		} else if err := checkReads(d.cfg.driver(), args.SQL); err != nil {
			return nil, err
		}
		return d.SQL(ctx, args.SQL, args.Params, write)
	}
	return nil, toolError("there is no tool %q", c.Tool)
}

// Dialect says how statements are written: SQLite, Postgres or MySQL.
func (d *DB) Dialect() string { return d.cfg.driver() }

// Writes says whether the operator allows statements that write.
func (d *DB) Writes() bool { return d.cfg.Write }

// SQL runs one statement that is the operator's own, or was checked. Params are
// nil, bool, json.Number or string, one for each placeholder ($1 of PostgreSQL,
// ? of the others). Without write it runs where nothing can be changed.
func (d *DB) SQL(ctx context.Context, text string, params []any, write bool) (*router.Result, error) {
	if write && !d.cfg.Write {
		return nil, errors.New("writing is not allowed on this database: set write: true")
	}
	if len(params) > maxParams {
		return nil, toolError("params has %d values, at most %d are possible", len(params), maxParams)
	}
	for i, p := range params {
		switch p.(type) {
		case nil, bool, json.Number, string:
		default:
			return nil, toolError("params[%d] must be a text, a number, true, false or null", i)
		}
	}
	set, err := d.do(ctx, d.statement(text, params, write))
	if err != nil {
		return nil, err
	}
	return set.result("Ask for less: add a WHERE, a LIMIT or count(*).")
}

func (d *DB) statement(text string, params []any, write bool) *statement {
	return &statement{text: text, params: params, write: write, maxRows: d.cfg.MaxRows, maxBytes: int(d.cfg.MaxBytes)}
}

// do runs a statement within the time that it has.
func (d *DB) do(ctx context.Context, s *statement) (*rowset, error) {
	run, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	set, err := d.backend.run(run, s)
	switch {
	case err == nil:
		return set, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(run.Err(), context.DeadlineExceeded):
		return nil, toolError("the statement was stopped after %v: make it cheaper, with a WHERE, a LIMIT or an index", d.cfg.Timeout.Round(time.Millisecond))
	}
	var own *router.ToolError
	if !errors.As(err, &own) {
		d.log.Error().Err(err).Msg("the database could not be asked")
	}
	return nil, err
}

func toolError(format string, args ...any) *router.ToolError {
	return &router.ToolError{Message: fmt.Sprintf(format, args...)}
}
