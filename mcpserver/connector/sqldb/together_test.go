package sqldb

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"hearth/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSQLiteChangesOfSchema(t *testing.T) {
	d := open(t, Config{Driver: "sqlite", Path: sqliteDB(t), Write: true})
	for _, sql := range []string{
		"CREATE TABLE boats (name TEXT, tons INT)", "CREATE INDEX boats_name ON boats (name)", "ALTER TABLE boats ADD COLUMN berth TEXT",
		"ALTER TABLE boats RENAME TO ships", "ALTER TABLE ships RENAME COLUMN tons TO weight", "CREATE VIEW heavy AS SELECT * FROM ships WHERE weight > 10",
		"CREATE TRIGGER t AFTER INSERT ON ships BEGIN UPDATE ships SET berth = 'A' WHERE berth IS NULL; END", "INSERT INTO ships (name, weight) VALUES ('Teal', 12)",
		"CREATE VIRTUAL TABLE words USING fts5(w)", "INSERT INTO words VALUES ('harbour master')", "DROP INDEX boats_name", "REINDEX", "ANALYZE",
	} {
		if _, _, err := call(t, d, "execute", obj{"sql": sql}); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if got := query(t, d, "SELECT name, berth FROM heavy"); got != "name | berth\nTeal | A\n(1 row)" {
		t.Error(got)
	}
	if got := query(t, d, "SELECT w FROM words WHERE words MATCH 'harbour'"); got != "w\nharbour master\n(1 row)" {
		t.Error(got)
	}
	for _, sql := range []string{"DROP VIEW heavy", "DROP TRIGGER t", "DROP TABLE ships", "DROP TABLE words"} {
		if _, _, err := call(t, d, "execute", obj{"sql": sql}); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// Many callers, some of whom leave, share few connections and get their own rows.
func TestTogether(t *testing.T) {
	server := testkit.StartPostgres(t)
	server.SQL(t, "postgres", "CREATE ROLE reader LOGIN")
	for _, cfg := range []Config{{Driver: "sqlite", Path: sqliteDB(t), Connections: 3}, {Driver: "postgres", DSN: server.DSN("reader", "postgres"), Connections: 3}} {
		d := open(t, cfg)
		placeholder := "?"
		if cfg.Driver == "postgres" {
			placeholder = "$1"
		}
		var all sync.WaitGroup
		for n := range 40 {
			all.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if n%4 == 0 {
					go cancel()
				}
				want := fmt.Sprintf("caller %d", n)
				res, err := d.SQL(ctx, "SELECT "+placeholder+" || '' AS who", []any{want}, false)
				switch {
				case err == nil && !strings.Contains(res.Content[0].Text, "\n"+want+"\n"):
					t.Errorf("%s got %s", want, res.Content[0].Text)
				case err != nil && ctx.Err() == nil:
					t.Errorf("%s: %v", want, err)
				}
			})
		}
		all.Wait()
	}
}
