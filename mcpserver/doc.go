// Package mcpserver is the Model Context Protocol endpoint: it offers the local
// models to MCP clients as tools (ask, chat, count_tokens, embed, generate, list_models, rerank) and
// as resources (models://, models://{id}), and behind them the tools, resources and
// prompts of the router's connectors, over streamable HTTP and over stdio.
//
// mcp-go speaks the protocol: versions, methods, the forms of messages, in the
// revisions 2024-11-05 to 2025-11-25, which have sessions, and in 2026-07-28,
// which has none. This package owns what stands around it:
//
//   - the strict decoder (decode.go): one document, bounded, no key twice or in
//     another case, so what was checked is what mcp-go reads;
//   - calls of tools (direct.go): a plain one goes to its tool by itself, and mcp-go
//     has no part in it but for knowing the tools;
//   - sessions (session.go): random, bound to the caller that opened them, gone
//     for good once ended;
//   - delivery (call.go, reply.go, stdio.go): a call writes its own progress, on
//     its own goroutine, straight to its own client, and mcp-go's answer after
//     it. mcp-go's channel of 100 notifications, which drops what it cannot
//     hold, and its forwarding goroutine, which may hold the last notification
//     when the result is written, have no part in it;
//   - changes (changes.go, outlet.go): what connectors offer anew reaches each client
//     once, on the stream of its session, of subscriptions/listen or of stdio;
//   - what connectors ask of the client (peer.go, attend.go): requests in the stream
//     of the call, or, in 2026-07-28, results that the client answers with the
//     request made again, while the work waits;
//   - cancellation: notifications/cancelled reaches the calls of its own session
//     or stdio connection only; without a session the client closes the stream;
//   - what the models can do as tools (tool.go, schema.go): a connector of the router
//     (Router.AddOwn), through which all calls go (routed.go);
//   - errors (errors.go): what a tool cannot do is a result with isError, what
//     the protocol cannot do is a JSON-RPC error with the code that
//     inference.Classify gives.
//
// It sees the models only through inference.Models. It does not listen, does not
// authenticate (the caller is inference.CallerFrom the request's context) and
// does not look at the Host header: the HTTP server does all three.
//
// # A call by hand
//
// A single request needs no session and no handshake:
//
//	curl -s http://127.0.0.1:8080/mcp -H 'Content-Type: application/json' -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"chat","arguments":{"prompt":"Why is the sky blue?","max_tokens":64}}}'
//
// In the form of protocol 2026-07-28 three headers and two members of _meta are
// required; with a progressToken beside them, and curl -N, the text streams:
//
//	curl -s http://127.0.0.1:8080/mcp -H 'Content-Type: application/json' -H 'Mcp-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/call' -H 'Mcp-Name: chat' -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"chat","arguments":{"prompt":"Why is the sky blue?"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}'
//
// # Concurrency
//
// A Server is safe for concurrent use and holds no goroutine of its own, but for
// the work of connectors that waits for its client, and the moments in which
// subscriptions of one that left are ended. Close ends both. A call
// belongs to the goroutine that serves its message; what calls share (sessions,
// the set of running calls, the output of a stdio connection) is guarded by a
// mutex that is never held while the model works, except for the write of one
// line to a stdio client.
package mcpserver
