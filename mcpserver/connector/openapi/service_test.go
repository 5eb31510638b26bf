package openapi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"hearth/internal/testkit"
	"hearth/mcpserver/router"
)

// startChroma starts a Chroma server with an empty store and returns its URL.
func startChroma(t *testing.T) string {
	t.Helper()
	var said string
	for range 5 { // another program may take the port first
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if said = runChroma(t, port); said == "" {
			return "http://127.0.0.1:" + port
		}
	}
	t.Fatalf("Chroma does not start:\n%s", said)
	return ""
}

// runChroma starts a server and waits until it listens; where it ends before, it
// returns what the server said.
func runChroma(t *testing.T, port string) (said string) {
	t.Helper()
	program := fmt.Sprintf("import sys; sys.path.insert(0, %q); import chromadb_rust_bindings as c; c.cli(['chroma', 'run', '--path', %q, '--host', '127.0.0.1', '--port', %q])", testkit.Chroma(t), t.TempDir(), port)
	cmd := exec.Command("python3", "-c", program)
	cmd.Env = append(cmd.Environ(), "NO_COLOR=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		_ = cmd.Wait()
	})
	listens := make(chan bool, 1)
	var all strings.Builder
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(out)
		for told := false; lines.Scan(); {
			if !told {
				all.WriteString(lines.Text() + "\n")
			}
			if !told && strings.Contains(lines.Text(), "listening on address") {
				told = true
				listens <- true
			}
		}
		close(listens)
	}()
	if <-listens {
		return ""
	}
	return all.String()
}

// TestARealService drives a server of others by its own document: what is read
// back are values that exist only in this run.
func TestARealService(t *testing.T) {
	url := startChroma(t)
	var log strings.Builder
	cfg := Config{
		Document:  url + "/openapi.json",
		Exclude:   Selection{Tags: []string{"Function"}, Operations: []string{"*fork*"}},
		Overrides: []Override{{Operation: "collection_query", Name: "nearest", Effects: "reads"}, {Operation: "collection_get", Effects: "reads"}},
	}
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	c, err := New(t.Context(), cfg, "vectors", zerolog.New(&log).Level(zerolog.WarnLevel))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	there := make(chan struct{}, 1)
	c.OnChange(func(router.Change) { there <- struct{}{} })
	if len(c.Tools()) == 0 { // the server says that it listens a little before it does
		<-there
	}
	if strings.Contains(log.String(), "not offered") {
		t.Errorf("not all of the document is understood: %s", log.String())
	}
	effects := map[string]router.Effects{}
	for _, tool := range c.Tools() {
		checkTool(t, tool)
		effects[tool.Name] = tool.Effects
	}
	for name, want := range map[string]router.Effects{
		"list_collections": {}, "nearest": {}, "collection_add": {Writes: true}, "create_collection": {Writes: true}, "delete_collection": {Writes: true, Destroys: true},
	} {
		if got, ok := effects[name]; !ok || got != want {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
	for name := range effects {
		if strings.Contains(name, "fork") || strings.Contains(name, "function") {
			t.Errorf("%s is offered", name)
		}
	}

	place := `"tenant":"default_tenant","database":"default_database"`
	call := func(tool, args string, into any) {
		t.Helper()
		r, err := run(t, c, tool, `{`+place+args+`}`)
		if err != nil {
			t.Fatalf("%s: %v", tool, err)
		}
		if into == nil {
			return
		}
		if err := json.Unmarshal(r.Structured, into); err != nil {
			t.Fatalf("%s: %v in %s", tool, err, r.Structured)
		}
	}
	var made struct{ ID string }
	name := fmt.Sprintf("c%d", rand.Uint32())
	call("create_collection", `,"name":"`+name+`"`, &made)
	at := `,"collection_id":"` + made.ID + `"`
	secret := fmt.Sprintf("the answer is %d / ü & ?", rand.Uint64())
	document, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	call("collection_add", at+`,"ids":["one","two"],"embeddings":[[1,0,0],[0,1,0]],"documents":["another",`+string(document)+`],"metadatas":[null,{"kind":"right"}]`, nil)
	var count struct{ Result int }
	if call("collection_count", at, &count); count.Result != 2 {
		t.Errorf("count: %+v", count)
	}
	var found struct{ Documents [][]string }
	call("nearest", at+`,"query_embeddings":[[0.1,0.9,0]],"n_results":1,"include":["documents"]`, &found)
	if len(found.Documents) != 1 || len(found.Documents[0]) != 1 || found.Documents[0][0] != secret {
		t.Errorf("nearest: %+v, want %q", found, secret)
	}
	var got struct{ IDs []string }
	call("collection_get", at+`,"where":{"kind":"right"}`, &got)
	if fmt.Sprint(got.IDs) != "[two]" {
		t.Errorf("get: %+v", got)
	}
	var listed struct{ Result []struct{ Name string } }
	call("list_collections", `,"limit":10`, &listed)
	if len(listed.Result) != 1 || listed.Result[0].Name != name {
		t.Errorf("list: %+v", listed)
	}
	if got := ask(t, c, "get_collection", `{`+place+`,"collection_id":"none such"}`); !strings.HasPrefix(got, "error: the service answered 404 Not Found: ") || !strings.Contains(got, "none such") {
		t.Errorf("a collection that is not there: %q", got)
	}
	if got := ask(t, c, "collection_add", `{`+place+at+`,"ids":["three"],"embeddings":[[1,2]]}`); !strings.HasPrefix(got, "error: the service answered 4") || !strings.Contains(got, "dimension") {
		t.Errorf("a vector of another size: %q", got)
	}
	call("delete_collection", `,"collection_id":"`+name+`"`, nil)
	if call("list_collections", "", &listed); len(listed.Result) != 0 {
		t.Errorf("after the deletion: %+v", listed)
	}
}
