// Package loadgen sends streaming chat requests to any server that speaks
// OpenAI's API and records, for every request, when each piece of the answer
// arrived.
//
// It owns the scenarios (who sends what, how many at once), the prompts (made
// anew for each seed, so that no server has seen them), the closed-loop clients
// that send the next request when the last one has ended, the conversations that
// send back what the server answered, the raw samples, and what they come to:
// percentiles, whole documents, what was computed of a conversation's prompts. It does not start servers, compare them or judge a
// result: internal/benchsuite does.
//
// All functions are safe for concurrent use. One [Run] uses one goroutine for
// each client and returns when all of them have ended; cancelling its context
// ends every request in flight.
package loadgen
