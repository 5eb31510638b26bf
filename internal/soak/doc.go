// Command soak keeps many streams open to one server for a while (make
// soak-streams), and shows that it holds: that its memory peaks no higher later than
// in the beginning, once it is warm, that nobody waits longer than a bound, and how
// much of the processor time goes to anything but computing.
//
// Each of its clients has one answer after the other streamed to it, of 8 to 64
// tokens. Every few seconds the server's resident memory and the processor time of
// each of its threads are read from /proc. The threads that compute are the one
// that the server has named so, and as many others, those with the most time, as it
// was told to compute with besides; what all others take, in the kernel too, is
// that of anything but computing.
//
// One goroutine for each client, and one that reads /proc. It ends the server that
// it started. The report is streams.md in the folder that -out names, with what was
// read beside it in streams.json; the exit status is 1 where a bound was exceeded.
//
// With the argument upstreams it runs one Hearth over 50 MCP servers instead (make
// soak-upstreams), of which 25 hang, crash, flood, answer late or lie, half of each
// kind as programs and half over HTTP; this program is those servers, too (peer.go).
// The good ones are called at a constant rate, and in every other window of time the
// bad ones, too: what these cost the others is the difference between windows that
// lie side by side. Processes, files, goroutines and memory are compared between
// the first and the last window without bad ones. The report is upstreams.md.
package main
