// Command benchsuite compares Hearth with llama-server of the very same
// llama.cpp build, in one run:
//
//	go run ./internal/benchsuite [-rounds N] [-only a,b] [-quick] [-out DIR]
//
// The catalog is a table of entries: a scenario of internal/loadgen, the systems
// that are compared in it, and the goals. In each round every entry is run on each
// of its systems, a freshly started process each time: Hearth, Hearths of other
// configurations where the entry names any, llama-server as it comes, llama-server
// tuned for the entry; the next round takes them in the opposite order. All get
// the same model, threads, total context, number of sequences and, byte for byte
// but for what a server answered itself, the same requests, whose words come from
// a seed that each round has of its own. The load generator is a child process of
// one thread, pinned to the last CPU, for every system alike. llama-batched-bench
// of the same build, at the same lengths, shows what the compute alone would allow.
//
// It writes report.md, report.svg, report.json and, line by line while it runs,
// raw.jsonl with the arrival time of every token. A goal that is missed stays in
// the report and is marked, as is a run that failed; the exit status says only
// whether the report was made.
//
// With -growth N it measures, instead of the catalog, how cost grows with clients,
// cached cells and context, and writes growth.md with plots.
//
// The program owns the processes that it starts and stops every one of them,
// also when it is interrupted; if it is killed, the kernel does. It runs one
// thing at a time.
package main
