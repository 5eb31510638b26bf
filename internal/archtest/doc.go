// Package archtest holds the rules of the house as tests: which package may
// import which, where C may be spoken, and that each package says what it is.
// It has no code of its own; ARCHITECTURE.md explains the rules.
package archtest
