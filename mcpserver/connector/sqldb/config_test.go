package sqldb

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"hearth/internal/config"
)

var update = flag.Bool("update", false, "write testdata anew")

func TestToolsAreGolden(t *testing.T) {
	for _, driver := range []string{SQLite, Postgres, MySQL} {
		list := tools(driver, true, 30*time.Second)
		for _, tool := range list {
			for _, schema := range []json.RawMessage{tool.Input, tool.Output} {
				doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
				if err != nil {
					t.Fatalf("%s: %v", tool.Name, err)
				}
				c := jsonschema.NewCompiler()
				if err := c.AddResource("x.json", doc); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Compile("x.json"); err != nil {
					t.Errorf("%s: %v", tool.Name, err)
				}
			}
		}
		got, err := json.MarshalIndent(list, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		file := filepath.Join("testdata", driver+".json")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the tools are: look at the difference, then run the test with -update", file)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Driver: "sqlite", Path: "x.db"}, ""},
		{Config{Driver: "postgres", DSN: "env:DSN"}, ""},
		{Config{Driver: "postgres", DSN: "postgres://reader@db/shop"}, ""},
		{Config{Driver: "postgres", DSN: "host=db user=reader dbname=shop", Password: "env:PW"}, ""},
		{Config{Driver: "mariadb", DSN: "mysql://reader@db/shop", Password: "file:pw"}, ""},
		{Config{Driver: "mysql", DSN: "reader@tcp(db:3306)/shop"}, ""},
		{Config{}, "driver: is missing"},
		{Config{Driver: "oracle"}, `driver: "oracle" is unknown: use one of sqlite`},
		{Config{Driver: "sqlite"}, "path: must name"},
		{Config{Driver: "sqlite", Path: "x", DSN: "y"}, "dsn: is of servers"},
		{Config{Driver: "postgres"}, "dsn: is missing"},
		{Config{Driver: "postgres", DSN: "env:"}, "dsn: names nothing"},
		{Config{Driver: "postgres", DSN: "postgres://reader:hunter2@db/shop"}, "dsn: holds a password"},
		{Config{Driver: "postgres", DSN: "host=db password=hunter2"}, "dsn: holds a password"},
		{Config{Driver: "mysql", DSN: "mysql://reader:hunter2@db/shop"}, "dsn: holds a password"},
		{Config{Driver: "mysql", DSN: "reader:hunter2@tcp(db)/shop"}, "dsn: holds a password"},
		{Config{Driver: "mysql", DSN: "mysql://reader@db/shop?allowAllFiles=true"}, "dsn: cannot be read"},
		{Config{Driver: "postgres", DSN: "env:X", Password: "hunter2"}, "password: must name where the secret is"},
		{Config{Driver: "sqlite", Path: "x", Immutable: true, Write: true}, "immutable: says"},
		{Config{Driver: "sqlite", Path: "x", MaxRows: -1}, "max_rows: must be between"},
		{Config{Driver: "sqlite", Path: "x", MaxBytes: 1}, "max_bytes: must be between"},
		{Config{Driver: "sqlite", Path: "x", Timeout: time.Millisecond}, "timeout: must be between"},
		{Config{Driver: "sqlite", Path: "x", LockTimeout: time.Microsecond}, "lock_timeout: must be between"},
		{Config{Driver: "sqlite", Path: "x", Connections: 1000}, "connections: must be between"},
	} {
		err := c.cfg.Check()
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)):
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("the error holds the password: %v", err)
		}
	}
}

func TestResolve(t *testing.T) {
	c := Config{Path: "a.db", DSN: "file:dsn", Password: "file:/etc/pw"}
	c.Resolve("/etc/hearth")
	if c.Path != "/etc/hearth/a.db" || c.DSN != "file:/etc/hearth/dsn" || c.Password != config.Secret("file:/etc/pw") {
		t.Errorf("%+v", c)
	}
}

// A secret that reaches an error would reach a log.
func TestSecretsStayOutOfErrors(t *testing.T) {
	for driver, dsn := range map[string]string{
		"postgres": "postgres://reader:hunter2@127.0.0.1:1/shop?connect_timeout=1", "mysql": "mysql://reader:hunter2@127.0.0.1:1/shop",
	} {
		t.Setenv("HEARTH_TEST_DSN", dsn)
		var log bytes.Buffer
		d, err := New(Config{Driver: driver, DSN: "env:HEARTH_TEST_DSN"}, zerolog.New(&log))
		if err != nil {
			t.Fatal(err)
		}
		err = d.Check(t.Context())
		if err == nil || strings.Contains(err.Error()+log.String(), "hunter2") {
			t.Errorf("%s: %v, log %s", driver, err, log.String())
		}
		if err := d.Close(t.Context()); err != nil {
			t.Error(err)
		}
		t.Setenv("HEARTH_TEST_DSN", "hunter2 %%% ://")
		if _, err := New(Config{Driver: driver, DSN: "env:HEARTH_TEST_DSN"}, zerolog.Nop()); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: a DSN that cannot be read: %v", driver, err)
		}
	}
}
