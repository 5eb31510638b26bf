// Package inflight ends what is in flight when its owner closes.
//
// It owns the count of calls and their end; it knows nothing of what they do. A
// [Calls] is safe for concurrent use.
package inflight
