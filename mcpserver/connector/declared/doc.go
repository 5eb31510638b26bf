// Package declared makes tools of what the operator writes into the
// configuration: a name, a description, a JSON Schema, what a call does, and one
// body that does it. A body is an SQL statement, an HTTP request or a program.
//
// Arguments never become part of a language. In a statement they are parameters
// of the database's protocol; in a URL they are escaped for the place where they
// stand, and cannot leave it; in a body of JSON they are values; for a program
// they are whole elements of its argument vector, with no shell anywhere. What
// cannot be bound in that way is refused: when the configuration is read, where
// it shows there, else when the tool is called.
//
// The databases are those of other connectors, which this package sees only as a
// [Database]. HTTP goes through internal/netguard: to the host that stands in the
// configuration, and to no other.
//
// # Concurrency
//
// A Tools is safe for concurrent use. A program runs in a process group of its
// own, which ends as a whole with the call.
package declared
