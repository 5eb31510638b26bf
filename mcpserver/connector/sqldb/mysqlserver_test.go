//go:build mysql

package sqldb

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"hearth/internal/testkit"
)

const mysqlSchema = `CREATE DATABASE shop; USE shop;
CREATE TABLE customers (id int PRIMARY KEY, name varchar(100) NOT NULL, city varchar(50) DEFAULT 'Bern') COMMENT 'who buys';
CREATE TABLE orders (id bigint PRIMARY KEY, customer int NOT NULL, total decimal(20,2) COMMENT 'in francs', FOREIGN KEY (customer) REFERENCES customers (id));
CREATE INDEX orders_total ON orders (customer, total); CREATE VIEW big AS SELECT * FROM orders WHERE total > 100;
CREATE TABLE canary (v text); INSERT INTO canary VALUES ('untouched');
CREATE TABLE flat (v int) ENGINE=MyISAM; INSERT INTO flat VALUES (1);
INSERT INTO customers VALUES (1, 'Ada', NULL), (2, 'Bob', 'Bern'); INSERT INTO orders VALUES (9007199254740993, 1, 123456789012345678.90), (2, 1, NULL);
ANALYZE TABLE customers, orders;
DELIMITER $$
CREATE FUNCTION wipe() RETURNS int MODIFIES SQL DATA BEGIN DELETE FROM canary; RETURN 1; END$$
CREATE PROCEDURE wipe_commit() MODIFIES SQL DATA BEGIN COMMIT; DELETE FROM canary; COMMIT; END$$
DELIMITER ;
CREATE USER reader; GRANT ALL ON shop.* TO reader; CREATE USER files; GRANT FILE ON *.* TO files; CREATE USER boss; GRANT ALL ON *.* TO boss;
CREATE USER giver; GRANT SELECT ON shop.* TO giver WITH GRANT OPTION; CREATE USER system_writer; GRANT UPDATE ON mysql.* TO system_writer;
CREATE ROLE strong; GRANT SUPER ON *.* TO strong; CREATE USER hidden; GRANT strong TO hidden;
CREATE USER dynamic; GRANT SYSTEM_VARIABLES_ADMIN ON *.* TO dynamic; CREATE USER cloner; GRANT BACKUP_ADMIN, CLONE_ADMIN ON *.* TO cloner;
CREATE ROLE weak; GRANT SELECT ON shop.* TO weak; CREATE USER fine; GRANT weak TO fine; SET DEFAULT ROLE weak TO fine;`

// dumpMySQL is every row of the database, and what there is else.
func dumpMySQL(t *testing.T, m *testkit.MySQL) string {
	return m.SQL(t, `SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, CREATE_TIME, TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'sys', 'mysql') ORDER BY TABLE_SCHEMA, TABLE_NAME;
SHOW DATABASES; SELECT * FROM shop.customers ORDER BY 1; SELECT * FROM shop.orders ORDER BY 1; SELECT * FROM shop.canary; SELECT * FROM shop.flat;
SHOW CREATE TABLE shop.canary; SHOW FUNCTION STATUS WHERE Db = 'shop'; SHOW PROCEDURE STATUS WHERE Db = 'shop'; SHOW TRIGGERS FROM shop; SHOW EVENTS FROM shop;
SELECT * FROM mysql.user ORDER BY User, Host; SELECT * FROM mysql.db ORDER BY Db, User; SELECT * FROM mysql.global_grants ORDER BY 1, 2, 3; SELECT * FROM mysql.role_edges ORDER BY 1, 2, 3, 4; SELECT * FROM performance_schema.persisted_variables ORDER BY 1;
SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'general_log', 'transaction_read_only', 'max_connections', 'local_infile'); SHOW PLUGINS; SELECT * FROM mysql.component`)
}

// mysqlAttempts are those of MariaDB and what only MySQL knows.
func mysqlAttempts() []string {
	out := mariaAttempts()
	for _, w := range []string{"DROP TABLE canary", "DELETE FROM canary", "UPDATE flat SET v = 2", "INSERT INTO canary VALUES ('x')"} {
		out = append(out, "/*!80000 "+w+" */", "SELECT /*+ SET_VAR(transaction_read_only = OFF) */ 1; "+w, "EXPLAIN ANALYZE "+w, "EXPLAIN FORMAT=TREE "+w, "EXPLAIN INTO @x FORMAT=JSON "+w, "SET TRANSACTION READ WRITE; "+w, "COMMIT AND CHAIN; "+w)
	}
	return append(out,
		"SET SESSION transaction_read_only = OFF", "SET PERSIST max_connections = 7", "SET PERSIST_ONLY read_only = ON", "RESET PERSIST", "SELECT /*+ SET_VAR(transaction_read_only = OFF) */ wipe()", "CALL wipe_commit()",
		"INSTALL COMPONENT 'file://component_validate_password'", "INSTALL PLUGIN clone SONAME 'mysql_clone.so'", "CLONE LOCAL DATA DIRECTORY = '/tmp/evil'", "RESTART", "ALTER INSTANCE ROTATE INNODB MASTER KEY", "ALTER INSTANCE DISABLE INNODB REDO_LOG",
		"CREATE RESOURCE GROUP evil TYPE = USER", "SET RESOURCE GROUP USR_default", "LOCK INSTANCE FOR BACKUP", "IMPORT TABLE FROM '/tmp/*.sdi'", "CREATE SPATIAL REFERENCE SYSTEM 4 NAME 'x' DEFINITION 'x'", "CREATE ROLE evil", "SET DEFAULT ROLE ALL TO reader", "SET ROLE ALL", "SELECT * FROM canary FOR SHARE", "SELECT * FROM canary FOR UPDATE SKIP LOCKED",
		"TABLE canary INTO OUTFILE '/tmp/evil'", "VALUES ROW(1) INTO @a", "WITH x AS (SELECT 1) UPDATE canary SET v = 'x'", "(SELECT 1) UNION (SELECT wipe())", "SHOW BINARY LOGS", "PURGE BINARY LOGS TO 'x'", "RESET BINARY LOGS AND GTIDS", "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'evil'", "START REPLICA", "ALTER TABLE canary DISCARD TABLESPACE", "CREATE TABLESPACE evil ADD DATAFILE 'evil.ibd'", "CREATE UNDO TABLESPACE evil ADD DATAFILE 'evil.ibu'", "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'evil')", "CACHE INDEX flat IN evil",
	)
}

// TestMySQL holds MySQL itself to what TestMariaDB holds MariaDB to.
func TestMySQL(t *testing.T) {
	server := testkit.StartMySQL(t)
	server.SQL(t, mysqlSchema)
	t.Log("MySQL", strings.TrimSpace(server.SQL(t, "SELECT VERSION()")))
	cfg := Config{Driver: "mysql", DSN: server.DSN("reader", "shop")}
	t.Run("tools", func(t *testing.T) { testMySQLTools(t, open(t, cfg)) })
	t.Run("roles", func(t *testing.T) {
		for account, why := range map[string]string{
			"boss": "SUPER", "files": "FILE", "giver": "GRANT OPTION", "system_writer": "own tables", "hidden": "SUPER", "root": "GRANT OPTION",
			"dynamic": "SYSTEM_VARIABLES_ADMIN", "cloner": "CLONE_ADMIN",
		} {
			d := open(t, Config{Driver: "mysql", DSN: server.DSN(account, ""), Write: true})
			if err := d.Check(context.Background()); !errors.Is(err, ErrRole) || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v", account, err)
			}
		}
		d := open(t, Config{Driver: "mysql", DSN: server.DSN("fine", "shop")})
		if got := query(t, d, "SELECT v FROM canary"); got != "v\nuntouched\n(1 row)" {
			t.Errorf("by a role: %s", got)
		}
	})
	t.Run("escapes", func(t *testing.T) {
		before := dumpMySQL(t, server)
		d := open(t, cfg)
		for _, text := range enough(t, mysqlAttempts()) {
			_, _, _ = call(t, d, "query", obj{"sql": text})
			if strings.Contains(text, "/*!") || strings.Contains(text, "wipe_commit") {
				continue // what ends the transaction that it runs in, only the first word holds back
			}
			_, _ = d.SQL(context.Background(), text, nil, false)
		}
		if after := dumpMySQL(t, server); after != before {
			t.Errorf("the dump is not what it was:\n%s\nbefore\n%s", after, before)
		}
		if got := query(t, d, "SELECT v, is_free_lock('evil') AS free FROM canary"); got != "v | free\nuntouched | 1\n(1 row)" {
			t.Error(got)
		}
	})
	t.Run("bounds", func(t *testing.T) { testMySQLBounds(t, server, cfg) })
	t.Run("writes", func(t *testing.T) {
		cfg.Write = true
		d := open(t, cfg)
		text, _, err := call(t, d, "execute", obj{"sql": "INSERT INTO customers VALUES (?, ?, NULL)", "params": []any{3, "Robert'); DROP TABLE customers;--"}})
		if err != nil || text != "(1 row changed)" {
			t.Fatalf("%q, %v", text, err)
		}
		wantParts(t, "constraint", refused(t, d, "execute", "INSERT INTO orders VALUES (5, 77, 1)"), "foreign key constraint fails")
		wantParts(t, "two", refused(t, d, "execute", "DELETE FROM canary; DELETE FROM flat"), "syntax")
		for _, text := range []string{"SET GLOBAL general_log = 1", "SET PERSIST max_connections = 7"} {
			wantParts(t, text, refused(t, d, "execute", text), "cannot take this statement apart")
		}
		if got := query(t, d, "SELECT name FROM customers WHERE id = 3"); got != "name\nRobert'); DROP TABLE customers;--\n(1 row)" {
			t.Error(got)
		}
	})
}

func testMySQLTools(t *testing.T, d *DB) {
	text, _, err := call(t, d, "list_tables", obj{"like": "O"})
	if err != nil {
		t.Fatal(err)
	}
	wantParts(t, "list_tables", text, "schema | name | kind | rows_about | comment\n", "shop | customers | table | 2 | who buys\n", "shop | orders | table | 2 |", "(2 rows)")
	text, _, err = call(t, d, "describe_table", obj{"table": "orders"})
	if want := "table shop.orders\n  id bigint primary key\n  customer int not null\n  total decimal(20,2) -- in francs\nforeign key (customer) references shop.customers (id)\nindex orders_total (customer, total)"; err != nil || text != want {
		t.Errorf("describe_table (%v):\n%s\nwant\n%s", err, text, want)
	}
	text, _, err = call(t, d, "describe_table", obj{"table": "big"})
	if err != nil || !strings.HasPrefix(text, "view shop.big\n  id bigint not null") {
		t.Errorf("describe_table of a view (%v):\n%s", err, text)
	}
	if got := query(t, d, "SELECT id, total FROM orders WHERE customer = ? ORDER BY id", 1); got != "id | total\n2 | NULL\n9007199254740993 | 123456789012345678.90\n(2 rows)" {
		t.Error(got)
	}
	wantParts(t, "error", refused(t, d, "query", "SELECT nme FROM customers"), "Unknown column 'nme'")
	for sql, want := range map[string]string{
		"18446744073709551615": `"18446744073709551615"`, "1.10": `"1.10"`, "x'00ff'": `"AP8="`, "NULL": "null", "1e300": "1e+300", "b'101'": `"BQ=="`,
		"CAST('2026-01-02 03:04:05.25' AS DATETIME(2))": `"2026-01-02T03:04:05.25"`, "CAST('2026-01-02' AS DATE)": `"2026-01-02"`, "'é'": `"é"`, "CAST('10:11:12' AS TIME)": `"10:11:12"`,
		"from_unixtime(1)": `"1970-01-01T00:00:01"`, "@@session.transaction_read_only": "1", "JSON_OBJECT('a', 1)": `{"a":1}`, "CAST('[1, 2]' AS JSON)": `[1,2]`, "TO_VECTOR('[1]')": `"AACAPw=="`,
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

func testMySQLBounds(t *testing.T, server *testkit.MySQL, cfg Config) {
	numbers := "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
	cfg.MaxRows, cfg.Timeout, cfg.Connections = 3, 20*time.Second, 2
	d := open(t, cfg)
	wantParts(t, "rows", query(t, d, numbers+"SELECT i FROM n WHERE i <= 7"), "i\n1\n2\n3\n(cut: only the first 3 of 7 rows")
	wantParts(t, "many", query(t, d, numbers+"SELECT a.i FROM n a, n b, n c"), "first 3 of more than 10003 rows")
	wantParts(t, "value", query(t, d, "SELECT repeat('a', 1000000) AS v"), "…[cut: 32768 of 1000000 bytes shown]")
	testStatementsEnd(t, d, cfg, server.SQL, "performance_schema.processlist", numbers+"SELECT sum(a.i * b.i * c.i) FROM n a, n b, n c")
}
