// Package batch answers the requests of a file, one JSON line each, by a running
// server, and writes an answer line for each, in OpenAI's batch format.
//
// It owns what a line of the input may hold, which answers are asked for again,
// and that the output files are right whenever the process dies. It knows no
// model and no command: what it sends goes through the http.Client that it is
// given. What it does not own is the priority of a request on the server; it
// only marks requests with the service tier "flex".
//
// # What always holds
//
// A line of an output file is written by one call, with its newline at the end,
// and synced before the next group of lines is written. So after the process was
// killed at any moment the files hold whole lines and at most one torn one at
// the end, which [OpenResults] cuts off. A custom_id that stands in one of the
// files is never asked again, and one that does not is: nothing is lost, and
// nothing is there twice. Both files are locked while they are open.
//
// # Memory
//
// The input is read twice, line by line: once to check all of it before anything
// is sent, once to send. What is kept of a line is a digest of its custom_id, so
// the size of the requests and answers does not matter, and their number is
// bounded by [MaxRequests].
//
// # Concurrency
//
// A [Results] belongs to one goroutine. [Run] starts one that reads, as many as
// asked for that send, and writes on its own; all have ended when it returns.
package batch
