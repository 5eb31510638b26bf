package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"hearth/internal/config"
	"hearth/mcpserver/router"
)

// TestDocuments holds what becomes of documents of many styles against golden
// files: the tools, and what is left out and why; or why a document is refused.
func TestDocuments(t *testing.T) {
	files, err := filepath.Glob("testdata/documents/*.*")
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	t.Logf("%d documents", len(files))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		t.Run(name, func(t *testing.T) {
			got := describeDocument(t, file)
			path := filepath.Join("testdata", name+".golden.json")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("%s (HEARTH_UPDATE=1 writes it anew):\n%s", path, d)
			}
		})
	}
}

func describeDocument(t *testing.T, file string) []byte {
	t.Helper()
	out := map[string]any{}
	operations, left, err := read(t, file)
	if err != nil {
		out["error"] = err.Error()
	}
	var tools []any
	for _, o := range operations {
		checkTool(t, o.tool)
		tools = append(tools, map[string]any{
			"name": o.tool.Name, "title": o.tool.Title, "description": o.tool.Description, "effects": o.tool.Effects, "idempotent": o.tool.Idempotent,
			"input": o.tool.Input, "output": o.tool.Output, "sends": o.label(), "to": o.base.String(), "security": o.security,
		})
	}
	if tools != nil {
		out["tools"] = tools
	}
	if left != nil {
		out["left_out"] = left
	}
	data, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

func read(t *testing.T, file string) ([]*operation, []string, error) {
	t.Helper()
	doc, err := readFile(t.Context(), file)
	if err != nil {
		return nil, nil, err
	}
	l := &loading{config: &Config{Document: file, CheckResponses: true}, label: "shop", doc: doc}
	operations, err := l.operations()
	return operations, l.left, err
}

// checkTool holds a tool against what the router asks of one.
func checkTool(t *testing.T, tool router.Tool) {
	t.Helper()
	if full := "shop" + router.Separator + tool.Name; !router.ToolName.MatchString(full) {
		t.Errorf("the name %q is not legal", full)
	}
	for _, schema := range []json.RawMessage{tool.Input, tool.Output} {
		if schema == nil {
			continue
		}
		if len(schema) > router.MaxSchemaBytes || bytes.Contains(schema, []byte(`"$ref"`)) {
			t.Errorf("%s: a schema of %d bytes: %.200s", tool.Name, len(schema), schema)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource("tool:x", value); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Compile("tool:x"); err != nil {
			t.Errorf("%s: %v in %s", tool.Name, err, schema)
		}
	}
}

func names(c *Connector) string {
	var all []string
	for _, tool := range c.Tools() {
		all = append(all, tool.Name)
	}
	return strings.Join(all, " ")
}

func TestSelection(t *testing.T) {
	doc := document(t, `openapi: 3.0.0
info: {title: t, version: "1"}
servers: [{url: http://127.0.0.1:9}]
paths:
  /orders: {get: {operationId: listOrders, tags: [orders], responses: {}}, post: {operationId: addOrder, tags: [orders, write], responses: {}}}
  /orders/{id}: {delete: {operationId: deleteOrder, tags: [write], parameters: [{name: id, in: path, required: true, schema: {type: string}}], responses: {}}}
  /orders/{id}/lines: {get: {tags: [lines], parameters: [{name: id, in: path, required: true, schema: {type: string}}], responses: {}}}
  /admin: {get: {operationId: admin, deprecated: true, responses: {}}}
`)
	for _, x := range []struct {
		edit func(*Config)
		want string
	}{
		{func(*Config) {}, "listOrders addOrder deleteOrder get_orders_id_lines"},
		{func(c *Config) { c.Deprecated = true }, "admin listOrders addOrder deleteOrder get_orders_id_lines"},
		{func(c *Config) { c.Include.Tags = []string{"write"} }, "addOrder deleteOrder"},
		{func(c *Config) { c.Include.Operations = []string{"list*", "deleteOrder"} }, "listOrders deleteOrder"},
		{func(c *Config) { c.Include.Paths = []string{"GET /orders/**"} }, "get_orders_id_lines"},
		{func(c *Config) { c.Include.Paths = []string{"/orders/*"} }, "deleteOrder"},
		{func(c *Config) { c.Include.Paths = []string{"get /orders**"} }, "listOrders get_orders_id_lines"},
		{func(c *Config) { c.Include.Tags, c.Include.Paths = []string{"lines"}, []string{"POST /orders"} }, "addOrder get_orders_id_lines"},
		{func(c *Config) { c.Exclude.Tags = []string{"write"} }, "listOrders get_orders_id_lines"},
		{func(c *Config) { c.Include.Tags, c.Exclude.Operations = []string{"orders"}, []string{"add*"} }, "listOrders"},
		{func(c *Config) { c.Overrides = []Override{{Operation: "listOrders", Name: "orders"}} }, "orders addOrder deleteOrder get_orders_id_lines"},
	} {
		cfg := Config{Document: doc}
		x.edit(&cfg)
		if got := names(open(t, cfg)); got != x.want {
			t.Errorf("%+v: %s, want %s", cfg.Include, got, x.want)
		}
	}
	c := open(t, Config{Document: doc, Untrusted: true, Outside: true, Overrides: []Override{
		{Operation: "POST /orders", Effects: "reads", Description: "Counts."}, {Operation: "listOrders", Effects: "destroys"}, {Operation: "deleteOrder", Effects: "writes"},
	}})
	for i, want := range []router.Effects{{Writes: true, Destroys: true, Outside: true, Untrusted: true}, {Outside: true, Untrusted: true}, {Writes: true, Outside: true, Untrusted: true}} {
		if tool := c.Tools()[i]; tool.Effects != want {
			t.Errorf("%s: %+v", tool.Name, tool.Effects)
		}
	}
	if d := c.Tools()[1].Description; d != "Counts." {
		t.Errorf("description: %q", d)
	}
}

func TestConfig(t *testing.T) {
	for _, x := range []struct {
		config Config
		path   string
	}{
		{Config{}, "document"},
		{Config{Document: "ftp://x/y"}, "document"},
		{Config{Document: "https://user:pw@x/y"}, "document"},
		{Config{Document: "a", BaseURL: "example.com"}, "base_url"},
		{Config{Document: "a", BaseURL: "https://example.com?x"}, "base_url"},
		{Config{Document: "a", Include: Selection{Paths: []string{"orders"}}}, "include.paths[0]"},
		{Config{Document: "a", Exclude: Selection{Paths: []string{"/a", "FETCH /a"}}}, "exclude.paths[1]"},
		{Config{Document: "a", Overrides: []Override{{}}}, "overrides[0].operation"},
		{Config{Document: "a", Overrides: []Override{{Operation: "x", Name: "a b"}}}, "overrides[0].name"},
		{Config{Document: "a", Overrides: []Override{{Operation: "x", Effects: "none"}}}, "overrides[0].effects"},
		{Config{Document: "a", Credentials: []Credential{{}}}, "credentials[0].scheme"},
		{Config{Document: "a", Credentials: []Credential{{Scheme: "k"}}}, "credentials[0].scheme"},
		{Config{Document: "a", Credentials: []Credential{{Scheme: "k", Value: "hunter2"}}}, "credentials[0].value"},
		{Config{Document: "a", Credentials: []Credential{{Scheme: "k", Value: "env:A"}, {Scheme: "k", Value: "env:A"}}}, "credentials[1].scheme"},
		{Config{Document: "a", Credentials: []Credential{{Scheme: "k", Value: "env:A", Username: "x"}}}, "credentials[0].scheme"},
		{Config{Document: "a", Credentials: []Credential{{Scheme: "k", Password: "env:A"}}}, "credentials[0].username"},
		{Config{Document: "a", Credentials: []Credential{{Scheme: "k", ClientID: "x"}}}, "credentials[0].client_secret"},
		{Config{Document: "a", Credentials: []Credential{{Scheme: "k", ClientSecret: "env:A"}}}, "credentials[0].client_id"},
		{Config{Document: "a", Credentials: []Credential{{Scheme: "k", ClientID: "x", ClientSecret: "env:A", TokenURL: "x"}}}, "credentials[0].token_url"},
		{Config{Document: "a", Headers: map[string]config.Secret{"Host": "env:A"}}, "headers"},
		{Config{Document: "a", Headers: map[string]config.Secret{"a b": "env:A"}}, "headers"},
		{Config{Document: "a", Headers: map[string]config.Secret{"X-A": "plain"}}, "headers.X-A"},
		{Config{Document: "a", Refresh: 1}, "refresh"},
		{Config{Document: "a", SchemaBytes: 1}, "schema_bytes"},
		{Config{Document: "a", ResponseBytes: -1}, "response_bytes"},
		{Config{Document: "a", Timeout: -1}, "timeout"},
	} {
		var field *config.FieldError
		if err := x.config.Check(); !errors.As(err, &field) || field.Path != x.path {
			t.Errorf("%+v: %v, want %s", x.config, err, x.path)
		}
	}
	cfg := Config{Document: "api.yaml"}
	cfg.Resolve("/etc/hearth")
	if cfg.Document != "/etc/hearth/api.yaml" {
		t.Error(cfg.Document)
	}
}
