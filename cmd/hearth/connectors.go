package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/internal/audit"
	"hearth/internal/config"
	"hearth/internal/telemetry"
	"hearth/mcpserver/connector/declared"
	"hearth/mcpserver/connector/files"
	"hearth/mcpserver/connector/openapi"
	"hearth/mcpserver/connector/sqldb"
	"hearth/mcpserver/connector/upstream"
	"hearth/mcpserver/connector/webfetch"
	"hearth/mcpserver/connector/websearch"
	"hearth/mcpserver/router"
)

// ConnectorConfig is one entry of the section connectors: a name, how its calls are
// treated, and the section of exactly one kind.
type ConnectorConfig struct {
	// Name is the first part of the names of its tools.
	Name           string `yaml:"name"`
	router.Options `yaml:",inline"`

	Files     *files.Config     `yaml:"files"`
	OpenAPI   *openapi.Config   `yaml:"openapi"`
	SQLDB     *sqldb.Config     `yaml:"sqldb"`
	Tools     declared.Config   `yaml:"tools"`
	MCP       *upstream.Config  `yaml:"mcp"`
	WebFetch  *webfetch.Config  `yaml:"webfetch"`
	WebSearch *websearch.Config `yaml:"websearch"`
}

// connectorDeps is what connectors are made with.
type connectorDeps struct {
	log    zerolog.Logger
	models inference.Models // nil: there are none in this process
	// databases are the connectors that tools of kind tools may use, by name.
	databases map[string]declared.Database
}

// connectorKind is a kind of connector: a row for each package.
type connectorKind struct {
	key     string // of its section
	given   func(*ConnectorConfig) bool
	check   func(*ConnectorConfig) error
	resolve func(c *ConnectorConfig, dir string) // nil: it names no files
	open    func(context.Context, *ConnectorConfig, *connectorDeps) (router.Connector, error)
}

var connectorKinds = []connectorKind{
	{
		key:     "files",
		given:   func(c *ConnectorConfig) bool { return c.Files != nil },
		check:   func(c *ConnectorConfig) error { return c.Files.Check() },
		resolve: func(c *ConnectorConfig, dir string) { c.Files.Resolve(dir) },
		open: func(_ context.Context, c *ConnectorConfig, d *connectorDeps) (router.Connector, error) {
			return files.New(*c.Files, d.log)
		},
	},
	{
		key:     "openapi",
		given:   func(c *ConnectorConfig) bool { return c.OpenAPI != nil },
		check:   func(c *ConnectorConfig) error { return c.OpenAPI.Check() },
		resolve: func(c *ConnectorConfig, dir string) { c.OpenAPI.Resolve(dir) },
		open: func(ctx context.Context, c *ConnectorConfig, d *connectorDeps) (router.Connector, error) {
			return openapi.New(ctx, *c.OpenAPI, c.Name, d.log)
		},
	},
	{
		key:     "sqldb",
		given:   func(c *ConnectorConfig) bool { return c.SQLDB != nil },
		check:   func(c *ConnectorConfig) error { return c.SQLDB.Check() },
		resolve: func(c *ConnectorConfig, dir string) { c.SQLDB.Resolve(dir) },
		open: func(_ context.Context, c *ConnectorConfig, d *connectorDeps) (router.Connector, error) {
			return sqldb.New(*c.SQLDB, d.log)
		},
	},
	{
		key:     "tools",
		given:   func(c *ConnectorConfig) bool { return c.Tools != nil },
		check:   func(c *ConnectorConfig) error { return c.Tools.Check() },
		resolve: func(c *ConnectorConfig, dir string) { c.Tools.Resolve(dir) },
		open: func(_ context.Context, c *ConnectorConfig, d *connectorDeps) (router.Connector, error) {
			return declared.New(c.Tools, d.databases)
		},
	},
	{
		key:     "mcp",
		given:   func(c *ConnectorConfig) bool { return c.MCP != nil },
		check:   func(c *ConnectorConfig) error { return c.MCP.Check() },
		resolve: func(c *ConnectorConfig, dir string) { c.MCP.Resolve(dir) },
		open:    openUpstream,
	},
	{
		key:   "webfetch",
		given: func(c *ConnectorConfig) bool { return c.WebFetch != nil },
		check: func(c *ConnectorConfig) error { return c.WebFetch.Check() },
		open: func(_ context.Context, c *ConnectorConfig, d *connectorDeps) (router.Connector, error) {
			return webfetch.New(*c.WebFetch, d.log)
		},
	},
	{
		key:     "websearch",
		given:   func(c *ConnectorConfig) bool { return c.WebSearch != nil },
		check:   func(c *ConnectorConfig) error { return c.WebSearch.Check() },
		resolve: func(c *ConnectorConfig, dir string) { c.WebSearch.Resolve(dir) },
		open: func(_ context.Context, c *ConnectorConfig, d *connectorDeps) (router.Connector, error) {
			return websearch.New(*c.WebSearch, d.log)
		},
	},
}

// kind returns the one kind that c is of.
func (c *ConnectorConfig) kind() (*connectorKind, error) {
	var keys, given []string
	var found *connectorKind
	for i := range connectorKinds {
		k := &connectorKinds[i]
		keys = append(keys, k.key)
		if k.given(c) {
			given, found = append(given, k.key), k
		}
	}
	switch len(given) {
	case 0:
		return nil, fmt.Errorf("says not of what kind it is: give it one section of %s", strings.Join(keys, ", "))
	case 1:
		return found, nil
	}
	return nil, fmt.Errorf("has the sections %s: a connector has one", strings.Join(given, " and "))
}

// checkConnectors reports the first value that cannot be used.
func (c *Config) checkConnectors() error {
	for i := range c.Connectors {
		one := &c.Connectors[i]
		at := fmt.Sprintf("connectors[%d]", i)
		if !router.Label.MatchString(one.Name) {
			return config.Invalid(at+".name", "%q must match %s: it is the first part of the names of tools", one.Name, router.Label)
		}
		if first := slices.IndexFunc(c.Connectors, func(o ConnectorConfig) bool { return o.Name == one.Name }); first < i {
			return config.Invalid(at+".name", "%q is the name of connectors[%d], too: give one of them another", one.Name, first)
		}
		k, err := one.kind()
		if err != nil {
			return config.Invalid(at, "%v", err)
		}
		if err := k.check(one); err != nil {
			return config.Under(at+"."+k.key, err)
		}
		if first := slices.IndexFunc(c.Connectors, one.sharesState); first >= 0 && first < i {
			return config.Invalid(at+"."+k.key+".state", "%q is that of connectors[%d], too: what one server offers would count as a change of the other's; give each its own, or leave it out", one.MCP.State, first)
		}
		if err := c.checkDatabases(one); err != nil {
			return config.Under(at+"."+k.key, err)
		}
		if err := one.Options.Check(); err != nil {
			return config.Under(at, err)
		}
	}
	return nil
}

// sharesState reports whether both keep what they know of MCP servers in one folder.
func (c *ConnectorConfig) sharesState(o ConnectorConfig) bool {
	return c.MCP != nil && o.MCP != nil && c.MCP.State != "" && o.MCP.State != "" && filepath.Clean(c.MCP.State) == filepath.Clean(o.MCP.State)
}

// resolveConnectors makes file names relative to the configuration file.
func (c *Config) resolveConnectors(dir string) {
	for i := range c.Connectors {
		for k := range connectorKinds {
			if kind := &connectorKinds[k]; kind.resolve != nil && kind.given(&c.Connectors[i]) {
				kind.resolve(&c.Connectors[i], dir)
			}
		}
	}
}

// newRouter makes the router with all connectors of the configuration. The error
// says which connector cannot be. Close it in the end.
func newRouter(ctx context.Context, cfg *Config, models inference.Models, sink *audit.LogSink, metrics *telemetry.Metrics, log zerolog.Logger) (_ *router.Router, err error) {
	r, err := router.New(cfg.Policy, router.Deps{Log: log, Models: models, Journal: &toolJournal{sink}, Observer: metrics})
	if err != nil {
		return nil, configError(config.Under("policy", err))
	}
	defer func() {
		if err != nil {
			_ = closeRouter(ctx, r)
		}
	}()
	opened, err := openConnectors(ctx, cfg, models, log)
	if err != nil {
		return nil, configError(err)
	}
	for i, c := range opened {
		one := &cfg.Connectors[i]
		if err := r.Add(one.Name, c, one.Options); err != nil {
			closeConnectors(ctx, opened[i:])
			return nil, configError(err)
		}
	}
	return r, nil
}

// closeRouter closes the connectors within the time that closing may take.
func closeRouter(ctx context.Context, r *router.Router) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return r.Close(ctx)
}

// toolJournal writes the router's records into the audit file.
type toolJournal struct{ sink *audit.LogSink }

// Intent implements router.Journal.
func (j *toolJournal) Intent(ctx context.Context, r *router.Record) error {
	return j.sink.ToolIntent(ctx, toolRecord(r))
}

// Outcome implements router.Journal.
func (j *toolJournal) Outcome(r *router.Record) { j.sink.ToolOutcome(toolRecord(r)) }

func toolRecord(r *router.Record) *audit.ToolRecord {
	return &audit.ToolRecord{
		Call: r.Call, RequestID: r.RequestID, Principal: r.Caller.Principal, Tenant: r.Caller.Tenant, Via: r.Via,
		Tool: r.Tool, Definition: r.Definition, Arguments: r.ArgumentsHash, Rule: r.Rule, Approval: r.Approval,
		Outcome: r.Outcome, Cached: r.Cached, ResultBytes: r.ResultBytes, Withheld: r.Withheld, Duration: r.Duration,
	}
}
