package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/inference/api/openai"
	"hearth/inference/residency"
	"hearth/internal/audit"
	"hearth/internal/httpserver"
	"hearth/internal/telemetry"
	"hearth/mcpserver"
	"hearth/mcpserver/agent"
	"hearth/mcpserver/router"
	"hearth/mcpserver/toolsapi"
)

// app is a whole server: the parts and how they hang together.
//
//	listeners → httpserver (request id, log, guard, limits, principal)
//	              ├ /v1/…      openai    ┐
//	              ├ /mcp       mcpserver ┴→ agent → audited → residency → served (chat → engine → llama)
//	              │               └→ router ←┘ └→ connectors
//	              ├ /v1/tools, /v1/approvals  toolsapi → router
//	              ├ /healthz, /readyz        health → engine
//	              └ /metrics                 telemetry
type app struct {
	cfg     Config
	log     zerolog.Logger
	metrics *telemetry.Metrics
	health  *health
	models  *residency.Residency
	sink    *audit.LogSink
	router  *router.Router
	mcp     []*mcpserver.Server // none: switched off
	http    *httpserver.Server
}

// newApp puts the parts together and begins to load the models. onChange, which
// may be nil, is told when a model is ready or failed. Close it after Serve.
func newApp(ctx context.Context, cfg Config, log zerolog.Logger, onChange func(inference.ModelStatus)) (_ *app, err error) {
	a := &app{cfg: cfg, log: log, metrics: telemetry.NewMetrics(version), health: newHealth(version)}
	if a.sink, err = audit.Open(cfg.Audit, log); err != nil {
		return nil, configError(err)
	}
	a.sink.OnSync(a.metrics.AuditSynced)
	load := &loader{cfg: &a.cfg, log: log, metrics: a.metrics, health: a.health}
	for _, id := range modelIDs(&cfg) {
		a.metrics.ModelReady(id, false)
	}
	if a.models, err = residency.New(ctx, load.specs(), func(s inference.ModelStatus) {
		a.metrics.ModelReady(s.Info.ID, s.State == inference.ModelReady)
		a.metrics.PrefixSharing(s.Info.ID, s.Info.PrefixSharing)
		logModel(log, s)
		if onChange != nil {
			onChange(s)
		}
	}); err != nil {
		return nil, configError(err)
	}
	if a.router, err = newRouter(ctx, &a.cfg, a.models, a.sink, a.metrics, log); err != nil {
		return nil, errors.Join(err, a.models.Close(ctx), a.sink.Close())
	}
	a.http = httpserver.New(cfg.Server, httpserver.Options{Log: log, Observe: a.metrics.HTTP, Identify: a.identify})
	a.health.models, a.health.draining = a.models, a.http.Draining
	if err := a.routes(a.http.Router(), a.auditedModels()); err != nil {
		return nil, errors.Join(err, closeRouter(ctx, a.router), a.models.Close(ctx), a.sink.Close())
	}
	return a, nil
}

// routes mounts every door to the models.
func (a *app) routes(r chi.Router, models *audited) error {
	withTools, err := newAgent(&a.cfg, models, a.router, a.log)
	if err != nil {
		return err
	}
	if err := addOwnTools(&a.cfg, withTools, a.router, a.log); err != nil {
		return err
	}
	api, err := openai.New(openai.Config{
		Models: withTools, Log: a.log, MaxBodyBytes: int64(a.cfg.Server.MaxBody),
		WriteTimeout: a.cfg.Server.WriteTimeout, PingInterval: a.cfg.Server.PingInterval,
		Refused: models.Refused,
	})
	if err != nil {
		return fmt.Errorf("set up the OpenAI API: %w", err)
	}
	api.Routes(r)
	(&toolsapi.API{Config: toolsapi.Config{
		Router: a.router, Log: a.log, MaxBodyBytes: int64(a.cfg.Server.MaxBody),
		RequestID: func(r *http.Request) string { return httpserver.RequestID(r.Context()) },
		Via:       func(r *http.Request) string { return audit.ViaFrom(r.Context()) },
	}}).Routes(r)
	if a.cfg.MCP.Enabled {
		mount := func(path string, selected *mcpserver.Selection) error {
			mcp, err := newMCPServer(&a.cfg, withTools, models.Refused, a.router, selected, a.log)
			if err != nil {
				return err
			}
			a.mcp = append(a.mcp, mcp)
			// The guard has judged the Origin, by lists that a reload can change.
			r.Handle(path, withoutOrigin(mcp.Handler()))
			return nil
		}
		if err := mount("/mcp", nil); err != nil {
			return err
		}
		for _, s := range a.cfg.MCP.Servers {
			if err := mount("/mcp/"+s.Name, &mcpserver.Selection{Tools: s.Tools, Resources: s.Resources, Prompts: s.Prompts}); err != nil {
				return err
			}
		}
	}
	r.Get("/healthz", a.health.live)
	r.Get("/readyz", a.health.ready)
	r.Method(http.MethodGet, "/metrics", a.metrics.Handler())
	return nil
}

func (a *app) auditedModels() *audited {
	models := &audited{Models: a.models, sink: a.sink, rejected: a.metrics.Rejected}
	if a.cfg.Telemetry.LogPrompts {
		models.prompts = &a.log
	}
	return models
}

// newAgent lets answers of models use the tools of r.
func newAgent(cfg *Config, models inference.Models, r *router.Router, log zerolog.Logger) (*agent.Agent, error) {
	a, err := agent.New(models, &agent.Routed{Router: r, Via: audit.ViaFrom, ApprovalWait: cfg.Agent.ApprovalWait}, cfg.Agent, log)
	if err != nil {
		return nil, fmt.Errorf("set up the agent: %w", err)
	}
	return a, nil
}

// addOwnTools puts what the models can do behind the router, as tools.
func addOwnTools(cfg *Config, models inference.Models, r *router.Router, log zerolog.Logger) error {
	own, err := mcpserver.NewTools(mcpserver.ToolsConfig{
		Models: models, Log: log, CallTimeout: cfg.MCP.CallTimeout, Asks: len(r.Labels()) > 0,
	})
	if err != nil {
		return fmt.Errorf("set up the tools of the models: %w", err)
	}
	return r.AddOwn(own, cfg.Builtin)
}

// newMCPServer makes the MCP server in front of models and tools, for HTTP or
// stdio. refused hears of the calls that reached no model; selected, unless it is
// nil, says what of all is offered.
func newMCPServer(cfg *Config, models inference.Models, refused func(context.Context, inference.Refusal), r *router.Router, selected *mcpserver.Selection, log zerolog.Logger) (*mcpserver.Server, error) {
	s, err := mcpserver.New(mcpserver.Config{
		Models: models, Router: r, Via: audit.ViaFrom, Log: log, Version: version,
		MaxBodyBytes: int64(cfg.Server.MaxBody), MaxCallsPerSession: cfg.MCP.MaxCalls,
		FirstLists: cfg.MCP.FirstLists,
		RequestID:  httpserver.RequestID, Refused: refused, Select: selected,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the MCP server: %w", err)
	}
	return s, nil
}

// identify says on whose behalf a request runs, with what weight, and through which
// door.
func (a *app) identify(next http.Handler) http.Handler {
	caller := a.cfg.Engine.caller(inference.DefaultCaller)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := inference.WithCaller(r.Context(), caller)
		ctx = audit.WithVia(ctx, r.Method+" "+r.URL.Path)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func withoutOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Origin")
		next.ServeHTTP(w, r)
	})
}

func logModel(log zerolog.Logger, s inference.ModelStatus) {
	if s.State != inference.ModelReady {
		log.Error().Err(s.Err).Str("model", s.Info.ID).Str("path", s.Info.Path).Msg("the model could not be loaded")
		return
	}
	event := log.Info().Str("model", s.Info.ID).Str("description", s.Info.Description).
		Int("context", s.Info.Context).Int("gpu_layers", s.Info.GPULayers).Strs("devices", s.Info.Devices).
		Bool("prefix_sharing", s.Info.PrefixSharing)
	if s.Info.WhyNotShared != "" {
		event = event.Str("not_shared_because", s.Info.WhyNotShared)
	}
	if s.Info.WhyNotStored != "" {
		event = event.Str("not_stored_because", s.Info.WhyNotStored)
	}
	event.Msg("the model is ready")
}

// serve answers on the listeners until ctx ends, then drains.
func (a *app) serve(ctx context.Context, listeners []net.Listener) error {
	return a.http.Serve(ctx, listeners, func(ctx context.Context) {
		for _, s := range a.mcp {
			s.Drain()
		}
		a.models.Drain(ctx)
	})
}

// close ends the connectors, frees the models and the audit sink. Streams have
// ended by then.
func (a *app) close(ctx context.Context) error {
	for _, s := range a.mcp {
		s.Close()
	}
	err := closeRouter(ctx, a.router)
	err = errors.Join(err, a.models.Close(ctx))
	if cerr := a.sink.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close the audit file: %w", cerr))
	}
	return err
}
