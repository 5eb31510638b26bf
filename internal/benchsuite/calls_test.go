package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	mcpgo "github.com/mark3labs/mcp-go/server"
)

// otherEnv makes a fake Hearth answer one call in so many otherwise.
const otherEnv = "BENCHSUITE_TEST_OTHER"

// fakeCalls makes a fake Hearth answer calls of the tool, as if each took one
// fdatasync.
func fakeCalls(mux *http.ServeMux) {
	var calls atomic.Int64
	s := mcpgo.NewMCPServer("fake", "1")
	s.AddTool(mcp.NewTool("another"), nil)
	s.AddTool(mcp.NewTool(calledTool, mcp.WithDescription("Lists.")), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		n := calls.Add(1)
		if os.Getenv(otherEnv) != "" && n%20 == 0 {
			return mcp.NewToolResultText("something else"), nil
		}
		return mcp.NewToolResultStructured(map[string]any{"models": []string{strings.Repeat("long ", 800)}}, "a text"), nil
	})
	mux.Handle("/mcp", mcpgo.NewStreamableHTTPServer(s))
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# HELP x\n%s %d\n%s_more 1\n", syncMetric, calls.Load(), syncMetric)
	})
}

func TestCallsAreMeasured(t *testing.T) {
	flags, self := fakes(t, "-quick", "-only", callsName)
	var status bytes.Buffer
	s, err := parse(flags, self, &status)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.execute(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Calls.Runs) != 6 || len(r.Calls.Rows) != 2 || len(r.Rows) != 0 {
		t.Fatalf("%d runs, %d rows of calls, %d others", len(r.Calls.Runs), len(r.Calls.Rows), len(r.Rows))
	}
	for _, row := range r.Calls.Rows {
		for _, system := range []string{hearth, durable, bare} {
			if p50, rate := row.P50[system].Median, row.Rate[system].Median; p50 <= 0 || p50 > row.P99[system].Median || rate <= 0 {
				t.Errorf("%d clients of %s: p50 %g, p99 %g, %g a second", row.Clients, system, p50, row.P99[system].Median, rate)
			}
		}
		// Each call of the fake counts as one, those of warming up, too.
		if n := row.Syncs.Median; math.Abs(n-1) > 0.9 {
			t.Errorf("%g fdatasyncs for each call, want about 1", n)
		}
		if len(row.Latency.Value.Values) != 1 || len(row.Durable.Value.Values) != 1 {
			t.Errorf("the goals are judged by %v and %v", row.Latency.Value, row.Durable.Value)
		}
	}
	markdown, err := os.ReadFile(filepath.Join(s.dir, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	var terminal bytes.Buffer
	if err := writeCallsTerminal(&terminal, r.Calls); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Calls of `list_models`", "| 4 | call p50, µs |", "fdatasyncs for each call", "mcp-go tool.json 127.0.0.1:PORT"} {
		if !strings.Contains(string(markdown), want) {
			t.Errorf("report.md lacks %q:\n%s", want, markdown)
		}
	}
	if !strings.Contains(terminal.String(), "of mcp-go") {
		t.Errorf("the terminal shows no goal:\n%s", terminal.String())
	}
}

func TestCallsWithOtherAnswersAreNoComparison(t *testing.T) {
	t.Setenv(otherEnv, "1")
	flags, self := fakes(t, "-quick", "-only", callsName)
	s, err := parse(flags, self, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.execute(t.Context()); err == nil || !strings.Contains(err.Error(), "two calls have different answers") {
		t.Errorf("got %v", err)
	}
}

// TestCallGoals: goals are on medians of the ratios of the same round.
func TestCallGoals(t *testing.T) {
	f := &callFigures{Sync: []float64{100, 200}}
	for round, us := range []map[string]float64{{hearth: 120, durable: 300, bare: 100}, {hearth: 280, durable: 700, bare: 200}} {
		for system, p50 := range us {
			f.Runs = append(f.Runs, callRun{System: system, Clients: 1, Round: round, Syncs: 20, Result: callResult{Calls: 10, Seconds: 1, P50: p50, P99: p50}})
		}
	}
	row := f.report().Rows[0]
	if math.Abs(row.P50Ratio.Median-1.3) > 1e-9 || !row.Latency.Reached || row.Latency.Rounds != 1 {
		t.Errorf("ratio %v, reached %v in %d rounds", row.P50Ratio, row.Latency.Reached, row.Latency.Rounds)
	}
	if math.Abs(row.Added.Median-1.95) > 1e-9 || math.Abs(row.Beyond.Median-(1.7+2.2)/2) > 1e-9 || !row.Durable.Reached || row.Durable.Rounds != 1 || row.Syncs.Median != 2 {
		t.Errorf("durable records add %v, take %v beyond the ratio, reached %v, %v for each call", row.Added, row.Beyond, row.Durable.Reached, row.Syncs)
	}
}
