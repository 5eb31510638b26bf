package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth/internal/loadgen"
)

// chatServer answers every chat request with two tokens.
func chatServer(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data":[{"id":"tiny"}]}`) })
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}\n\n"+
			"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestBenchCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run.json")
	cmd := newBenchCommand()
	var out, status bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&status)
	cmd.SetArgs([]string{"--url", chatServer(t), "--scenario", "parallel", "--clients", "2", "--requests", "3", "--max-tokens", "4", "--seed", "5", "--json", file})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"requests       6\n", "tokens         12 in", "prompt tokens  18,", "6 answers ended before"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
	if !strings.Contains(status.String(), "model tiny, seed 5") {
		t.Errorf("status does not say what is measured: %q", status.String())
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var saved struct {
		Summary loadgen.Summary `json:"summary"`
		Run     loadgen.Result  `json:"run"`
	}
	if err := json.Unmarshal(raw, &saved); err != nil {
		t.Fatal(err)
	}
	if saved.Summary.Tokens != 12 || len(saved.Run.Samples) != 6 || saved.Run.Seed != 5 {
		t.Errorf("the file holds %d tokens, %d samples, seed %d; want 12, 6, 5", saved.Summary.Tokens, len(saved.Run.Samples), saved.Run.Seed)
	}
}

// TestBenchCommandShowsDocumentsAndTurns asks for what a server answers in
// another way than it should: no answer is a document.
func TestBenchCommandShowsDocumentsAndTurns(t *testing.T) {
	for scenario, want := range map[string]string{
		"json-keys": "documents      0 whole ones, 0.00 a second\n",
		"agents":    "turn 2         6 prompt tokens, 0 new, 0 cached, 6 old ones computed again\n",
	} {
		cmd := newBenchCommand()
		var out, status bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&status)
		cmd.SetArgs([]string{"--url", chatServer(t), "--scenario", scenario, "--clients", "2", "--requests", "2"})
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: the output lacks %q:\n%s", scenario, want, out.String())
		}
	}
}

func TestBenchCommandErrors(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	tests := []struct {
		name string
		args []string
		want string
		code int
	}{
		{"unknown scenario", []string{"--scenario", "huge"}, "choose one of", exitUsage},
		{"a number below zero", []string{"--clients", "-1"}, "above zero", exitUsage},
		{"no server", []string{"--url", gone.URL}, "is a server running at", exitUnreachable},
		{"no server for a known model", []string{"--url", gone.URL, "--model", "m"}, "is a server running at", exitUnreachable},
		{"a server of something else", []string{"--url", other.URL}, "404", exitFailure},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, status bytes.Buffer
			code := run(t.Context(), append([]string{"bench"}, tt.args...), strings.NewReader(""), &out, &status)
			if code != tt.code || !strings.Contains(status.String(), tt.want) {
				t.Errorf("code %d and %q, want %d and %q", code, status.String(), tt.code, tt.want)
			}
		})
	}
}
