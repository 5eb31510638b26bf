package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/inference/api/openai"
)

// serveBatch serves m like hearth serve does, and calls before with the prompt
// of each completion before it is answered.
func serveBatch(t *testing.T, m *fakeModel, before func(id string)) *httptest.Server {
	t.Helper()
	api, err := openai.New(openai.Config{Models: fakeModels{m}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	router := chi.NewRouter()
	router.Get("/healthz", newHealth("v").live)
	api.Routes(router)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before != nil && r.Method == http.MethodPost {
			var b bytes.Buffer
			var body struct{ Prompt string }
			if _, err := b.ReadFrom(r.Body); err != nil {
				return // the client is gone
			}
			if err := json.Unmarshal(b.Bytes(), &body); err != nil {
				t.Errorf("the server got %q: %v", &b, err)
			}
			before(body.Prompt)
			r.Body = io.NopCloser(&b)
		}
		router.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv
}

// batchFiles writes n requests and returns the names of input and output; the
// custom_id of a request is its prompt.
func batchFiles(t *testing.T, n int) (in, out string, ids []string) {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	for i := range n {
		ids = append(ids, fmt.Sprintf("request-%03d", i))
		fmt.Fprintf(&b, `{"custom_id":%q,"method":"POST","url":"/v1/completions","body":{"prompt":%q}}`+"\n", ids[i], ids[i])
	}
	in = filepath.Join(dir, "in.jsonl")
	if err := os.WriteFile(in, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return in, filepath.Join(dir, "out.jsonl"), ids
}

// answered returns the ids of the whole lines of an output file, and what stands
// after the last of them.
func answered(t *testing.T, path string) (ids []string, torn string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if !strings.HasSuffix(line, "\n") {
			return ids, line
		}
		var l struct {
			CustomID string `json:"custom_id"`
			Response struct {
				Status int `json:"status_code"`
				Body   struct {
					Choices []struct{ Text string }
				}
			}
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Response.Status != 200 || len(l.Response.Body.Choices) != 1 {
			t.Fatalf("%q: %v", line, err)
		}
		ids = append(ids, l.CustomID)
	}
	return ids, ""
}

// TestBatchSurvivesKill kills the real command with SIGKILL after so many
// requests as chance says, leaves a torn line at the end of its output every
// other time, and runs it again, until it ends: every request has one line, and
// none is asked again that had one.
func TestBatchSurvivesKill(t *testing.T) {
	exe, err := exec.LookPath("hearth") // testscript.Main put it into PATH
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))

	in, out, want := batchFiles(t, 120)
	var mu sync.Mutex
	var process *os.Process
	var held []string // lines of earlier runs
	asked, last := 0, 0
	srv := serveBatch(t, &fakeModel{events: says("an answer")}, func(id string) {
		mu.Lock()
		defer mu.Unlock()
		if slices.Contains(held, id) {
			t.Errorf("%s has a line and is asked again", id)
		}
		if asked++; asked == last && process != nil {
			_ = process.Kill() // it may have ended
		}
	})
	kills := 0
	for run := 0; ; run++ {
		ids, _ := answered(t, out)
		if run%2 == 1 {
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			whole := `{"id":"batch_req_0","custom_id":"` + want[len(want)-1] + `","response":null`
			if _, err := f.WriteString(whole[:1+chance.IntN(len(whole))]); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(exe, "batch", in, "-o", out, "--url", srv.URL, "--concurrency", "4")
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "HEARTH_URL=", "HEARTH_CONFIG=", "HEARTH_MODEL=", "HEARTH_LIB_DIR="+nativeLibraries(t))
		cmd.Dir = t.TempDir()
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		mu.Lock()
		held, asked, last = ids, 0, 1+chance.IntN(30)
		if err := cmd.Start(); err != nil {
			mu.Unlock()
			t.Fatal(err)
		}
		process = cmd.Process
		mu.Unlock()
		err := cmd.Wait()
		if err == nil {
			break
		}
		if code := cmd.ProcessState.ExitCode(); code != -1 || run > len(want) {
			t.Fatalf("run %d ended with code %d: %s", run, code, errOut.String())
		}
		kills++
	}
	got, torn := answered(t, out)
	slices.Sort(got)
	if !slices.Equal(got, want) || torn != "" {
		t.Errorf("%d lines for %d requests, torn: %q:\n%q", len(got), len(want), torn, got)
	}
	if kills < 3 {
		t.Errorf("it was killed %d times only", kills)
	}
}

// TestBatchInterrupted ends the real command with Ctrl-C's signal: it says how
// to go on, and does.
func TestBatchInterrupted(t *testing.T) {
	exe, err := exec.LookPath("hearth")
	if err != nil {
		t.Fatal(err)
	}
	in, out, want := batchFiles(t, 6)
	var cmd *exec.Cmd
	started := make(chan struct{})
	srv := serveBatch(t, &fakeModel{events: says("an answer")}, func(id string) {
		<-started
		if id == want[3] {
			_ = cmd.Process.Signal(os.Interrupt)
			<-t.Context().Done() // this request is never answered
		}
	})
	cmd = exec.Command(exe, "batch", in, "-o", out, "--url", srv.URL, "--concurrency", "1")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "HEARTH_CONFIG=", "HEARTH_LIB_DIR="+nativeLibraries(t))
	cmd.Dir = t.TempDir()
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	close(started)
	_ = cmd.Wait() // the code is what counts
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(errOut.String(), "3 of 6 requests are not answered yet: run the same command again") {
		t.Errorf("code %d: %s", code, errOut.String())
	}
	if ids, torn := answered(t, out); !slices.Equal(ids, want[:3]) || torn != "" {
		t.Errorf("%q, torn %q", ids, torn)
	}
}

// runBatch runs the command in this process.
func runBatch(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	t.Setenv(urlEnv, "")
	t.Setenv("HEARTH_CONFIG", "")
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"batch"}, args...), strings.NewReader(""), &o, zerolog.SyncWriter(&e))
	return code, o.String(), e.String()
}

func TestBatchCommand(t *testing.T) {
	m := &fakeModel{events: says("an", "answer")}
	srv := serveBatch(t, m, nil)
	in, out, want := batchFiles(t, 5)
	code, said, errOut := runBatch(t, in, "-o", out, "--url", srv.URL)
	if code != exitOK || !strings.Contains(said, "5 answered, 0 failed, 0 by earlier runs, of 5") || !strings.Contains(said, "tokens         10 in") {
		t.Errorf("code %d\n%s\n%s", code, said, errOut)
	}
	if !strings.Contains(errOut, "5 of 5 requests to answer, 4 at the same time") {
		t.Errorf("it does not take as many at the same time as the server computes: %s", errOut)
	}
	if m.completion.Priority != inference.PriorityLow {
		t.Error("its requests do not have low priority")
	}
	ids, _ := answered(t, out)
	slices.Sort(ids)
	if !slices.Equal(ids, want) {
		t.Errorf("answered %q", ids)
	}
	// Once more: nothing is left to do, so no server is needed.
	if code, said, errOut := runBatch(t, in, "-o", out, "--url", "http://127.0.0.1:1"); code != exitOK || !strings.Contains(said, "all 5 requests have been answered by earlier runs") {
		t.Errorf("code %d\n%s\n%s", code, said, errOut)
	}
}

func TestBatchEnds(t *testing.T) {
	srv := serveBatch(t, &fakeModel{err: inference.Invalid("prompt", "is too rude")}, nil)
	in, out, _ := batchFiles(t, 2)
	broken := filepath.Join(t.TempDir(), "broken.jsonl")
	if err := os.WriteFile(broken, []byte("{}\n[]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no output", []string{in}, exitUsage, "--output: the name of a file is needed"},
		{"empty output", []string{in, "-o", ""}, exitUsage, "--output: the name of a file is needed"},
		{"no input", []string{"-o", out}, exitUsage, "accepts 1 arg"},
		{"concurrency", []string{in, "-o", out, "--concurrency", "257"}, exitUsage, "--concurrency: must be between 1 and 256"},
		{"retries", []string{in, "-o", out, "--retries", "-1"}, exitUsage, "--retries: must be 0 or more, got -1"},
		{"missing input", []string{in + "x", "-o", out}, exitUsage, "open the input"},
		{"broken input", []string{broken, "-o", out, "--url", srv.URL}, exitUsage, "line 2: is not a JSON object"},
		{"no server", []string{in, "-o", out, "--url", "http://127.0.0.1:1"}, exitUnreachable, "does not answer"},
		{"no such model", []string{in, "-o", out, "--url", srv.URL, "--model", "other"}, exitUsage, `--model: no model "other"`},
		{"failures", []string{in, "-o", out, "--url", srv.URL}, exitPartial, "2 of 2 requests failed; " + strings.TrimSuffix(out, ".jsonl") + ".errors.jsonl says why"},
		{"failures of before", []string{in, "-o", out, "--url", srv.URL}, exitPartial, "2 of 2 requests failed"},
		{"other files", []string{in, "-o", in, "--url", srv.URL}, exitFailure, "are the same file"},
	} {
		if code, _, errOut := runBatch(t, c.args...); code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("%s: code %d, want %d and %q:\n%s", c.name, code, c.code, c.want, errOut)
		}
	}
}

// TestPrivateListener: what is said over a connection in memory arrives, and
// after Close nothing does.
func TestPrivateListener(t *testing.T) {
	l := newMemoryListener()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	transport := &http.Transport{DialContext: l.dial}
	client := &http.Client{Transport: transport}
	resp, err := client.Get("http://localhost/hello")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil || b.String() != "/hello" {
		t.Errorf("%q, %v", &b, err)
	}
	_ = resp.Body.Close()
	transport.CloseIdleConnections()
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-ended
	if _, err := l.dial(t.Context(), "", ""); err == nil {
		t.Error("it can be reached after its end")
	}
	if _, err := newMemoryListener().dial(endedContext(t), "", ""); err == nil {
		t.Error("a connection without a server")
	}
}

func endedContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
