package testkit

import (
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// NPM returns the programs that make npm fetched: node, a Node.js that runs all
// of them, and the folder of the packages, node_modules.
func NPM(t testing.TB) (node, modules string) {
	t.Helper()
	dir := fetched(t, "npm")
	return existing(t, "Node.js", filepath.Join(dir, "bin", "node")), filepath.Join(dir, "node_modules")
}

// Python returns the python of the environment that make venv made.
func Python(t testing.TB) string {
	t.Helper()
	return fetched(t, "venv")
}

// SearXNG returns the python of the environment that make searxng made, in which
// "-m searx.webapp" is an instance.
func SearXNG(t testing.TB) string {
	t.Helper()
	return fetched(t, "searxng")
}

var fetches sync.Map // of *fetch, by command

type fetch struct {
	once sync.Once
	out  []byte
	err  error
}

// fetched asks third_party/fetch for what it has in the cache, once a process.
func fetched(t testing.TB, command string) string {
	t.Helper()
	known, _ := fetches.LoadOrStore(command, new(fetch))
	f := known.(*fetch)
	f.once.Do(func() {
		cmd := exec.Command("go", "run", "./third_party/fetch", command)
		cmd.Dir = Root(t)
		f.out, f.err = cmd.Output()
	})
	if f.err != nil {
		t.Fatalf("make %s: %v", command, f.err)
	}
	return strings.TrimSpace(string(f.out))
}

// Chroma returns the folder of a module for Python, chromadb_rust_bindings, that
// holds the Chroma server: a vector store with an OpenAPI document of its own.
func Chroma(t testing.TB) string {
	t.Helper()
	return fetched(t, "chroma")
}
