// Command conformance is the client that the official conformance suite of the
// Model Context Protocol drives: the connector upstream, as the server uses it,
// doing what each scenario asks for. It is built by tests alone.
//
//	MCP_CONFORMANCE_SCENARIO=NAME conformance URL
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"hearth/internal/config"
	"hearth/mcpserver/connector/upstream"
	"hearth/mcpserver/router"
)

// given is what the suite says about a scenario.
type given struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	ToolCalls    []struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"toolCalls"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: conformance URL")
	}
	scenario := os.Getenv("MCP_CONFORMANCE_SCENARIO")
	var g given
	if text := os.Getenv("MCP_CONFORMANCE_CONTEXT"); text != "" {
		if err := json.Unmarshal([]byte(text), &g); err != nil {
			return err
		}
	}
	state, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	cfg := upstream.Config{URL: os.Args[1], State: state, Transport: "streamable"}
	deps := upstream.Deps{Log: zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, NoColor: true}).Level(zerolog.DebugLevel)}
	if strings.HasPrefix(scenario, "auth/") {
		cfg.OAuth = &upstream.OAuth{
			ClientMetadataURL: "https://conformance-test.local/client-metadata.json",
			InternalHosts:     []string{"localhost:*", "127.0.0.1:*"},
		}
		if g.ClientID != "" {
			cfg.OAuth.ClientID = g.ClientID
		}
		if g.ClientSecret != "" {
			if err := os.Setenv("CLIENT_SECRET", g.ClientSecret); err != nil {
				return err
			}
			cfg.OAuth.ClientSecret = config.Secret("env:CLIENT_SECRET")
		}
		if strings.HasPrefix(scenario, "auth/client-credentials") {
			cfg.OAuth.Grant = "client_credentials"
		}
		deps.Browse, deps.Redirect = browse, "http://localhost:3000/callback"
	}
	u, err := upstream.New(cfg, "suite", deps)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	defer func() { _ = u.Close(ctx) }()
	if err := u.Start(ctx); err != nil {
		return err
	}
	return play(ctx, u, scenario, &g)
}

// browse is the person: the suite's login redirects at once.
func browse(ctx context.Context, address string) (url.Values, error) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		return nil, err
	}
	return to.Query(), nil
}

// play uses the server as the scenario wants. What a server refuses is a part of
// some of them; the suite judges by what it was asked.
func play(ctx context.Context, u *upstream.Upstream, scenario string, g *given) error {
	call := func(name string, arguments json.RawMessage) error {
		c := &router.Call{Tool: name, Arguments: arguments, Principal: "suite", Progress: func(router.Progress) {}, Peer: person{}}
		_, err := u.Run(ctx, c)
		if err != nil {
			fmt.Fprintf(os.Stderr, "call %s: %v\n", name, err)
		}
		return err
	}
	switch scenario {
	case "tools_call":
		return call("add_numbers", json.RawMessage(`{"a":5,"b":3}`))
	case "json-schema-2020-12-preservation":
		for _, t := range u.Tools() {
			if t.Name == "json_schema_2020_12_tool" {
				return call("json_schema_echo", json.RawMessage(`{"schema":`+string(t.Input)+`}`))
			}
		}
		return errors.New("the tool with the schema is not offered")
	case "http-standard-headers":
		if tools := u.Tools(); len(tools) > 0 {
			_ = call(tools[0].Name, json.RawMessage(`{}`))
		}
		if page, _, err := u.Resources(ctx, "", 10); err == nil && len(page) > 0 {
			_, _ = u.ReadResource(ctx, page[0].URI)
		}
		if prompts := u.Prompts(); len(prompts) > 0 {
			_, _, _ = u.Prompt(ctx, prompts[0].Name, map[string]string{})
		}
		return nil
	case "http-custom-headers":
		for _, c := range g.ToolCalls {
			_ = call(c.Name, c.Arguments)
		}
		return nil
	case "http-invalid-tool-headers":
		for _, t := range u.Tools() {
			_ = call(t.Name, json.RawMessage(`{"region":"us-west1"}`))
		}
		return nil
	case "initialize", "request-metadata", "json-schema-ref-no-deref":
		return nil
	}
	// Logins, questions and broken streams: whatever there is, is called once.
	for _, t := range u.Tools() {
		err := call(t.Name, json.RawMessage(`{}`))
		var refused *router.ToolError
		if err != nil && !errors.As(err, &refused) && !strings.HasPrefix(scenario, "sep-2322") {
			return err
		}
	}
	return nil
}

// person accepts every question and says nothing more than it must.
type person struct{}

// Elicit accepts.
func (person) Elicit(_ context.Context, _ string, schema json.RawMessage) (string, json.RawMessage, error) {
	if strings.Contains(string(schema), `"confirmed"`) {
		return "accept", json.RawMessage(`{"confirmed":true}`), nil
	}
	return "accept", json.RawMessage(`{}`), nil
}
