// Package inference is the vocabulary that everything in Hearth shares about
// running language models: requests, events, usage, errors and the interfaces
// [Generator], [Tokenizer], [Embedder], [Model] and [Models] that the HTTP
// dialects and the MCP server are written against.
//
// It owns types and the rules that hold for them (ranges, the error table). It
// owns no goroutine, no memory outside Go and no model: those live in
// inference/llama (the cgo fence), inference/engine (the scheduler),
// inference/chat (templates) and inference/residency (which models are loaded).
//
// Concurrency: every value is plain data. A request must not be changed after
// it was handed to a Generator. Implementations of the interfaces are safe for
// concurrent use; a [Stream] belongs to one goroutine, except Close, which any
// goroutine may call at any time.
package inference
