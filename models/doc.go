// Package models knows model files: it reads the header of a GGUF file (its
// metadata and the list of its tensors) in plain Go, checks that what the
// header promises lies inside the file, and answers what a person asks about a
// model before it is loaded.
//
// It owns no loaded model and never reads tensor data. A file is untrusted
// input: counts, lengths and offsets are bounded before anything is allocated,
// and a file that crosses a bound is an error that wraps [ErrFormat], or
// [ErrTruncated] where the file ends too early. What llama.cpp answers to such
// files with an abort is refused here, before C sees them.
//
// Concurrency: functions are safe for concurrent use; a [Header] does not
// change after it was read.
package models
