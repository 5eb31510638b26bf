package sqldb

var postgresCatalog = catalog{
	tables: `SELECT n.nspname AS schema, c.relname AS name, ` + postgresKind + ` AS kind,
 CASE WHEN c.reltuples < 0 OR c.relkind = 'v' THEN NULL ELSE c.reltuples::bigint END AS rows_about,
 pg_catalog.obj_description(c.oid, 'pg_class') AS comment
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE ` + postgresVisible + `
 AND ($1::text IS NULL OR n.nspname = $1) AND ($2::text IS NULL OR strpos(lower(c.relname), lower($2)) > 0)
ORDER BY 1, 2`,
	find: `SELECT n.nspname, c.relname, ` + postgresKind + `, pg_catalog.obj_description(c.oid, 'pg_class')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE ` + postgresVisible + ` AND ($1::text IS NULL OR n.nspname = $1) AND lower(c.relname) = lower($2)
ORDER BY c.relname = $2 DESC, pg_catalog.pg_table_is_visible(c.oid) DESC, 1 LIMIT 1`,
	columns: `SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 0 ELSE 1 END,
 pg_catalog.pg_get_expr(d.adbin, d.adrelid), CASE WHEN k.conkey IS NULL THEN 0 ELSE 1 END,
 pg_catalog.col_description(c.oid, a.attnum)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p' AND a.attnum = ANY (k.conkey)
WHERE n.nspname = $1 AND c.relname = $2 ORDER BY a.attnum`,
	foreign: `SELECT
 (SELECT string_agg(a.attname, ', ' ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u(att, n) JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.att),
 fn.nspname || '.' || f.relname,
 (SELECT string_agg(a.attname, ', ' ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY u(att, n) JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.att)
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class f ON f.oid = k.confrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND n.nspname = $1 AND c.relname = $2 ORDER BY k.conname`,
	indexes: `SELECT i.relname, CASE WHEN x.indisunique THEN 1 ELSE 0 END,
 (SELECT string_agg(pg_catalog.pg_get_indexdef(x.indexrelid, p, true), ', ' ORDER BY p) FROM generate_series(1, x.indnkeyatts) p)
FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND NOT x.indisprimary ORDER BY 1`,
}

const (
	postgresKind = `CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'table' END`

	postgresVisible = `c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
 AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')`

	// A parameter of MySQL has no number; these take each of theirs twice.
	mysqlSchemas = `(CASE WHEN ? IS NULL THEN TABLE_SCHEMA = coalesce(DATABASE(), TABLE_SCHEMA) ELSE TABLE_SCHEMA = ? END)
 AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')`

	mysqlKind = `CASE TABLE_TYPE WHEN 'BASE TABLE' THEN 'table' WHEN 'VIEW' THEN 'view' ELSE lower(TABLE_TYPE) END`
)

var mysqlCatalog = catalog{
	repeats: 2,
	tables: `SELECT TABLE_SCHEMA AS ` + "`schema`" + `, TABLE_NAME AS name, ` + mysqlKind + ` AS kind, TABLE_ROWS AS rows_about,
 CASE WHEN TABLE_TYPE = 'VIEW' THEN '' ELSE TABLE_COMMENT END AS comment
FROM information_schema.TABLES WHERE ` + mysqlSchemas + ` AND (? IS NULL OR locate(lower(?), lower(TABLE_NAME)) > 0)
ORDER BY 1, 2`,
	find: `SELECT TABLE_SCHEMA, TABLE_NAME, ` + mysqlKind + `, CASE WHEN TABLE_TYPE = 'VIEW' THEN '' ELSE TABLE_COMMENT END
FROM information_schema.TABLES WHERE ` + mysqlSchemas + ` AND lower(TABLE_NAME) = lower(?)
ORDER BY BINARY TABLE_NAME = ? DESC, 1 LIMIT 1`,
	columns: `SELECT COLUMN_NAME, COLUMN_TYPE, CASE IS_NULLABLE WHEN 'YES' THEN 1 ELSE 0 END, nullif(COLUMN_DEFAULT, 'NULL'),
 CASE COLUMN_KEY WHEN 'PRI' THEN 1 ELSE 0 END, COLUMN_COMMENT
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION`,
	foreign: `SELECT group_concat(COLUMN_NAME ORDER BY ORDINAL_POSITION SEPARATOR ', '),
 concat(REFERENCED_TABLE_SCHEMA, '.', REFERENCED_TABLE_NAME),
 group_concat(REFERENCED_COLUMN_NAME ORDER BY ORDINAL_POSITION SEPARATOR ', ')
FROM information_schema.KEY_COLUMN_USAGE
WHERE REFERENCED_TABLE_NAME IS NOT NULL AND TABLE_SCHEMA = ? AND TABLE_NAME = ?
GROUP BY CONSTRAINT_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME ORDER BY CONSTRAINT_NAME`,
	indexes: `SELECT INDEX_NAME, CASE min(NON_UNIQUE) WHEN 0 THEN 1 ELSE 0 END, group_concat(COLUMN_NAME ORDER BY SEQ_IN_INDEX SEPARATOR ', ')
FROM information_schema.STATISTICS WHERE INDEX_NAME <> 'PRIMARY' AND TABLE_SCHEMA = ? AND TABLE_NAME = ?
GROUP BY INDEX_NAME ORDER BY INDEX_NAME`,
}

var sqliteCatalog = catalog{
	tables: `SELECT '' AS schema, name, CASE type WHEN 'virtual' THEN 'table' ELSE type END AS kind, NULL AS rows_about, '' AS comment
FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'view', 'virtual') AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
 AND (?1 IS NULL OR ?1 = 'main') AND (?2 IS NULL OR instr(lower(name), lower(?2)) > 0) ORDER BY name`,
	find: `SELECT '' AS schema, name, CASE type WHEN 'virtual' THEN 'table' ELSE type END, '' FROM pragma_table_list
WHERE schema = 'main' AND (?1 IS NULL OR ?1 = 'main') AND lower(name) = lower(?2) ORDER BY name = ?2 DESC LIMIT 1`,
	columns: `SELECT name, lower(type), NOT "notnull" AND pk = 0, dflt_value, pk > 0, '' FROM pragma_table_xinfo(?2) WHERE ?1 = '' AND hidden <> 1 ORDER BY cid`,
	foreign: `SELECT group_concat("from", ', '), "table", coalesce(group_concat("to", ', '), 'its primary key') FROM pragma_foreign_key_list(?2) WHERE ?1 = '' GROUP BY id, "table" ORDER BY id`,
	indexes: `SELECT l.name, l."unique", (SELECT group_concat(coalesce(name, '(expression)'), ', ') FROM pragma_index_info(l.name))
FROM pragma_index_list(?2) l WHERE ?1 = '' AND l.origin <> 'pk' ORDER BY l.name`,
}
