// Package openapi is a connector for an HTTP service that describes itself in an
// OpenAPI document (3.0 or 3.1): its operations become tools.
//
// A document is read whole, with the files beside it that it refers to, and
// turned into a set of operations that does not change: what to send for which
// argument, and the JSON Schema of the arguments. Nothing is ever fetched because
// a document refers to it over the network. A document that cannot be used leaves
// the set as it was.
//
// What goes out goes to the host that the operator configured and to no other;
// credentials are read where they are referred to, are sent to that host only,
// and are taken out of whatever comes back.
//
// # Concurrency
//
// A Connector is safe for concurrent use. Calls take the set of operations that
// is there when they begin. One goroutine loads the document again, if it has
// anything to load.
package openapi
