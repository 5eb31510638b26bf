// Command hearth serves local language models over HTTP and MCP, and talks to
// them from a terminal.
//
// It owns the commands, the configuration file as a whole, and the wiring:
// app.go is the one place where the parts are put together, and nothing imports
// this package. It computes nothing itself.
//
// Concurrency: a command runs on one goroutine and owns what it makes; serve
// hands the parts to the HTTP server, which calls them from many.
package main
