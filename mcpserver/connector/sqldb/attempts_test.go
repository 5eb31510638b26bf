package sqldb

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// enough returns the attempts in their order, each once. A hundred have to be there.
func enough(t *testing.T, attempts []string) []string {
	t.Helper()
	seen := map[string]bool{}
	all := slices.DeleteFunc(attempts, func(text string) bool {
		was := seen[text]
		seen[text] = true
		return was
	})
	t.Logf("%d attempts", len(all))
	if len(all) < 100 {
		t.Errorf("%d attempts are too few", len(all))
	}
	return all
}

// sqliteAttempts are statements that would change something, or reach outside.
func sqliteAttempts(path string) (out []string) {
	for _, w := range []string{"DROP TABLE canary", "DELETE FROM canary", "UPDATE canary SET v = 'x'", "INSERT INTO canary VALUES ('x')", "CREATE TABLE e (x)", "ATTACH 'evil.db' AS e", "VACUUM INTO 'evil.db'"} {
		out = append(out, w, w+";", "SELECT 1; "+w, "COMMIT; "+w, "/* c */ "+w, "-- c\n"+w, "EXPLAIN "+w, "EXPLAIN QUERY PLAN "+w, "BEGIN; "+w+"; COMMIT", "SELECT 1\x00; "+w, "SELECT '\\'; "+w+" --'", ";"+w, "(SELECT 1);"+w, "\ufeff"+w)
	}
	for _, p := range []string{"writable_schema = 1", "journal_mode = DELETE", "journal_mode(WAL)", "user_version = 7", "user_version(7)", "query_only = 0", "query_only(0)", "trusted_schema = 1", "schema_version = 99", "application_id = 3", "temp_store_directory = '.'", "data_store_directory = '.'", "wal_checkpoint(TRUNCATE)", "incremental_vacuum", "optimize", "encoding = 'UTF-16'", "auto_vacuum = 1", "locking_mode = EXCLUSIVE", "secure_delete = 1", "recursive_triggers = 1", "legacy_file_format = 1", "database_list"} {
		out = append(out, "PRAGMA "+p, "PRAGMA main."+p)
	}
	return append(out,
		"SELECT load_extension('evil')", "SELECT writefile('evil', 'x')", "SELECT readfile('/etc/passwd')", "SELECT edit('x', 'sh')",
		"SELECT fts3_tokenizer('x', x'00')", "CREATE TEMP TABLE x AS SELECT 1", "CREATE TEMP TRIGGER x AFTER INSERT ON canary BEGIN DELETE FROM canary; END",
		"WITH x AS (SELECT 1) DELETE FROM canary", "WITH x AS (SELECT 1) INSERT INTO canary SELECT * FROM x", "WITH x AS (SELECT 1) UPDATE canary SET v = 1",
		"REPLACE INTO canary VALUES (1)", "REINDEX", "ANALYZE", "VACUUM", "DETACH main", "SAVEPOINT x", "RELEASE x", "ROLLBACK", "COMMIT", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE",
		"CREATE VIRTUAL TABLE x USING fts5(y)", "CREATE VIRTUAL TABLE x USING sqlite_dbpage", "UPDATE sqlite_dbpage SET data = x'00'", "DELETE FROM sqlite_schema", "ALTER TABLE canary RENAME TO c2", "ALTER TABLE canary ADD COLUMN x",
		fmt.Sprintf("ATTACH 'file:%s?mode=rw' AS w", path), "SELECT * FROM pragma_query_only(0)", "SELECT * FROM pragma_writable_schema(1)", "SELECT * FROM pragma_user_version(5)", "SELECT * FROM pragma_journal_mode('OFF')",
	)
}

// postgresAttempts are statements that would change something that outlives
// their call.
func postgresAttempts() (out []string) {
	for _, w := range []string{"DROP TABLE canary", "DELETE FROM canary", "UPDATE canary SET v = 'x'", "INSERT INTO canary VALUES ('x')", "TRUNCATE canary", "CREATE TABLE evil (x int)"} {
		out = append(out, w, w+";", "SELECT 1; "+w, "COMMIT; "+w, "COMMIT;"+w+";--", "ROLLBACK; "+w, "/* a /* b */ SELECT */ "+w, "-- SELECT\n"+w, "EXPLAIN ANALYZE "+w,
			"BEGIN; "+w+"; COMMIT", "ABORT; BEGIN READ WRITE; "+w+"; COMMIT", "DO $$ BEGIN "+w+"; END $$", "DO $$ BEGIN COMMIT; "+w+"; COMMIT; END $$",
			"SET TRANSACTION READ WRITE; "+w, "DO $$ BEGIN SET TRANSACTION READ WRITE; "+w+"; END $$", "PREPARE e AS "+w, "EXECUTE e", "SELECT query_to_xml('"+strings.ReplaceAll(w, "'", "''")+"', true, true, '')",
			"SELECT 1 \\; "+w, "\ufeff"+w)
	}
	return append(out,
		"SELECT wipe()", "SELECT wipe_definer()", "SELECT wipe_rw()", "CALL wipe_commit()", "SELECT set_config('transaction_read_only', 'off', true), wipe()",
		"SELECT set_config('default_transaction_read_only', 'off', false)", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "SET TRANSACTION READ WRITE", "SET default_transaction_read_only = off",
		"WITH x AS (DELETE FROM canary RETURNING 1) SELECT * FROM x", "WITH x AS (INSERT INTO canary VALUES (1) RETURNING 1) SELECT * FROM x", "SELECT * INTO evil FROM canary", "CREATE TEMP TABLE evil AS SELECT 1",
		"SELECT nextval('seq')", "SELECT setval('seq', 99)", "SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_lock(2)", "SELECT lo_create(77)", "SELECT lo_from_bytea(78, 'x')", "SELECT lo_import('/etc/passwd')", "SELECT lo_export(1, '/tmp/x')", "SELECT lo_put(lo_create(79), 0, 'x')", "SELECT lo_unlink(1)",
		"COPY canary TO '/tmp/evil'", "COPY canary TO PROGRAM 'touch /tmp/evil'", "COPY canary FROM '/etc/passwd'", "COPY canary FROM STDIN", "COPY (DELETE FROM canary RETURNING *) TO STDOUT",
		"SELECT pg_read_file('/etc/passwd')", "SELECT pg_notify('a', 'b')", "NOTIFY a", "LISTEN a", "LOCK TABLE canary IN ACCESS EXCLUSIVE MODE", "SELECT * FROM canary FOR UPDATE",
		"CREATE EXTENSION dblink", "SELECT dblink_exec('dbname=shop', 'DELETE FROM canary')", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "ALTER TABLE canary ADD x int", "GRANT ALL ON canary TO PUBLIC", "REVOKE ALL ON canary FROM reader", "ALTER ROLE reader SUPERUSER", "ALTER ROLE reader SET search_path = evil", "ALTER ROLE reader PASSWORD 'x'", "SET ROLE postgres", "SET SESSION AUTHORIZATION postgres", "RESET ROLE", "REINDEX TABLE canary", "VACUUM canary", "ANALYZE canary", "CLUSTER", "CHECKPOINT", "REFRESH MATERIALIZED VIEW big", "COMMENT ON TABLE canary IS 'evil'", "SECURITY LABEL ON TABLE canary IS 'x'", "CREATE DATABASE evil", "DROP DATABASE shop", "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", "IMPORT FOREIGN SCHEMA x FROM SERVER y INTO public", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "DEALLOCATE ALL", "DISCARD ALL", "PREPARE TRANSACTION 'x'", "COMMIT PREPARED 'x'", "SAVEPOINT a", "COMMIT AND CHAIN", "LOAD 'auto_explain'", "UNLISTEN *", "SELECT pg_logical_emit_message(false, 'a', 'b')", "SELECT pg_create_logical_replication_slot('a', 'pgoutput')", "SELECT txid_current()", "MERGE INTO canary USING customers ON false WHEN NOT MATCHED THEN INSERT VALUES ('x')",
	)
}

// mariaAttempts are statements that would change something that outlives their
// call.
func mariaAttempts() (out []string) {
	for _, w := range []string{"DROP TABLE canary", "DELETE FROM canary", "UPDATE flat SET v = 2", "INSERT INTO canary VALUES ('x')", "TRUNCATE flat", "CREATE TABLE evil (x int)"} {
		out = append(out, w, w+";", "SELECT 1; "+w, "COMMIT; "+w, "ROLLBACK; "+w, "/*! "+w+" */", "/*!50000 "+w+" */", "/*M! "+w+" */", "SELECT 1 /*! ; "+w+" */", "-- SELECT\n"+w, "# SELECT\n"+w, "EXPLAIN "+w, "ANALYZE "+w,
			"BEGIN NOT ATOMIC "+w+"; END", "BEGIN NOT ATOMIC COMMIT; "+w+"; END", "BEGIN NOT ATOMIC SET SESSION TRANSACTION READ WRITE; COMMIT; "+w+"; COMMIT; END", "/* SELECT */ BEGIN NOT ATOMIC SET SESSION tx_read_only = 0; COMMIT; "+w+"; COMMIT; END",
			"PREPARE e FROM '"+strings.ReplaceAll(w, "'", "''")+"'", "EXECUTE e", "EXECUTE IMMEDIATE '"+strings.ReplaceAll(w, "'", "''")+"'", "SET STATEMENT max_statement_time = 1 FOR "+w, "\ufeff"+w)
	}
	return append(out,
		"SELECT wipe()", "DO wipe()", "CALL wipe()", "SET SESSION TRANSACTION READ WRITE", "SET tx_read_only = 0", "SET autocommit = 0", "START TRANSACTION READ WRITE", "COMMIT", "BEGIN", "XA START 'a'",
		"SELECT * FROM canary INTO OUTFILE '/tmp/evil'", "SELECT * INTO DUMPFILE '/tmp/evil' FROM canary", "SELECT load_file('/etc/passwd')", "LOAD DATA INFILE '/etc/passwd' INTO TABLE canary", "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE canary",
		"SELECT NEXTVAL(seq)", "SELECT SETVAL(seq, 99)", "SELECT NEXT VALUE FOR seq", "SELECT get_lock('evil', 1)", "SELECT @a := 1", "SELECT 1 INTO @a", "LOCK TABLES canary WRITE", "FLUSH TABLES WITH READ LOCK", "SELECT * FROM canary FOR UPDATE",
		"GRANT ALL ON *.* TO reader", "CREATE USER evil", "SET PASSWORD = PASSWORD('x')", "ALTER USER reader IDENTIFIED BY 'x'", "SET GLOBAL general_log = 1", "SET GLOBAL tx_read_only = 1", "INSTALL SONAME 'x'", "CREATE DATABASE evil", "DROP DATABASE shop", "RENAME TABLE canary TO evil", "ALTER TABLE canary ADD x int", "CREATE TEMPORARY TABLE canary (x int)", "CREATE PROCEDURE evil() SELECT 1", "CREATE EVENT evil ON SCHEDULE EVERY 1 DAY DO DELETE FROM canary", "CREATE TRIGGER evil BEFORE INSERT ON canary FOR EACH ROW SET @a = 1", "OPTIMIZE TABLE canary", "ANALYZE TABLE canary", "REPAIR TABLE flat", "HANDLER canary OPEN", "USE mysql", "SHUTDOWN", "RESET MASTER", "KILL 1", "WITH x AS (SELECT 1) DELETE FROM canary", "REPLACE INTO canary VALUES ('x')", "TABLE canary", "DELETE FROM canary RETURNING v",
	)
}
