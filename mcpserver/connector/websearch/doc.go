// Package websearch is the connector that searches the web: one tool, search, over
// the published HTTP interface of Brave Search, Tavily or a SearXNG instance.
//
// A provider (brave.go, tavily.go, searxng.go) knows how a request of its service
// looks and how its answers are read; all else is shared: arguments, bounds,
// errors, the form of results. What can be asked for is what all three can do.
//
// The key of a service is read anew for each search, goes into one header, and is
// found in nothing that leaves this package: no error spells out a request, and an
// answer that holds the key has it blotted out before it is read.
//
// Results are untrusted: titles and snippets are written by those who want to be
// found.
//
// Concurrency: a Connector is safe for concurrent use.
package websearch
