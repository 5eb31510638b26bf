package files

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	"hearth/internal/config"
	"hearth/mcpserver/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", os.Getenv("HEARTH_UPDATE") != "", "write the golden files of testdata anew")

// tree makes files: a name that ends in a slash is a folder.
func tree(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		folder := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			folder = path
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if folder == path {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Unix(1700000000, 0), time.Unix(1700000000, 0)); err != nil {
			t.Fatal(err)
		}
	}
}

// open returns a connector of one folder "docs" that may be changed in every way,
// and where it is; edit changes its configuration.
func open(t testing.TB, edit func(*Config)) (*Connector, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Roots: []Root{{Name: "docs", Path: dir, Write: true, Delete: true}}}
	if edit != nil {
		edit(&cfg)
	}
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	c, err := New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c, dir
}

// ask calls a tool and returns what a model reads: the pieces of text, each on
// its own, or the tool's complaint behind "error: ".
func ask(t testing.TB, c *Connector, tool, args string) string {
	t.Helper()
	checkArgs(t, c, tool, args)
	r, err := c.Run(t.Context(), &router.Call{Tool: tool, Arguments: json.RawMessage(args)})
	var said *router.ToolError
	switch {
	case errors.As(err, &said):
		return "error: " + said.Message
	case err != nil:
		t.Fatalf("%s %s: %v", tool, args, err)
	}
	var all []string
	for _, piece := range r.Content {
		switch piece.Type {
		case router.ContentText:
			all = append(all, piece.Text)
		case router.ContentLink:
			all = append(all, "link "+piece.Resource.URI)
		}
	}
	return strings.Join(all, "")
}

// checkArgs holds the arguments of a test against the tool's schema, as the
// router does.
func checkArgs(t testing.TB, c *Connector, tool, args string) {
	t.Helper()
	for _, offered := range c.Tools() {
		if offered.Name != tool {
			continue
		}
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(offered.Input))
		if err != nil {
			t.Fatal(err)
		}
		compiler := jsonschema.NewCompiler()
		if err := compiler.AddResource("tool:"+tool, schema); err != nil {
			t.Fatal(err)
		}
		compiled, err := compiler.Compile("tool:" + tool)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(args))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiled.Validate(value); err != nil {
			t.Fatalf("%s %s: %v", tool, args, err)
		}
		return
	}
	t.Fatalf("there is no tool %s", tool)
}

// expect holds answers against parts of them; a want that begins with "=" is all
// of the answer, one with "!" must not be in it.
func expect(t testing.TB, what, got string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		switch {
		case strings.HasPrefix(want, "="):
			if d := cmp.Diff(want[1:], got); d != "" {
				t.Errorf("%s:\n%s", what, d)
			}
		case strings.HasPrefix(want, "!"):
			if strings.Contains(got, want[1:]) {
				t.Errorf("%s: %q has %q", what, got, want[1:])
			}
		case !strings.Contains(got, want):
			t.Errorf("%s: %q has no %q", what, got, want)
		}
	}
}

func quoted(s string) string {
	q, _ := json.Marshal(s)
	return string(q)
}

func TestGoldenTools(t *testing.T) {
	dir := t.TempDir()
	c, err := New(Config{Roots: []Root{{Name: "docs", Path: dir}, {Name: "notes", Path: dir, Write: true, Delete: true}}}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	for _, tool := range c.Tools() {
		checkSchema(t, tool)
		got, err := json.MarshalIndent(map[string]any{
			"name": tool.Name, "title": tool.Title, "description": tool.Description, "inputSchema": tool.Input,
			"effects": tool.Effects, "idempotent": tool.Idempotent,
		}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", tool.Name+".json")
		if *update {
			if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
			t.Errorf("%s (HEARTH_UPDATE=1 writes it anew):\n%s", path, d)
		}
	}
}

func checkSchema(t *testing.T, tool router.Tool) {
	t.Helper()
	for _, word := range []string{"anyOf", "oneOf", "$ref"} {
		if bytes.Contains(tool.Input, []byte(word)) {
			t.Errorf("%s: the schema says %s", tool.Name, word)
		}
	}
}

func TestToolsFollowWhatIsAllowed(t *testing.T) {
	for _, x := range []struct {
		root Root
		want string
	}{
		{Root{}, "list read search"},
		{Root{Write: true}, "list read search write move"},
		{Root{Delete: true}, "list read search delete"},
		{Root{Write: true, Delete: true}, "list read search write move delete"},
	} {
		c, _ := open(t, func(cfg *Config) {
			x.root.Name, x.root.Path = "docs", cfg.Roots[0].Path
			cfg.Roots[0] = x.root
		})
		var names []string
		for _, tool := range c.Tools() {
			names = append(names, tool.Name)
			if tool.Effects.ReadOnly() != (tool.Name == "list" || tool.Name == "read" || tool.Name == "search") {
				t.Errorf("%s: %+v", tool.Name, tool.Effects)
			}
		}
		expect(t, "tools", strings.Join(names, " "), "="+x.want)
	}
	c, _ := open(t, func(cfg *Config) { cfg.Untrusted = true })
	for _, tool := range c.Tools() {
		if tool.Effects.ReadOnly() != tool.Effects.Untrusted {
			t.Errorf("%s: untrusted is %v", tool.Name, tool.Effects.Untrusted)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, x := range []struct {
		config Config
		path   string
	}{
		{Config{}, "roots"},
		{Config{Roots: []Root{{Name: "a b", Path: "/x"}}}, "roots[0].name"},
		{Config{Roots: []Root{{Name: "..", Path: "/x"}}}, "roots[0].name"},
		{Config{Roots: []Root{{Name: "a", Path: "/x"}, {Name: "a", Path: "/y"}}}, "roots[1].name"},
		{Config{Roots: []Root{{Name: "a"}}}, "roots[0].path"},
		{Config{Roots: []Root{{Name: "a", Path: "/x"}}, Deny: []string{"*.a", "["}}, "deny[1]"},
		{Config{Roots: []Root{{Name: "a", Path: "/x"}}, ReadBytes: -1}, "read_bytes"},
		{Config{Roots: []Root{{Name: "a", Path: "/x"}}, SearchTime: -1}, "search_time"},
	} {
		var field *config.FieldError
		if err := x.config.Check(); !errors.As(err, &field) || field.Path != x.path {
			t.Errorf("%+v: %v, want %s", x.config, err, x.path)
		}
	}
	cfg := Config{Roots: []Root{{Name: "a", Path: "sub"}, {Name: "b", Path: "/abs"}}}
	cfg.Resolve("/etc/hearth")
	if cfg.Roots[0].Path != "/etc/hearth/sub" || cfg.Roots[1].Path != "/abs" {
		t.Errorf("resolved: %+v", cfg.Roots)
	}
	for _, path := range []string{"/proc", filepath.Join(t.TempDir(), "none")} {
		var field *config.FieldError
		if c, err := New(Config{Roots: []Root{{Name: "a", Path: path}}}, zerolog.Nop()); !errors.As(err, &field) || field.Path != "roots[0].path" {
			t.Errorf("%s: %v, %v", path, c, err)
		}
	}
	if c, err := New(Config{Roots: []Root{{Name: "a", Path: t.TempDir()}}, Deny: []string{"["}}, zerolog.Nop()); err == nil {
		t.Errorf("a glob without an end: %v", c)
	}
}

func TestGlob(t *testing.T) {
	for _, x := range []struct{ glob, yes, no string }{
		{"*.txt", "a.txt sub/b.TXT .txt", "a.txt2 txt"},
		{"sub/*.txt", "sub/a.txt", "a.txt sub/x/a.txt xsub/a.txt"},
		{"**/*.txt", "a.txt sub/a.txt s/u/b.txt", "a.md"},
		{"sub/**", "sub/a sub/x/y", "sub subx/a"},
		{"a?c", "abc x/aXc", "ac abbc a/c"},
		{"[a-c]x", "ax bx", "dx"},
		{"[!a]x", "bx", "ax"},
		{"{a,b*}.go", "a.go bcd.go", "c.go"},
		{"a.b", "a.b", "axb"},
		{`\*`, "*", "a"},
		{"/top", "top", "sub/top"},
		{"ü*", "über", "uber"},
		{"x+(y)|z$^", "x+(y)|z$^", "xy"},
	} {
		g, err := compileGlob(x.glob)
		if err != nil {
			t.Errorf("%s: %v", x.glob, err)
			continue
		}
		for _, p := range strings.Fields(x.yes) {
			if !g.match(p) {
				t.Errorf("%s does not match %s", x.glob, p)
			}
		}
		for _, p := range strings.Fields(x.no) {
			if g.match(p) {
				t.Errorf("%s matches %s", x.glob, p)
			}
		}
	}
	for _, bad := range []string{"", "/", "[", "[]", "[!]", "{a", strings.Repeat("a", maxGlob+1), "[z-a]"} {
		if _, err := compileGlob(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestIgnore(t *testing.T) {
	top := parseIgnore(".", "# comment\n\n*.log\n!keep.log\nbuild/\n/only-top\nsub/*.tmp\n[\n\\#x\ntrailing  \n{a,b}\n")
	sub := parseIgnore("sub", "x\n!y.log\n")
	for path, want := range map[string]bool{
		"a.log": true, "sub/a.log": true, "keep.log": false, "only-top": true, "sub/only-top": false, "sub/a.tmp": true, "a.tmp": false,
		"#x": true, "trailing": true, "x": false, "sub/x": true, "sub/y.log": false, "y.log": true, "{a,b}": true, "a": false, "build": false,
	} {
		rules := []*ignoreRules{top}
		if strings.HasPrefix(path, "sub/") {
			rules = append(rules, sub)
		}
		if got := ignored(rules, path, false); got != want {
			t.Errorf("%s: ignored is %v", path, got)
		}
	}
	if !ignored([]*ignoreRules{top}, "build", true) {
		t.Error("the folder build is not ignored")
	}
}
