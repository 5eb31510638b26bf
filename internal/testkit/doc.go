// Package testkit finds what tests need and the build leaves: the small model,
// the native libraries, the programs that are compared with. It owns no state and
// is imported by tests only; every function is safe for concurrent use.
//
// What is missing fails a test with the command that makes it, and never skips:
// a test that did not run must not look like one that passed.
package testkit
