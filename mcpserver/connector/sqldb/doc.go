// Package sqldb offers one SQL database as tools: list_tables, describe_table,
// query, and execute where the operator allows writing. It speaks to SQLite
// (modernc.org/sqlite, in the process), PostgreSQL (pgx) and MySQL or MariaDB.
//
// # What keeps a query from changing anything
//
// No single rule is trusted alone. A statement for query passes all of these:
//
//   - it begins with a word that reads (statement.go), which is what most
//     mistakes fail at, with words a model can act on;
//   - it goes to the server by the protocol that takes one statement and its
//     parameters apart: PostgreSQL's extended protocol, MySQL's prepared
//     statements, one sqlite3_prepare whose tail must be empty;
//   - it runs in a read-only transaction that has taken its snapshot and is never
//     committed, on a session that is read-only by default; SQLite's file is open
//     for reading only, under an authorizer that knows no writing action;
//   - the account may not be one whose rights reach around a transaction: a
//     superuser, one that reads or writes the server's files, one that runs
//     programs there. Such an account is refused when a connection is made, also
//     where writing is allowed (postgres_role.go, mysql_role.go);
//   - nothing of a session survives a call: locks, settings, prepared
//     statements and temporary tables are discarded, or the connection is.
//
// Time is bounded by the caller's context, by the server's own statement and
// lock timeouts, and a caller who is gone has the statement cancelled at the
// server. Rows, bytes and the size of one value are bounded, and what was cut is
// said in the result.
//
// What a database says about a statement reaches the model as a
// *router.ToolError. What it says about a connection is the connector's failure
// and stays with the operator.
//
// # Concurrency
//
// A DB is safe for concurrent use. Connections are made when a call needs one,
// kept for the next, and made anew when they broke.
package sqldb
