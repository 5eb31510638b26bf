// Package router is the one way to a tool: MCP clients, the agent and the
// command line all go through Router.Call, which decides, checks, limits,
// records, runs and bounds every call of every connector.
//
// A connector (a database, an HTTP API, a folder, another MCP server) is what
// offers tools. It implements [Connector], and, where it has them,
// [ResourceProvider] and [PromptProvider]. A connector decides nothing about who
// may call it, checks no schema and writes no record: by the time Run is called
// that is done.
//
// Names that clients see are label__tool: the label of the connector and the
// connector's own name of the tool. Lists come in one fixed order, that of the
// configuration and within it the connector's own, so that a prompt that begins
// with a tool list stays cached.
//
// # Concurrency
//
// Connectors are called from many goroutines at once.
package router
