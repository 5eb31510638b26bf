// Package jsonschema compiles JSON Schemas and checks JSON text against them where
// both may come from strangers: the arguments that a model or a client writes, the
// definitions of tools and the results of other servers.
//
// It is the library santhosh-tekuri/jsonschema, held to bounds. A check never loads
// anything, does not panic, and ends soon: before a document is checked, the
// steps that the check can take are counted, and beyond [MaxSteps] it is refused. That
// is needed since a schema of a few lines can make a check take for ever: each
// definition that refers twice to the next one doubles the work.
//
// A [Schema] is safe for concurrent use.
package jsonschema
