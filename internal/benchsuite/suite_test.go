package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"hearth/internal/loadgen"
)

// TestMain lets this test binary, under other names, stand for the programs that
// the suite starts.
func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if program := os.Getenv(holdEnv); program != "" && len(os.Args) > 1 && held(os.Args, program) {
		<-ctx.Done()
		return
	}
	var err error
	switch filepath.Base(os.Args[0]) {
	case "benchsuite":
		err = runMain(ctx, os.Args[1:])
	case "hearth", "llama-server":
		err = fakeServer(ctx, os.Args[1:])
	case "llama-batched-bench":
		fmt.Println("a line that is no JSON")
		fmt.Println(`{"pp": 40, "tg": 8, "pl": 2, "t_pp": 0.25, "t_tg": 0.75}`)
	default:
		if len(os.Args) > 1 && (os.Args[1] == loadCommand || os.Args[1] == callCommand || os.Args[1] == peerCommand) {
			err = runMain(ctx, os.Args[1:])
			break
		}
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// refusedModel is a model that the fake llama-server serves only untuned.
const refusedModel = "/dev/null"

// fakeServer serves the few routes that the suite uses until it is told to stop.
func fakeServer(ctx context.Context, args []string) error {
	addr := ""
	for i, a := range args {
		switch a {
		case "version", "--version":
			fmt.Println("a fake, version 1")
			return nil
		case "--port":
			addr = "127.0.0.1:" + args[i+1]
		case "--listen":
			addr = args[i+1]
		case "--cache-ram":
			if slices.Contains(args, refusedModel) {
				return errors.New("fake: this flag is refused")
			}
		}
	}
	mux := http.NewServeMux()
	fakeCalls(mux)
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data":[{"id":"tiny"}]}`) })
	mux.HandleFunc("POST /tokenize", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"tokens":[2]}`) })
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			MaxTokens int               `json:"max_tokens"`
			Messages  []json.RawMessage `json:"messages"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for range body.MaxTokens {
			fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n")
			w.(http.Flusher).Flush()
		}
		fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d}}\n\ndata: [DONE]\n\n", 40*len(body.Messages), body.MaxTokens)
	})
	mux.HandleFunc("POST /v1/embeddings", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Input []string `json:"input"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !slices.ContainsFunc(args, func(a string) bool { return strings.HasSuffix(a, "embedder.gguf") }) {
			http.Error(w, "this is no embedding model", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"data":[{}%s],"usage":{"prompt_tokens":40}}`, strings.Repeat(",{}", len(body.Input)-1))
	})
	server := &http.Server{Addr: addr, Handler: mux}
	stopped := context.AfterFunc(ctx, func() { server.Close() })
	defer stopped()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// fakes returns the flags of a quick suite over programs that are this binary.
func fakes(t *testing.T, more ...string) (flags []string, self string) {
	t.Helper()
	// The race detector makes each of the many processes wait a second at its end.
	t.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"hearth", "llama-server", "llama-batched-bench"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	model, embedder := filepath.Join(dir, "tiny.gguf"), filepath.Join(dir, "embedder.gguf")
	for _, file := range []string{model, embedder} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return append([]string{
		"-hearth", filepath.Join(dir, "hearth"), "-yardsticks", dir, "-model", model, "-embedding-model", embedder,
		"-out", filepath.Join(dir, "report"), "-sequences", "2", "-threads", "1", "-seed", "9",
	}, more...), self
}

func TestSuiteMakesAWholeReport(t *testing.T) {
	flags, self := fakes(t, "-quick", "-only", "single,mixed,agents,restart,embed-lists")
	var status bytes.Buffer
	s, err := parse(flags, self, &status)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.execute(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, status.String())
	}
	if len(r.Runs) != 16 || len(r.Ceilings) != 1 {
		t.Errorf("%d runs and %d ceilings, want 16 and 1", len(r.Runs), len(r.Ceilings))
	}
	for _, run := range r.Runs {
		if run.Failed != "" || run.ColdStart <= 0 || run.PeakBytes <= 0 || run.Summary.Tokens == 0 {
			t.Errorf("%s on %s: %s; cold start %.1f ms, peak %d bytes, %d tokens: none may be zero", run.Entry, run.System, run.Failed, run.ColdStart, run.PeakBytes, run.Summary.Tokens)
		}
		if run.Entry == "mixed" && (run.Wait <= 0 || run.Phases[alone].Requests != 1) || run.Entry == "restart" && run.Phases[again].TTFT.N != 1 {
			t.Errorf("%s on %s: wait %g, phases %+v", run.Entry, run.System, run.Wait, run.Phases)
		}
	}
	judged := 0
	for _, row := range r.Rows {
		judged += len(row.Goals)
		for _, g := range row.Goals {
			// The fake answers in no time: no gap of its decoders may lie in the window.
			if len(g.Value.Values) != 1 && row.Metric != itl99.name {
				t.Errorf("%s %s: nothing was measured for the goal against %q", row.Entry, row.Metric, g.Against)
			}
		}
	}
	if judged != 14 {
		t.Errorf("%d goals are judged, want 14", judged)
	}
	if v := against(t, find(t, r, "single", itl50.name), batchedBench); len(v.Value.Values) != 1 {
		t.Errorf("the ceiling's step is not compared: %+v", v)
	}
	if len(r.Talks) != 3 || len(r.Talks[0].Turns) != 2 || r.Talks[0].Turns[1].NewTokens != 2*80 {
		t.Errorf("conversations %+v, want two turns on three systems, with 80 new tokens in each second", r.Talks)
	}
	if !strings.Contains(status.String(), "[17/17]") || !strings.Contains(status.String(), "17 runs, about ") {
		t.Errorf("the progress does not begin with an estimate and end at the last step:\n%s", status.String())
	}
	checkFiles(t, s.dir, len(r.Runs))
}

func checkFiles(t *testing.T, dir string, runs int) {
	t.Helper()
	raw, err := os.Open(filepath.Join(dir, "raw.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	lines := bufio.NewScanner(raw)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		var r struct {
			run
			Result  loadgen.Result             `json:"result"`
			Results map[string]*loadgen.Result `json:"phase_results"`
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil || r.System == "" || len(r.Result.Samples) == 0 {
			t.Errorf("line %d of raw.jsonl: %v, system %q, %d samples", n+1, err, r.System, len(r.Result.Samples))
		}
	}
	if n != runs {
		t.Errorf("raw.jsonl has %d runs, want %d", n, runs)
	}
	markdown, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"quick run", "≤ 0.0333 of llama-server", "≤ 2:", "one stream", "cold start", "--port PORT", "-npp 40", "same number of prompt tokens", "turn by turn", "prompt_lookup: {off: true}"} {
		if !strings.Contains(string(markdown), want) {
			t.Errorf("report.md lacks %q", want)
		}
	}
	plot, err := os.Open(filepath.Join(dir, "report.svg"))
	if err != nil {
		t.Fatal(err)
	}
	defer plot.Close()
	wellFormed(t, "report.svg", plot)
}

func TestSuiteSaysWhichServerDied(t *testing.T) {
	flags, self := fakes(t, "-quick", "-only", "shared-prefix", "-model", refusedModel)
	var status bytes.Buffer
	s, err := parse(flags, self, &status)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.execute(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Join(r.Notes, "\n")
	if !strings.Contains(said, "shared-prefix on llama-server, tuned: it FAILED") || !strings.Contains(said, "this flag is refused") {
		t.Errorf("notes %s: want one that names scenario and system and shows the log", said)
	}
	if !strings.Contains(status.String(), "FAILED") {
		t.Errorf("the failure is not told when it happens:\n%s", status.String())
	}
}

func TestSuiteEndsRunsThatTakeTooLong(t *testing.T) {
	flags, self := fakes(t, "-quick", "-only", "single", "-limit", "1ns")
	s, err := parse(flags, self, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.execute(t.Context()); err == nil || !strings.Contains(err.Error(), "every run failed") || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("error %v, want one that says that every run failed, and why", err)
	}
}

func TestSuiteNeedsItsPrograms(t *testing.T) {
	flags, self := fakes(t)
	s, err := parse(append(flags, "-hearth", filepath.Join(t.TempDir(), "none")), self, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.execute(t.Context()); err == nil || !strings.Contains(err.Error(), "make bench") {
		t.Errorf("error %v, want one that names make bench", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "0"}, {"-only", "huge"}, {"-threads", "-1"}, {"-floor", "-1"}, {"extra"}} {
		if _, err := parse(args, "", io.Discard); err == nil {
			t.Errorf("parse(%v) was accepted", args)
		}
	}
}

func TestParsePeak(t *testing.T) {
	got, err := parsePeak("Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n")
	if err != nil || got != 2<<20 {
		t.Errorf("parsePeak = %d, %v; want 2 MiB", got, err)
	}
	if _, err := parsePeak("Name:\tx\n"); err == nil {
		t.Error("parsePeak found a peak where there is none")
	}
}
