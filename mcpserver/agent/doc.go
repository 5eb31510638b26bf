// Package agent is the loop of model and tools: it stands between whoever asks
// and the models, and where a request names tools that the server runs
// (inference.HostedTools), it asks the model, runs what the model calls, tells it
// the results and asks again, until the model answers. All of that is one stream
// of events to whoever asked. Requests without such tools pass untouched.
//
// The flow of one request:
//
//   - lease.go: Chat takes the request and its first answer, or refuses it;
//   - offer.go: which tools the model is told of, in their fixed order;
//     find.go: where they would fill the prompt, two tools to find and call them;
//   - turn.go: the rounds, their limits, and what the model reads next;
//     recast.go: the prompt of the last one;
//   - answer.go: one answer of the model's, cut into text, calls of ours and
//     calls of the client's;
//   - calls.go: the calls of one answer, side by side;
//   - stream.go: the events, from the goroutine that makes them to who reads.
//
// What a tool may do is not decided here: every call goes through [Tools], which
// is the router.
//
// # Concurrency
//
// An Agent is safe for concurrent use. A request with tools has one goroutine,
// and one more for each call that runs; all end with its stream, and Release of
// the lease waits for them.
package agent
