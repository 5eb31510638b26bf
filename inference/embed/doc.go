// Package embed answers requests for embeddings: it turns texts
// into tokens, refuses what a model cannot compute, and gathers the inputs of
// concurrent requests into batches.
//
// A [Worker] owns one context that embeds (a [Backend]) beside whatever context
// the same model generates with, so that vectors never wait for a conversation.
// A [Model] puts texts in front of it; for a model that only embeds it is the
// whole model.
//
// It does not compute, knows no HTTP, and keeps no vectors.
//
// # Order
//
// Principals take turns, one input each; the inputs of one principal are
// computed in the order in which they came. A batch takes inputs in that order
// until the next one does not fit; it is not made fuller than Config.Fill
// tokens, because attention is computed over all inputs of a batch and costs
// more with each. The waiting inputs are bounded by Config.Queue, beyond which a
// request is refused with inference.ErrBusy.
//
// # Invariants
//
// Each request ends once: with a vector for each of its inputs, or with one
// error. A request that was cancelled gives up its place in the queue at once,
// and the batch in flight is aborted where nobody waits for any of it. After
// Drain nothing is accepted; after Close the goroutine is gone and the backend
// is not used again.
//
// # Concurrency
//
// Worker and Model are safe for concurrent use. One goroutine of the Worker's
// calls the backend; texts are tokenized on the goroutines of their requests.
package embed
