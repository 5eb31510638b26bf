package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"hearth/internal/dbserver"
	"hearth/internal/subject"
)

// configuration is Hearth's, for a database, an address and a folder.
const configuration = `connectors:
  - name: shop
    sqldb: {driver: postgres, dsn: %q}
  - name: web
    webfetch: {internal_hosts: [%q], host_interval: -1s}
  - name: folder
    files:
      roots: [{name: docs, path: %q}]
agent: {rounds: %d}
`

// ground is what the questions of a world are about, and the servers that are asked.
type ground struct {
	hearth, llama *subject.Server
	questions     []question
	tools         []*tool
	ends          []func() error // to be called from the last to the first
}

// newGround starts everything. Whatever it returns is to be closed.
func newGround(ctx context.Context, s *settings, w *world) (*ground, error) {
	g := &ground{}
	db, err := dbserver.StartPostgres()
	if err != nil {
		return g, err
	}
	g.ends = append(g.ends, db.Stop)
	grants := "CREATE ROLE hearth LOGIN; GRANT USAGE ON SCHEMA public TO hearth; GRANT SELECT ON ALL TABLES IN SCHEMA public TO hearth;"
	if _, err := db.SQL("postgres", "CREATE DATABASE shop"); err != nil {
		return g, err
	}
	if _, err := db.SQL("shop", w.sql+grants); err != nil {
		return g, err
	}
	address, stop, err := subject.ServePages(ctx, w.pages)
	if err != nil {
		return g, err
	}
	g.ends = append(g.ends, stop)
	for _, q := range w.questions {
		q.Text = strings.ReplaceAll(q.Text, pageAt, "http://"+address)
		g.questions = append(g.questions, q)
	}
	dir, err := os.MkdirTemp("", "evalagent")
	if err != nil {
		return g, fmt.Errorf("make a folder: %w", err)
	}
	g.ends = append(g.ends, func() error { return os.RemoveAll(dir) })
	docs, file := filepath.Join(dir, "docs"), filepath.Join(dir, "hearth.yaml")
	if err := os.Mkdir(docs, 0o755); err != nil {
		return g, fmt.Errorf("make a folder: %w", err)
	}
	for name, text := range w.files {
		if err := os.WriteFile(filepath.Join(docs, name), []byte(text), 0o644); err != nil {
			return g, fmt.Errorf("write a file: %w", err)
		}
	}
	text := fmt.Sprintf(configuration, db.DSN("hearth", "shop"), address, docs, s.rounds)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return g, fmt.Errorf("write a file: %w", err)
	}
	if g.hearth, err = s.programs.StartHearth(ctx, s.model, "--config", file); err != nil {
		return g, err
	}
	g.ends = append(g.ends, g.hearth.Stop)
	if g.llama, err = s.programs.StartLlama(ctx, s.model); err != nil {
		return g, err
	}
	g.ends = append(g.ends, g.llama.Stop)
	g.tools, err = listTools(ctx, g.hearth)
	return g, err
}

// close ends everything.
func (g *ground) close() error {
	var err error
	for i := len(g.ends) - 1; i >= 0; i-- {
		err = errors.Join(err, g.ends[i]())
	}
	return err
}

// offered returns the tools for questions of a kind: those of its connector that
// find values, or of "*" all there are. Questions on the database say its columns, so
// query is enough.
func (g *ground) offered(kind string) []*tool {
	var out []*tool
	for _, t := range g.tools {
		if kind == "*" && t.Connector != "" || t.Connector == kind && (kind != kindDatabase || t.Name == kindDatabase+"__query") {
			out = append(out, t)
		}
	}
	return out
}

// listTools asks Hearth which tools there are, and compiles their schemas.
func listTools(ctx context.Context, server *subject.Server) ([]*tool, error) {
	var list struct {
		Tools []*tool `json:"tools"`
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/tools", nil)
	if err != nil {
		return nil, fmt.Errorf("list the tools: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("list the tools: %w", err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("list the tools: %w", err)
	}
	for _, t := range list.Tools {
		if err := t.compile(); err != nil {
			return nil, err
		}
	}
	for _, kind := range kinds {
		if len((&ground{tools: list.Tools}).offered(kind)) == 0 {
			return nil, fmt.Errorf("list the tools: %s offers none", kind)
		}
	}
	return list.Tools, nil
}
