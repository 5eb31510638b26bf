// Package subject runs the server that an evaluation is about, and asks it: it
// starts a program that serves the OpenAI API on a free port, waits until it
// answers, sends it requests, and ends it. Pages that the evaluation asks about it serves
// itself ([ServePages]).
//
// A program ends with the thread that started it, so whoever calls [Start] locks
// its goroutine to the thread for as long as the server is to live. A [Server] may
// be asked from any number of goroutines.
package subject
