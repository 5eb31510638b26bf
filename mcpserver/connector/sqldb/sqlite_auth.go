package sqldb

import (
	"strings"

	lib "modernc.org/sqlite/lib"
)

// sqliteForbidden are functions that reach outside of the database or into the
// library.
var sqliteForbidden = map[string]bool{
	"load_extension": true, "readfile": true, "writefile": true, "edit": true, "fts3_tokenizer": true, "sqlite_log": true,
}

// sqliteReads are the pragmas that only tell; each takes the name of a table, an
// index or nothing.
var sqliteReads = map[string]bool{
	"table_info": true, "table_xinfo": true, "table_list": true, "index_list": true, "index_info": true, "index_xinfo": true,
	"foreign_key_list": true, "database_list": false, "collation_list": true, "function_list": true, "compile_options": true,
	"foreign_key_check": true, "integrity_check": true, "quick_check": true,
}

// sqliteShows are pragmas that tell a setting without an argument and change it
// with one.
var sqliteShows = map[string]bool{
	"user_version": true, "application_id": true, "encoding": true, "page_count": true, "page_size": true,
	"journal_mode": true, "foreign_keys": true, "schema_version": true, "freelist_count": true,
	"data_version": true, // full-text search asks for it
}

// allowedAction is the authorizer's rule: what a statement may be compiled to do.
// What is not named is not allowed.
func allowedAction(action int32, arg1, arg2 string, write bool) bool {
	switch action {
	case lib.SQLITE_SELECT, lib.SQLITE_READ, lib.SQLITE_RECURSIVE:
		return true
	case lib.SQLITE_FUNCTION:
		return !sqliteForbidden[strings.ToLower(arg2)]
	case lib.SQLITE_PRAGMA:
		name := strings.ToLower(arg1)
		return sqliteReads[name] || sqliteShows[name] && arg2 == ""
	case lib.SQLITE_INSERT, lib.SQLITE_UPDATE, lib.SQLITE_DELETE,
		lib.SQLITE_CREATE_TABLE, lib.SQLITE_CREATE_INDEX, lib.SQLITE_CREATE_VIEW, lib.SQLITE_CREATE_TRIGGER,
		lib.SQLITE_DROP_TABLE, lib.SQLITE_DROP_INDEX, lib.SQLITE_DROP_VIEW, lib.SQLITE_DROP_TRIGGER,
		lib.SQLITE_ALTER_TABLE, lib.SQLITE_REINDEX, lib.SQLITE_ANALYZE, lib.SQLITE_CREATE_VTABLE, lib.SQLITE_DROP_VTABLE:
		return write
	}
	return false
}
