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

const postgresSchema = `
CREATE ROLE reader LOGIN; CREATE ROLE boss LOGIN SUPERUSER; CREATE ROLE files LOGIN IN ROLE pg_read_server_files;
CREATE ROLE nested NOLOGIN IN ROLE pg_execute_server_program; CREATE ROLE hidden LOGIN NOINHERIT IN ROLE nested;
CREATE ROLE maker LOGIN CREATEROLE; CREATE ROLE importer LOGIN; GRANT EXECUTE ON FUNCTION lo_import(text) TO importer;
GRANT CREATE, USAGE ON SCHEMA public TO reader;
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, city text DEFAULT 'Bern'); COMMENT ON TABLE customers IS 'who buys';
CREATE TABLE orders (id bigint PRIMARY KEY, customer int NOT NULL REFERENCES customers, total numeric(20,2)); COMMENT ON COLUMN orders.total IS 'in francs';
CREATE INDEX orders_customer ON orders (customer, total DESC); CREATE VIEW big AS SELECT * FROM orders WHERE total > 100;
CREATE SEQUENCE seq; CREATE TABLE canary (v text); INSERT INTO canary VALUES ('untouched');
INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob'); INSERT INTO orders VALUES (9007199254740993, 1, 12345678901234567.89), (2, 1, NULL);
CREATE FUNCTION wipe() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN DELETE FROM canary; RETURN 1; END $$;
CREATE FUNCTION wipe_definer() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN DELETE FROM canary; RETURN 1; END $$;
CREATE FUNCTION wipe_rw() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('transaction_read_only', 'off', false); DELETE FROM canary; RETURN 1; END $$;
CREATE PROCEDURE wipe_commit() LANGUAGE plpgsql AS $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; DELETE FROM canary; COMMIT; END $$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO reader; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO reader;`

func TestPostgres(t *testing.T) {
	server := testkit.StartPostgres(t)
	server.SQL(t, "postgres", "CREATE DATABASE shop")
	server.SQL(t, "shop", postgresSchema)
	cfg := Config{Driver: "postgres", DSN: server.DSN("reader", "shop")}
	t.Run("tools", func(t *testing.T) { testPostgresTools(t, open(t, cfg)) })
	t.Run("values", func(t *testing.T) { testPostgresValues(t, open(t, cfg)) })
	t.Run("roles", func(t *testing.T) { testPostgresRoles(t, server) })
	t.Run("escapes", func(t *testing.T) { testPostgresEscapes(t, server, cfg) })
	t.Run("bounds", func(t *testing.T) { testPostgresBounds(t, server, cfg) })
	t.Run("writes", func(t *testing.T) { testPostgresWrites(t, server, cfg) })
}

func testPostgresTools(t *testing.T, d *DB) {
	text, _, err := call(t, d, "list_tables", obj{})
	if err != nil {
		t.Fatal(err)
	}
	wantParts(t, "list_tables", text, "schema | name | kind | comment\n", "public | customers | table | who buys\n", "public | big | view | NULL\n", "(4 rows)")
	text, _, err = call(t, d, "describe_table", obj{"table": "public.orders"})
	if want := "table public.orders\n  id bigint primary key\n  customer integer not null\n  total numeric(20,2) -- in francs\nforeign key (customer) references public.customers (id)\nindex orders_customer (customer, total)"; err != nil || text != want {
		t.Errorf("describe_table (%v):\n%s\nwant\n%s", err, text, want)
	}
	text, _, _ = call(t, d, "describe_table", obj{"table": "nope"})
	wantParts(t, "no table", text, `there is no table "nope". There are: big, canary, customers, orders`)
	text, _, _ = call(t, d, "describe_table", obj{"table": "orders", "schema": "orders"})
	wantParts(t, "no schema", text, `there is no table "orders" in a schema "orders" (leave schema empty to look in all). There are: big, canary, customers, orders`)
	if _, _, err = call(t, d, "describe_table", obj{"table": "orders", "schema": ""}); err != nil {
		t.Errorf("an empty schema: %v", err)
	}
	if got := query(t, d, "SELECT id, total FROM orders WHERE customer = $1 AND id > $2::int ORDER BY id", 1, "1"); got != "id | total\n2 | NULL\n9007199254740993 | 12345678901234567.89\n(2 rows)" {
		t.Error(got)
	}
	wantParts(t, "position", refused(t, d, "query", "SELECT nme FROM customers"), `column "nme" does not exist. Hint: Perhaps you meant to reference the column "customers.name".`, "(at character 8)", "42703")
	wantParts(t, "bad value", refused(t, d, "query", "SELECT * FROM customers WHERE id = $1", "x' OR 1=1--"), "invalid input syntax for type integer")
	wantParts(t, "parameters", refused(t, d, "query", "SELECT $1::int"), "supplies 0 parameters, but the statement requires 1")
	wantParts(t, "two", refused(t, d, "query", "SELECT 1; SELECT 2"), "multiple commands")
	wantParts(t, "copy", refused(t, d, "query", "COPY canary TO STDOUT"), "begins with COPY")
	if _, err := d.SQL(context.Background(), "COPY canary TO STDOUT", nil, false); err == nil || !strings.Contains(err.Error(), "COPY is not possible") {
		t.Errorf("COPY: %v", err)
	}
	if got := query(t, d, "EXPLAIN (COSTS OFF) SELECT 1"); got != "QUERY PLAN\nResult\n(1 row)" {
		t.Error(got)
	}
}

func testPostgresValues(t *testing.T, d *DB) {
	for sql, want := range map[string]string{
		"true": "true", "1::int2": "1", "9007199254740992": "9007199254740992", "9007199254740993": `"9007199254740993"`,
		"1.10::numeric": `"1.10"`, "'NaN'::numeric": `"NaN"`, "0.1::float4": "0.1", "1e300::float8": "1e+300", "'-Infinity'::float8": `"-Inf"`,
		`'\x00ff'::bytea`: `"AP8="`, "NULL::text": "null", `E'a\nb'`: `"a\nb"`, `'{"a": [1, 1.10]}'::jsonb`: `{"a":[1,1.10]}`, `'{"b":  1}'::json`: `{"b":1}`,
		"'2026-01-02 03:04:05.6+02'::timestamptz AT TIME ZONE 'UTC'": `"2026-01-02T01:04:05.6"`, "'2026-01-02'::date": `"2026-01-02"`, "'infinity'::timestamptz": `"infinity"`,
		"timestamptz '2026-01-02 03:04:05Z'": `"2026-01-02T03:04:05Z"`, "interval '1 day 2 hours'": `"P1DT2H"`, "'0044-03-15 BC'::timestamp": `"0044-03-15 00:00:00 BC"`,
		"ARRAY[1,NULL,3]": "[1,null,3]", `ARRAY['a"b','c,d','NULL','{x}']`: `["a\"b","c,d","NULL","{x}"]`, "ARRAY[[1,2],[3,4]]": "[[1,2],[3,4]]", "'{}'::int[]": "[]",
		"ARRAY[true,false]": "[true,false]", "'[0:1]={5,6}'::int[]": `"[0:1]={5,6}"`, "'00000000-0000-0000-0000-000000000001'::uuid": `"00000000-0000-0000-0000-000000000001"`,
		"'10.0.0.1/8'::inet": `"10.0.0.1/8"`, "int4range(1,3)": `"[1,3)"`, "ROW(1,'x')": `"(1,x)"`, "'<&>'": `"<&>"`,
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

func testPostgresRoles(t *testing.T, server *testkit.Postgres) {
	for role, why := range map[string]string{
		"boss": "is a superuser", "files": "is a member of pg_read_server_files", "hidden": "is a member of pg_execute_server_program",
		"maker": "may create roles", "importer": "may call lo_import",
	} {
		for _, write := range []bool{false, true} {
			d := open(t, Config{Driver: "postgres", DSN: server.DSN(role, "shop"), Write: write})
			if err := d.Check(context.Background()); !errors.Is(err, ErrRole) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "GRANT SELECT") {
				t.Errorf("%s: %v", role, err)
			}
		}
	}
}

func testPostgresEscapes(t *testing.T, server *testkit.Postgres, cfg Config) {
	before := server.Dump(t)
	d := open(t, cfg)
	for _, text := range enough(t, postgresAttempts()) {
		_, _, _ = call(t, d, "query", obj{"sql": text})
		// The rules behind the first words hold by themselves.
		_, _ = d.SQL(context.Background(), text, nil, false)
	}
	if after := server.Dump(t); after != before {
		t.Errorf("the dump is not what it was:\n%s", after)
	}
	if locks := strings.TrimSpace(server.SQL(t, "shop", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")); locks != "0" {
		t.Errorf("%s locks are left", locks)
	}
	if got := query(t, d, "SELECT v, current_setting('default_transaction_read_only') AS ro, current_user AS me FROM canary"); got != "v | ro | me\nuntouched | on | reader\n(1 row)" {
		t.Error(got)
	}
}

// active is how many statements of reader run at the server.
func active(t *testing.T, server *testkit.Postgres) string {
	return strings.TrimSpace(server.SQL(t, "shop", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader' AND state <> 'idle'"))
}

func testPostgresBounds(t *testing.T, server *testkit.Postgres, cfg Config) {
	cfg.MaxRows, cfg.MaxBytes, cfg.Timeout, cfg.LockTimeout, cfg.Connections = 3, 4096, 5*time.Second, 50*time.Millisecond, 2
	d := open(t, cfg)
	wantParts(t, "rows", query(t, d, "SELECT generate_series(1, 7) AS i"), "i\n1\n2\n3\n(cut: only the first 3 of 7 rows")
	wantParts(t, "many", query(t, d, "SELECT generate_series(1, 100000000) AS i"), "first 3 of more than 10")
	wantParts(t, "value", query(t, d, "SELECT repeat('a', 1000000) AS v"), "…[cut: 1024 of 1000000 bytes shown]")
	wantParts(t, "large row", refused(t, d, "query", "SELECT repeat('a', 100000000) AS v"), "a row is larger than 16777216 bytes")
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() {
		_, err := d.Run(ctx, &router.Call{Tool: "query", Arguments: []byte(`{"sql":"SELECT pg_sleep(60)"}`)})
		gone <- err
	}()
	for active(t, server) == "0" {
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who is gone: %v", err)
	}
	for end := time.Now().Add(10 * cleanUp); active(t, server) != "0"; {
		if time.Now().After(end) {
			t.Fatal("the statement still runs")
		}
	}
	cfg.Timeout = 200 * time.Millisecond
	slow := open(t, cfg)
	wantParts(t, "time", refused(t, slow, "query", "SELECT pg_sleep(60)"), "stop", "make it cheaper")
	// The server ends all connections; the next call makes another.
	server.SQL(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'")
	if got := query(t, d, "SELECT 1 AS one"); got != "one\n1\n(1 row)" {
		t.Error(got)
	}
}

func testPostgresWrites(t *testing.T, server *testkit.Postgres, cfg Config) {
	cfg.Write = true
	d := open(t, cfg)
	text, _, err := call(t, d, "execute", obj{"sql": "INSERT INTO customers VALUES ($1, $2)", "params": []any{3, "Robert'); DROP TABLE customers;--"}})
	if err != nil || text != "(1 row changed)" {
		t.Fatalf("%q, %v", text, err)
	}
	text, _, err = call(t, d, "execute", obj{"sql": "UPDATE customers SET city = 'Basel' WHERE id > 1 RETURNING id"})
	if err != nil || !strings.HasPrefix(text, "id\n") || !strings.HasSuffix(text, "(2 rows)") {
		t.Errorf("%q, %v", text, err)
	}
	wantParts(t, "constraint", refused(t, d, "execute", "INSERT INTO orders VALUES (5, 77, 1)"), "violates foreign key constraint")
	for _, sql := range []string{"COMMIT", "COPY canary TO PROGRAM 'true'", "INSERT INTO canary VALUES (1); DELETE FROM canary"} {
		refused(t, d, "execute", sql)
	}
	// query stays read-only beside execute.
	wantParts(t, "query", refused(t, d, "query", "WITH x AS (DELETE FROM canary RETURNING 1) SELECT * FROM x"), "read-only transaction")
	if got := query(t, d, "SELECT name, city FROM customers WHERE id = 3"); got != "name | city\nRobert'); DROP TABLE customers;-- | Basel\n(1 row)" {
		t.Error(got)
	}
}
