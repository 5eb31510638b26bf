// Package enginetest is a model for tests: a [Backend] that satisfies
// engine.Backend without a model file. Its vocabulary is the 256 bytes, one
// end-of-generation token and a few control tokens; its next token is a function
// of all the tokens that a sequence really holds, so that a wrong position, a
// wrong copy or a foreign prefix changes the answer.
//
// It checks every rule that a real backend would enforce by ending the process
// (contiguous positions, sequence ids, batch and cache size, rows that were
// asked for, samplers closed once) and panics with a sentence that says which
// was broken. It records a trace of what it was asked to do.
//
// Concurrency: as engine.Backend demands, one goroutine calls it, except
// NewSampler, Piece and EndOfGeneration; it panics when two are in it at a time.
// The methods that tests use to look (Calls, OpenSamplers, Held, Free) may be
// called from any goroutine.
package enginetest
