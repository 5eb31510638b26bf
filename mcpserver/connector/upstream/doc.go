// Package upstream is the connector that offers what another MCP server has: its
// tools with their whole schemas, its resources and its prompts.
//
// The server is a program that this one starts and speaks to by its standard
// input and output, or an address that speaks streamable HTTP (with sessions, up
// to protocol 2025-11-25, and without, 2026-07-28) or the older HTTP with
// server-sent events.
//
// It is started by the first call that needs it and stopped when nobody has for a
// while. What it offers is remembered in a file, so that the lists are there at
// once and in one order, whether it runs or not. Definitions are pinned by their
// hashes: a tool whose definition changed is not offered until a person has
// approved it.
//
// # What an upstream can do to others
//
// Nothing: what it sends is bounded in size, in number and in rate; what it asks
// for (a sampling by the local model, values from a person) has limits of its own
// and needs to be configured or to have a call in flight; what it says about
// itself (that a tool only reads) is not believed unless the operator says so.
//
// # Concurrency
//
// An [Upstream] is safe for concurrent use. It owns at most one session at a
// time, which all calls share.
package upstream
