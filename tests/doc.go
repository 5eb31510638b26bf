// Package tests holds the end-to-end tests: they start the built programs,
// build/out/bin/hearth and the yardsticks beside it, and talk to them as clients
// do. The Go tests here compare Hearth with llama-server token by token, hang up
// on it a thousand times, drain it, offload layers to other processes, and knock
// with foreign names; the Python files are the official OpenAI and MCP clients at
// work (make test-python).
//
// The package has no code of its own but that of its tests. Every test owns the
// processes that it starts and ends them; tests run one after another, because
// each wants the cores for itself.
package tests
