// Command evalagent counts how often a small model finds values with tools (make
// eval-agent): 30 questions on a PostgreSQL database, on web pages and on a folder,
// ten each, whose answers are random values that exist only in the data of that run.
// A seed makes the data; it is printed, and makes the same run again.
//
// Three sides are asked the same questions, greedily, about the same tools, with the
// same bounds on rounds and tokens:
//
//   - Hearth's own loop, asked by tools of type mcp at /v1/chat/completions;
//   - a plain client of llama-server, which sends the tools as functions, runs what
//     comes back in tool_calls, and sends the results as messages of the tools;
//   - the same client, which takes an answer that is nothing but the JSON of a call
//     as the call, too.
//
// The client runs the tools at Hearth's /v1/tools, so that descriptions, limits and
// results are the same. An answer is right if it holds the value, and none that
// another question of that kind asks for. A call is valid if the tool's JSON Schema,
// as /v1/tools shows it, accepts its arguments.
//
// It prints a line when a side is done, tables at the end and, with -v, each
// question; -out names a file for all of it as JSON, which is written anew after each
// answer, so that a run that is cut off leaves what it has. -sides and -questions
// choose who is asked what. One question is asked at a time; it ends the servers that
// it started.
package main
