// Package engine is the scheduler above one loaded model: continuous batching,
// prefill in chunks, prefix sharing, admission by reserved cells, priorities,
// deadlines, cancellation and drain.
//
// It owns the queue, the sequence ids, the ledger of KV cells, the index of
// prefixes, the samplers handed in by the backend, and the text of the answers
// (UTF-8 borders, stop strings). It does not own the model or its context: a
// [Backend] is handed in and outlives the engine. It knows nothing of messages,
// templates or tools: a [Request] is tokens in, events out.
//
// # Concurrency
//
// One goroutine owns the backend's context and
// everything in type loop; nothing in there needs a lock. [Engine.Submit],
// [Engine.Stats], [Engine.Drain], [Engine.Close], [Engine.Probe] and
// [Stream.Close] may be called from any goroutine: they leave letters in a
// mailbox, which the loop empties before every step, and wake it. A [Stream]
// is read by one goroutine; the loop writes to its buffer and never waits for
// the reader. Samplers are made on the goroutine of Submit and belong to the
// loop from then on. An [Observer] is called by the loop and must be quick.
//
// # A step
//
// The loop takes its letters, admits from the queue, gives followers the
// prefix they wait for, plans one batch (a row of every sequence that decodes,
// then chunks of prompts), has it decoded and all rows sampled, and hands out
// the tokens. It sleeps when there is nothing to compute.
//
// Where every sequence decodes and the next batch is certain to be the tokens of
// this one, the backend begins with it by itself, and the tokens are handed out
// meanwhile (ahead.go). Until that batch is done too, the loop leaves mailbox and
// memory alone; a letter in the mailbox keeps further batches from going ahead.
//
// While some decode, prompts of some length are computed between the steps, in slices
// of time, where the backend can (aside.go).
//
// While few sequences run, tokens that followed the same words earlier in the
// text are guessed, and computed in the same step (lookup.go). So is what a grammar
// leaves no choice about, however many run, or it is appended without a draw
// (forced.go).
//
// Where the backend can lay out the cells in two ways, the loop moves them to the
// one that is quicker for those who are served (layout.go).
//
// # Invariants
//
//   - Cells held by running requests, plus cells promised to them, never exceed
//     the cache. A request is admitted only when its promise fits, so a full
//     cache fails nobody. What is kept of finished requests is dropped whenever
//     a promise needs its cells.
//   - Only a request without MaxTokens can be preempted, because only its
//     promise grows while it runs (or, where the backend has less room than the
//     ledger says, or a prefix that was to be shared has left a sliding window,
//     the youngest of all rather than failing it). It resumes with
//     what the store of prefixes has of it and recomputes the rest; its client sees
//     a pause.
//   - A shared cell has the same token at the same position for all who hold it.
//     Cells are moved only all together, when their layout changes (layout.go).
//     The last token of a prompt is always computed.
//   - What is computed aside joins its sequences when all of it is there; before that
//     the books know nothing of it.
//   - A prefix is found only by requests of the tenant that computed it, and that
//     compute with the same adapters: in the cache, and in the store of prefixes
//     that had to leave it (keep.go).
//   - All tokens of a batch are computed with the same adapters. The sets of
//     adapters that requests ask for take turns, so that each goes on after a
//     bounded number of steps (adapter.go).
//   - A request with a seed that runs alone finds the cache empty and loads nothing
//     from the store, so that it gives the same tokens whatever ran before it.
//   - A request waits only for prefixes of requests admitted before it, so
//     waiting has no cycle.
//   - Every stream ends, with usage and io.EOF or with one error, and every
//     sampler is closed exactly once.
package engine
