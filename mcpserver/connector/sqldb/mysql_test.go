package sqldb

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"hearth/internal/testkit"
	"hearth/mcpserver/router"
)

const mariaSchema = `CREATE DATABASE shop; USE shop;
CREATE TABLE customers (id int PRIMARY KEY, name varchar(100) NOT NULL, city varchar(50) DEFAULT 'Bern') COMMENT 'who buys';
CREATE TABLE orders (id bigint PRIMARY KEY, customer int NOT NULL, total decimal(20,2) COMMENT 'in francs', FOREIGN KEY (customer) REFERENCES customers (id));
CREATE INDEX orders_total ON orders (customer, total); CREATE VIEW big AS SELECT * FROM orders WHERE total > 100;
CREATE SEQUENCE seq; CREATE TABLE canary (v text); INSERT INTO canary VALUES ('untouched');
CREATE TABLE flat (v int) ENGINE=Aria TRANSACTIONAL=0; INSERT INTO flat VALUES (1);
INSERT INTO customers VALUES (1, 'Ada', NULL), (2, 'Bob', 'Bern'); INSERT INTO orders VALUES (9007199254740993, 1, 123456789012345678.90), (2, 1, NULL);
CREATE FUNCTION wipe() RETURNS int MODIFIES SQL DATA BEGIN DELETE FROM canary; RETURN 1; END;`

const mariaAccounts = `
CREATE USER reader; GRANT ALL ON shop.* TO reader; CREATE USER files; GRANT FILE ON *.* TO files; CREATE USER boss; GRANT ALL ON *.* TO boss;
CREATE USER giver; GRANT SELECT ON shop.* TO giver WITH GRANT OPTION; CREATE USER system_writer; GRANT UPDATE ON mysql.* TO system_writer;
CREATE ROLE strong; GRANT SUPER ON *.* TO strong; CREATE USER hidden; GRANT strong TO hidden;`

// dumpMaria is every row of the database, and what there is else.
func dumpMaria(t *testing.T, m *testkit.MariaDB) string {
	return m.SQL(t, `SELECT TABLE_NAME, TABLE_TYPE, ENGINE, CREATE_TIME, TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'sys', 'mysql') ORDER BY TABLE_SCHEMA, TABLE_NAME;
SHOW DATABASES; SELECT * FROM shop.customers ORDER BY 1; SELECT * FROM shop.orders ORDER BY 1; SELECT * FROM shop.canary; SELECT * FROM shop.flat; SELECT next_not_cached_value FROM shop.seq;
SHOW CREATE TABLE shop.canary; SHOW FUNCTION STATUS WHERE Db = 'shop'; SHOW PROCEDURE STATUS WHERE Db = 'shop'; SHOW TRIGGERS FROM shop; SHOW EVENTS FROM shop;
SELECT User, Host, Priv FROM mysql.global_priv ORDER BY 1, 2; SELECT * FROM mysql.db ORDER BY Db, User; SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'general_log', 'tx_read_only', 'max_connections')`)
}

func TestMariaDB(t *testing.T) {
	server := testkit.StartMariaDB(t)
	server.SQL(t, "DELIMITER $$\n"+strings.Replace(mariaSchema, "CREATE FUNCTION", "$$\nCREATE FUNCTION", 1)+"$$\nDELIMITER ;\n"+mariaAccounts)
	cfg := Config{Driver: "mariadb", DSN: server.DSN("reader", "shop")}
	t.Run("tools", func(t *testing.T) { testMariaTools(t, open(t, cfg)) })
	t.Run("roles", func(t *testing.T) {
		for account, why := range map[string]string{
			"boss": "ALL PRIVILEGES", "files": "FILE", "giver": "GRANT OPTION", "system_writer": "own tables", "hidden": "SUPER", "root": "ALL PRIVILEGES",
		} {
			d := open(t, Config{Driver: "mysql", DSN: server.DSN(account, ""), Write: true})
			if err := d.Check(context.Background()); !errors.Is(err, ErrRole) || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v", account, err)
			}
		}
	})
	t.Run("escapes", func(t *testing.T) { testMariaEscapes(t, server, cfg) })
	t.Run("bounds", func(t *testing.T) { testMariaBounds(t, server, cfg) })
	t.Run("writes", func(t *testing.T) {
		cfg.Write = true
		d := open(t, cfg)
		text, _, err := call(t, d, "execute", obj{"sql": "INSERT INTO customers VALUES (?, ?, NULL)", "params": []any{3, "Robert'); DROP TABLE customers;--"}})
		if err != nil || text != "(1 row changed)" {
			t.Fatalf("%q, %v", text, err)
		}
		wantParts(t, "constraint", refused(t, d, "execute", "INSERT INTO orders VALUES (5, 77, 1)"), "foreign key constraint fails")
		wantParts(t, "two", refused(t, d, "execute", "DELETE FROM canary; DELETE FROM flat"), "syntax")
		wantParts(t, "query", refused(t, d, "query", "EXPLAIN DELETE FROM canary; COMMIT"), "syntax")
		if got := query(t, d, "SELECT name FROM customers WHERE id = 3"); got != "name\nRobert'); DROP TABLE customers;--\n(1 row)" {
			t.Error(got)
		}
	})
}

func testMariaTools(t *testing.T, d *DB) {
	text, _, err := call(t, d, "list_tables", obj{"like": "O"})
	if err != nil {
		t.Fatal(err)
	}
	wantParts(t, "list_tables", text, "schema | name | kind | rows_about | comment\n", "shop | customers | table | 2 | who buys\n", "shop | orders | table | 2 |", "(2 rows)")
	text, _, err = call(t, d, "describe_table", obj{"table": "orders"})
	if want := "table shop.orders\n  id bigint(20) primary key\n  customer int(11) not null\n  total decimal(20,2) -- in francs\nforeign key (customer) references shop.customers (id)\nindex orders_total (customer, total)"; err != nil || text != want {
		t.Errorf("describe_table (%v):\n%s\nwant\n%s", err, text, want)
	}
	if got := query(t, d, "SELECT id, total FROM orders WHERE customer = ? ORDER BY id", 1); got != "id | total\n2 | NULL\n9007199254740993 | 123456789012345678.90\n(2 rows)" {
		t.Error(got)
	}
	wantParts(t, "error", refused(t, d, "query", "SELECT nme FROM customers"), "Unknown column 'nme'")
	for sql, want := range map[string]string{
		"18446744073709551615": `"18446744073709551615"`, "1.10": `"1.10"`, "x'00ff'": `"AP8="`, "NULL": "null", "1e300": "1e+300", "b'101'": `"BQ=="`,
		"CAST('2026-01-02 03:04:05.25' AS DATETIME(2))": `"2026-01-02T03:04:05.25"`, "CAST('2026-01-02' AS DATE)": `"2026-01-02"`, "'é'": `"é"`, "CAST('10:11:12' AS TIME)": `"10:11:12"`,
		"from_unixtime(1)": `"1970-01-01T00:00:01"`, "@@session.tx_read_only": "1",
	} {
		_, res, err := call(t, d, "query", obj{"sql": "SELECT " + sql + " AS v"})
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		if got := string(res.Structured); !strings.Contains(got, `"rows":[[`+want+`]]`) {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}

func testMariaEscapes(t *testing.T, server *testkit.MariaDB, cfg Config) {
	before := dumpMaria(t, server)
	d := open(t, cfg)
	for _, text := range enough(t, mariaAttempts()) {
		_, _, _ = call(t, d, "query", obj{"sql": text})
		if compound(text) {
			continue // what a compound statement does, only the first word holds back
		}
		_, _ = d.SQL(context.Background(), text, nil, false)
	}
	if after := dumpMaria(t, server); after != before {
		t.Errorf("the dump is not what it was:\n%s\nbefore\n%s", after, before)
	}
	if got := query(t, d, "SELECT v, is_free_lock('evil') AS free FROM canary"); got != "v | free\nuntouched | 1\n(1 row)" {
		t.Error(got)
	}
}

func compound(text string) bool {
	return strings.Contains(text, "NOT ATOMIC") || strings.Contains(text, "/*")
}

func testMariaBounds(t *testing.T, server *testkit.MariaDB, cfg Config) {
	cfg.MaxRows, cfg.Timeout, cfg.Connections = 3, 20*time.Second, 2
	d := open(t, cfg)
	wantParts(t, "rows", query(t, d, "SELECT seq FROM seq_1_to_7"), "seq\n1\n2\n3\n(cut: only the first 3 of 7 rows")
	wantParts(t, "many", query(t, d, "SELECT seq FROM seq_1_to_100000000"), "first 3 of more than 10003 rows")
	wantParts(t, "value", query(t, d, "SELECT repeat('a', 1000000) AS v"), "…[cut: 32768 of 1000000 bytes shown]")
	testStatementsEnd(t, d, cfg, server.SQL, "information_schema.PROCESSLIST", "SELECT sum(a.seq * b.seq) FROM seq_1_to_100000 a, seq_1_to_100000 b")
}

// testStatementsEnd ends statements of MySQL's and MariaDB's in all three ways: their
// caller goes, their time is over, and the server hangs up. list is the table of what
// runs there; slow takes long.
func testStatementsEnd(t *testing.T, d *DB, cfg Config, admin func(t testing.TB, statements string) string, list, slow string) {
	t.Helper()
	running := func() string {
		return strings.TrimSpace(admin(t, "SELECT count(*) FROM "+list+" WHERE USER = 'reader' AND COMMAND IN ('Execute', 'Query')"))
	}
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() {
		_, err := d.Run(ctx, &router.Call{Tool: "query", Arguments: []byte(`{"sql":"SELECT sleep(60)"}`)})
		gone <- err
	}()
	for running() == "0" {
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who is gone: %v", err)
	}
	for end := time.Now().Add(2 * killTimeout); running() != "0"; {
		if time.Now().After(end) {
			t.Fatal("the statement still runs:", admin(t, "SHOW FULL PROCESSLIST"))
		}
	}
	cfg.Timeout = 200 * time.Millisecond
	wantParts(t, "time", refused(t, open(t, cfg), "query", slow), "stopped", "make it cheaper")
	for id := range strings.FieldsSeq(admin(t, "SELECT ID FROM "+list+" WHERE USER = 'reader'")) {
		admin(t, "KILL "+id)
	}
	if got := query(t, d, "SELECT 1 AS one"); got != "one\n1\n(1 row)" {
		t.Error(got)
	}
}
