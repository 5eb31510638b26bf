package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	_ "modernc.org/sqlite"
)

const sqliteSchema = `
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT DEFAULT 'Bern');
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers(id), total NUMERIC, placed TIMESTAMP);
CREATE INDEX orders_customer ON orders (customer, placed);
CREATE VIEW big AS SELECT * FROM orders WHERE total > 100;
INSERT INTO customers (id, name) VALUES (1, 'Ada'), (2, 'B|ob' || char(10) || 'x');
INSERT INTO orders VALUES (1, 1, 12.5, '2026-01-02 03:04:05'), (2, 1, 9007199254740993, NULL);
CREATE TABLE canary (v TEXT); INSERT INTO canary VALUES ('untouched');`

func sqliteDB(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(sqliteSchema); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSQLite(t *testing.T) {
	path := sqliteDB(t)
	d := open(t, Config{Driver: "sqlite", Path: path})
	text, _, err := call(t, d, "list_tables", obj{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "name | kind\nbig | view\ncanary | table\ncustomers | table\norders | table\n(4 rows)"; text != want {
		t.Errorf("list_tables:\n%s\nwant\n%s", text, want)
	}
	if text, _, _ = call(t, d, "list_tables", obj{"like": "ORD"}); text != "name | kind\norders | table\n(1 row)" {
		t.Errorf("like: %s", text)
	}
	text, res, err := call(t, d, "describe_table", obj{"table": "Orders"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "table orders\n  id integer primary key\n  customer integer not null\n  total numeric\n  placed timestamp\nforeign key (customer) references customers (id)\nindex orders_customer (customer, placed)"; text != want {
		t.Errorf("describe_table:\n%s\nwant\n%s", text, want)
	}
	wantParts(t, "structured", string(res.Structured), `"foreign_keys":[{"columns":"customer","table":"customers","references":"id"}]`)
	text, _, err = call(t, d, "describe_table", obj{"table": "nope"})
	wantParts(t, fmt.Sprint(err), text, `there is no table "nope". There are: big, canary, customers, orders`)

	if got, want := query(t, d, "SELECT name, city FROM customers WHERE id = ? OR name = ? ORDER BY id", 2, "Ada"), "name | city\nAda | Bern\nB\\|ob\\nx | Bern\n(2 rows)"; got != want {
		t.Errorf("query:\n%s\nwant\n%s", got, want)
	}
	_, res, err = call(t, d, "query", obj{"sql": "SELECT total, x'00ff' AS b, NULL AS n, cast(x'61ff62' AS TEXT) AS bad, 1e999 AS inf, 0.1 AS f, placed FROM orders ORDER BY id"})
	if err != nil {
		t.Fatal(err)
	}
	wantParts(t, "values", string(res.Structured), `[12.5,"AP8=",null,"a�b","+Inf",0.1,"2026-01-02 03:04:05"]`, `["9007199254740993"`)
	wantParts(t, "syntax", refused(t, d, "query", "SELECT * FRM orders"), `near "FRM": syntax error (at byte 10)`)
	wantParts(t, "no params", refused(t, d, "query", "SELECT ?"), "has 1 parameter and params has 0")
	wantParts(t, "two", refused(t, d, "query", "SELECT 1; SELECT 2"), "one statement a call")
	if got := query(t, d, "SELECT 1; -- end\n"); got != "1\n1\n(1 row)" {
		t.Errorf("a semicolon and a comment: %q", got)
	}
	if len(d.Tools()) != 3 {
		t.Errorf("%d tools without write", len(d.Tools()))
	}
	if _, _, err := call(t, d, "execute", obj{"sql": "DELETE FROM orders"}); err == nil {
		t.Error("execute without write")
	}
}

func TestSQLiteWrites(t *testing.T) {
	path := sqliteDB(t)
	d := open(t, Config{Driver: "sqlite", Path: path, Write: true})
	text, _, err := call(t, d, "execute", obj{"sql": "INSERT INTO customers (name, city) VALUES (?, ?)", "params": []any{"Robert'); DROP TABLE customers;--", nil}})
	if err != nil || text != "(1 row changed)" {
		t.Fatalf("%q, %v", text, err)
	}
	if got := query(t, d, "SELECT name, city FROM customers WHERE id = 3"); got != "name | city\nRobert'); DROP TABLE customers;-- | NULL\n(1 row)" {
		t.Error(got)
	}
	wantParts(t, "constraint", refused(t, d, "execute", "INSERT INTO orders VALUES (9, 77, 1, 1)"), "FOREIGN KEY constraint failed")
	text, _, err = call(t, d, "execute", obj{"sql": "UPDATE customers SET city = 'Basel' RETURNING id"})
	if err != nil || text != "id\n1\n2\n3\n(3 rows)" {
		t.Errorf("%q, %v", text, err)
	}
	for _, sql := range []string{"ATTACH 'x.db' AS x", "VACUUM INTO 'y.db'", "PRAGMA writable_schema = 1", "UPDATE sqlite_schema SET sql = ''", "COMMIT", "SELECT load_extension('x')"} {
		refused(t, d, "execute", sql)
	}
}

func TestSQLiteBounds(t *testing.T) {
	cfg := Config{Driver: "sqlite", Path: sqliteDB(t), MaxRows: 3, MaxBytes: 2048}
	d := open(t, cfg)
	cfg.Timeout = 300 * time.Millisecond
	slow := open(t, cfg)
	const count = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n"
	if got := query(t, d, count, 7); got != "i\n1\n2\n3\n(cut: only the first 3 of 7 rows are shown. Ask for less: add a WHERE, a LIMIT or count(*).)" {
		t.Error(got)
	}
	wantParts(t, "many", query(t, d, count, 1000000), "only the first 3 of more than 10003 rows")
	wantParts(t, "long value", query(t, d, "SELECT hex(zeroblob(5000))"), "…[cut: 512 of 10000 bytes shown]")
	wantParts(t, "bytes", query(t, d, "WITH n(i) AS (VALUES (1), (2)) SELECT hex(zeroblob(250)), hex(zeroblob(250)), hex(zeroblob(250)) FROM n"), "only the first 1 of 2 rows")
	// The first row comes at once, the second never.
	wantParts(t, "time", refused(t, slow, "query", "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i = 1 OR i < 0"), "stopped after 300ms")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.SQL(ctx, "SELECT 1", nil, false); err != context.Canceled {
		t.Errorf("a caller who is gone: %v", err)
	}
}

func TestSQLiteEscapes(t *testing.T) {
	path := sqliteDB(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	d := open(t, Config{Driver: "sqlite", Path: path})
	ctx := context.Background()
	for _, text := range enough(t, sqliteAttempts(path)) {
		_, _, _ = call(t, d, "query", obj{"sql": text})
		// The rules behind the first words hold by themselves.
		if _, err := d.SQL(ctx, text, nil, false); err == nil {
			t.Logf("ran: %s", text)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file is not what it was (%v)", err)
	}
	for _, where := range []string{dir, filepath.Dir(path)} {
		entries, err := os.ReadDir(where)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "shop.db" {
				t.Errorf("%s appeared in %s", e.Name(), where)
			}
		}
	}
	if got := query(t, d, "SELECT v FROM canary"); got != "v\nuntouched\n(1 row)" {
		t.Error(got)
	}
}

func TestSQLiteWALReadOnlyFolder(t *testing.T) {
	path := sqliteDB(t)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"PRAGMA journal_mode = WAL", "INSERT INTO canary VALUES ('in the log')"} {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	d, err := New(Config{Driver: "sqlite", Path: path}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if got := query(t, d, "SELECT count(*) AS n FROM canary"); got != "n\n2\n(1 row)" {
		t.Error(got)
	}
	// What is not in the file yet cannot be read where it is taken to be fixed.
	if err := open(t, Config{Driver: "sqlite", Path: path, Immutable: true}).Check(context.Background()); err == nil || !strings.Contains(err.Error(), "-wal") {
		t.Errorf("immutable beside a log: %v", err)
	}
	if err := d.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	fixed := open(t, Config{Driver: "sqlite", Path: path, Immutable: true})
	if got := query(t, fixed, "SELECT count(*) AS n FROM canary"); got != "n\n2\n(1 row)" {
		t.Error(got)
	}
}
