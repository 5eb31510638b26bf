package main

import (
	"context"
	"fmt"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/internal/config"
	"hearth/mcpserver/connector/declared"
	"hearth/mcpserver/connector/sqldb"
	"hearth/mcpserver/router"
)

// openConnectors opens all connectors, in their order: those first that others
// use. Where one cannot be, none is left open.
func openConnectors(ctx context.Context, cfg *Config, models inference.Models, log zerolog.Logger) (_ []router.Connector, err error) {
	opened := make([]router.Connector, len(cfg.Connectors))
	defer func() {
		if err != nil {
			closeConnectors(ctx, opened)
		}
	}()
	databases := map[string]declared.Database{}
	for _, users := range []bool{false, true} {
		for i := range cfg.Connectors {
			one := &cfg.Connectors[i]
			if (one.Tools != nil) != users {
				continue
			}
			k, err := one.kind()
			if err != nil {
				return nil, err
			}
			deps := &connectorDeps{log: log.With().Str("connector", one.Name).Logger(), databases: databases, models: models}
			if opened[i], err = k.open(ctx, one, deps); err != nil {
				opened[i] = nil // not an interface around nil
				return nil, fmt.Errorf("connector %s: %w", one.Name, err)
			}
			if db, ok := opened[i].(*sqldb.DB); ok {
				databases[one.Name] = db
			}
		}
	}
	return opened, nil
}

func closeConnectors(ctx context.Context, list []router.Connector) {
	for _, c := range list {
		if c != nil {
			_ = c.Close(ctx) // what made the start fail is what is told
		}
	}
}

// checkDatabases says which tool names a database that is not there, or writes to
// one that only reads.
func (c *Config) checkDatabases(one *ConnectorConfig) error {
	for i, t := range one.Tools {
		if t.SQL == nil {
			continue
		}
		at := fmt.Sprintf("[%d].sql.connector", i)
		var db *sqldb.Config
		for k := range c.Connectors {
			if c.Connectors[k].Name == t.SQL.Connector {
				db = c.Connectors[k].SQLDB
			}
		}
		switch {
		case db == nil:
			return config.Invalid(at, "%q is no connector of the kind sqldb", t.SQL.Connector)
		case t.Effect != declared.Read && !db.Write:
			return config.Invalid(at, "%q only reads, and the effect of this tool is %s: set write: true there", t.SQL.Connector, t.Effect)
		}
	}
	return nil
}
