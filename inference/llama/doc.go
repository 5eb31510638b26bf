// Package llama is the fence around llama.cpp: the only package of this tree
// that calls C. It owns every C handle (models, contexts, samplers, templates,
// parsers), loads the backends, and turns every failure of C and C++ into a Go
// error. Its C side is shim.h and shim_*.cpp beside this file, built by
// build/CMakeLists.txt together with llama.cpp itself.
//
// What llama.cpp answers with an abort of the process is refused here before it
// gets there: batches that break a rule, positions and ids out of range, texts,
// schemas and grammars that are too large or too deep, samplers used twice in a
// step. It does not schedule, does not know requests, and hands out no logits
// and no C types: tokens, and probabilities where they were asked for.
//
// # Handles
//
// Model, Context, Sampler, Templates, Parser and Adapter are each closed exactly
// once; a second Close returns [ErrClosed]. A model refuses to close with
// [ErrInUse] while something made from it is open, and adapters are loaded and
// closed while no context is. [LiveHandles] counts what is open.
//
// # Concurrency
//
// A Model and its Templates are safe for concurrent use. A Context belongs to
// one goroutine, except NewSampler, Piece,
// EndOfGeneration, Traits and Abort, which any goroutine may call. A sampler
// belongs to the goroutine of the Context that samples with it. A Parser belongs
// to one goroutine.
package llama
