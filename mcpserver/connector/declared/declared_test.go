package declared

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	_ "modernc.org/sqlite"

	"hearth/internal/config"
	"hearth/mcpserver/router"
)

// parse reads the section as the configuration does.
func parse(t *testing.T, text string) Config {
	t.Helper()
	var c struct {
		Tools Config `yaml:"tools"`
	}
	if err := config.Decode("x.yaml", []byte("tools:\n"+text), &c); err != nil {
		t.Fatal(err)
	}
	return c.Tools
}

func tools(t *testing.T, text string, databases map[string]Database) *Tools {
	t.Helper()
	c, err := New(parse(t, text), databases)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// call gives the text of a result, or of the tool's error behind "error: ".
func call(t *testing.T, c *Tools, tool string, args any) string {
	t.Helper()
	data, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Run(context.Background(), &router.Call{Tool: tool, Arguments: data})
	var own *router.ToolError
	switch {
	case errors.As(err, &own):
		return "error: " + own.Message
	case err != nil:
		t.Fatalf("%s %s: %v", tool, data, err)
	}
	return res.Content[0].Text
}

type obj = map[string]any

// injections are values that would be something else where they were not bound.
var injections = []string{
	"' OR '1'='1", "'; DROP TABLE boats; --", "\\'; DROP TABLE boats; #", "1); DELETE FROM boats; --", "$1", ":name", "?", "{other}", "{name}",
	"$(touch pwned)", "`touch pwned`", "; touch pwned", "| touch pwned", "&& touch pwned", "\ntouch pwned\n", "> pwned", "a b  c", "*", "~", "$HOME", "%s%n", "é\u202e\U0001F600",
	"a/b", "a?admin=1", "a#b", "a&admin=1", "a=b;c", "http://evil.example/", "//evil.example", "@evil.example", "%2e%2e", "%00", "\r\nX-Evil: 1", "a\tb", `a\b`, `"quoted"`, `{"a":1}`, "[1]", "+", "a+b", "-", "é",
}

// sqliteDatabase is a Database as the connector sqldb is one, over database/sql.
type sqliteDatabase struct {
	db     *sql.DB
	writes bool
}

func (d *sqliteDatabase) Dialect() string { return "sqlite" }
func (d *sqliteDatabase) Writes() bool    { return d.writes }

func (d *sqliteDatabase) SQL(ctx context.Context, statement string, params []any, write bool) (*router.Result, error) {
	for i, p := range params {
		if n, ok := p.(json.Number); ok {
			params[i] = n.String()
		}
	}
	if write {
		if _, err := d.db.ExecContext(ctx, statement, params...); err != nil {
			return nil, toolError("%v", err)
		}
		return router.Text("written"), nil
	}
	rows, err := d.db.QueryContext(ctx, statement, params...)
	if err != nil {
		return nil, toolError("%v", err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return router.Text(strings.Join(lines, ",")), rows.Err()
}

const boats = `
  - name: find_boat
    description: Find a boat by its name.
    effect: read
    input: {properties: {name: {type: string}, least: {type: number}}, required: [name]}
    sql: {connector: shop, statement: "SELECT name FROM boats WHERE name = :name AND (:least IS NULL OR tons >= :least) -- :not this, ':nor' this"}
  - name: add_boat
    description: Add a boat.
    effect: write
    input: {properties: {name: {type: string}, tons: {type: integer}}, required: [name, tons]}
    sql: {connector: shop, statement: "INSERT INTO boats VALUES (:name, :tons)"}
`

func TestSQL(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "boats.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE boats (name TEXT, tons INTEGER); INSERT INTO boats VALUES ('Teal', 4)"); err != nil {
		t.Fatal(err)
	}
	shop := &sqliteDatabase{db: db, writes: true}
	c := tools(t, boats, map[string]Database{"shop": shop})
	for _, args := range []obj{{"name": "Teal"}, {"name": "Teal", "least": 4}} {
		if got := call(t, c, "find_boat", args); got != "Teal" {
			t.Errorf("%v: %q", args, got)
		}
	}
	if got := call(t, c, "find_boat", obj{"name": "Teal", "least": 5}); got != "" {
		t.Errorf("too heavy: %q", got)
	}
	for _, evil := range injections {
		if got := call(t, c, "find_boat", obj{"name": evil}); got != "" {
			t.Errorf("%q finds %q", evil, got)
		}
		if got := call(t, c, "add_boat", obj{"name": evil, "tons": 1}); got != "written" {
			t.Errorf("%q: %s", evil, got)
		}
		if got := call(t, c, "find_boat", obj{"name": evil}); got != evil {
			t.Errorf("%q was stored as %q", evil, got)
		}
	}
	var n int
	if err := db.QueryRow("SELECT count(*) FROM boats").Scan(&n); err != nil || n != len(injections)+1 {
		t.Errorf("%d boats, %v", n, err)
	}
	shop.writes = false
	if _, err := New(parse(t, boats), map[string]Database{"shop": shop}); err == nil || !strings.Contains(err.Error(), "set write: true") {
		t.Errorf("a tool that writes on a database that does not: %v", err)
	}
	if _, err := New(parse(t, boats), nil); err == nil || !strings.Contains(err.Error(), `no connector "shop"`) {
		t.Errorf("no database: %v", err)
	}
}

func TestParseSQL(t *testing.T) {
	for _, c := range []struct{ dialect, in, out, names string }{
		{"postgres", "SELECT :a, :b, :a::int, x[1:2], ':c', $$ :d $$, $t$ :e $t$, \"f:g\"", "SELECT $1, $2, $1::int, x[1:2], ':c', $$ :d $$, $t$ :e $t$, \"f:g\"", "a b"},
		{"mysql", "SELECT :a, 'it\\'s :b', `:c`, :a # :d\n, :e", "SELECT ?, 'it\\'s :b', `:c`, ? # :d\n, ?", "a a e"},
		{"sqlite", "SELECT [a:b], :a /* :b */ -- :c", "SELECT [a:b], ? /* :b */ -- :c", "a"},
		{"sqlite", "SELECT 'it''s :b', :a", "SELECT 'it''s :b', ?", "a"},
		{"postgres", "SELECT data ? 'x', :_a1", "SELECT data ? 'x', $1", "_a1"},
		{"sqlite", "SELECT ?", "holds a ? placeholder", ""},
		{"sqlite", "SELECT 'x", "not closed", ""},
		{"postgres", "SELECT /* x", "not closed", ""},
		{"postgres", "SELECT a := 1, :1", "SELECT a := 1, :1", ""},
	} {
		q, err := parseSQL(c.in, c.dialect)
		if err != nil {
			if !strings.Contains(err.Error(), c.out) {
				t.Errorf("%s: %v", c.in, err)
			}
			continue
		}
		if q.text != c.out || strings.Join(q.names, " ") != c.names {
			t.Errorf("%s: %s %v", c.in, q.text, q.names)
		}
	}
}

func FuzzParseSQL(f *testing.F) {
	for _, s := range []string{"SELECT :a", "'", "$$", "::", ":", "[", "--\n:b", "\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, dialect := range []string{"postgres", "mysql", "sqlite"} {
			q, err := parseSQL(s, dialect)
			if err != nil {
				continue
			}
			if len(q.names) == 0 && q.text != s {
				t.Fatalf("%s: %q became %q", dialect, s, q.text)
			}
		}
	})
}

func TestCheck(t *testing.T) {
	const head = "  - name: x\n    description: does x\n    effect: read\n    input: {properties: {a: {type: string}}, required: [a]}\n"
	for _, c := range []struct{ text, want string }{
		{head + "    sql: {connector: s, statement: 'SELECT :a'}", ""},
		{head + "    http: {url: 'http://h/{a}?q={a}', body: {x: ['{a}', 1]}}", ""},
		{head + "    program: {argv: [/bin/echo, '{a}'], stdin: json}", ""},
		{"  - name: x y", "[0].name:"},
		{"  - name: x", "[0].description: is missing"},
		{"  - {name: x, description: y, program: {argv: [/bin/true]}}", "[0].effect: must be read, write or destroy"},
		{head, "with 0 bodies"},
		{head + "    sql: {connector: s, statement: x}\n    program: {argv: [/bin/true]}", "with 2 bodies"},
		{head + "    sql: {connector: s, statement: 'SELECT :b'}", `names the argument "b", which is not among the properties of input: [a]`},
		{head + "    sql: {statement: 'SELECT :a'}", "[0].sql.connector: is missing"},
		{head + "    http: {url: 'http://{a}/x'}", "has an argument in its host"},
		{head + "    http: {url: 'http://h:{a}/x'}", "has an argument in its host"},
		{head + "    http: {url: 'ftp://h/x'}", "must begin with http"},
		{head + "    http: {url: 'http://u:p@h/x'}", "holds a user name"},
		{head + "    http: {url: 'http://h/x?{a}=1'}", "as the name"},
		{head + "    http: {url: 'http://h/{b}'}", `"b"`},
		{head + "    http: {url: 'http://h/{a'}", "brace"},
		{head + "    http: {url: 'http://h/', method: TRACE}", "[0].http.method"},
		{head + "    http: {url: 'http://h/', headers: {Host: x}}", "cannot be sent"},
		{head + "    http: {url: 'http://h/', secrets: {Authorization: hunter2}}", "must name where the secret is"},
		{head + "    program: {argv: [echo, '{a}']}", "whole path"},
		{head + "    program: {argv: [/bin/echo, 'x{a}']}", "as a part of it"},
		{head + "    program: {argv: [/bin/echo, '{b}']}", `"b"`},
		{"  - {name: x, description: y, effect: read, input: {properties: {a: {}}}, program: {argv: [/bin/echo, '{a}']}}", "add it to required"},
		{head + "    program: {argv: [/bin/echo], stdin: yes please}", "stdin"},
	} {
		err := parse(t, c.text).Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s\n%v, want %q", c.text, err, c.want)
		}
	}
}

func TestToolsAreAsDeclared(t *testing.T) {
	c := tools(t, "  - {name: a, description: does a, effect: destroy, outside: true, http: {url: 'http://127.0.0.1/'}}\n", nil)
	want := router.Effects{Writes: true, Destroys: true, Outside: true, Untrusted: true}
	if got := c.Tools()[0]; got.Name != "a" || got.Effects != want || got.Idempotent || got.Timeout != DefaultTimeout {
		t.Errorf("%+v", got)
	}
}

func TestYAMLSchemaIsJSON(t *testing.T) {
	var m map[string]any
	if err := yaml.Unmarshal([]byte("properties: {a: {enum: [1, x]}}"), &m); err != nil {
		t.Fatal(err)
	}
	d := Tool{Name: "x", Input: m}
	got, err := d.schema()
	if want := `{"additionalProperties":false,"properties":{"a":{"enum":[1,"x"]}},"type":"object"}`; err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

func noFile(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s appeared in %s", e.Name(), dir)
	}
}
