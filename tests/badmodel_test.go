package tests

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/internal/testkit"
)

// badModel writes a file that the reader of headers takes and llama.cpp asserts
// about: a vocabulary whose metadata claims experts in use, and none at all.
func badModel(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(filepath.Dir(testkit.Templates(t)), "ggml-vocab-llama-spm.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	const key, head = "llama.expert_used_count", 24
	pair := append([]byte{byte(len(key)), 0, 0, 0, 0, 0, 0, 0}, key...)
	pair = append(pair, 4, 0, 0, 0, 5, 0, 0, 0)
	bad := slices.Concat(b[:head], pair, b[head:])
	bad[16]++ // the number of pairs, which are fewer than 255
	path := filepath.Join(t.TempDir(), "bad.gguf")
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBadModelTakesDownNobody serves two models, of which one crashes llama.cpp:
// the crash is the child's, the log says what is wrong, the other model serves.
func TestBadModelTakesDownNobody(t *testing.T) {
	config := writeConfig(t, fmt.Sprintf("models:\n  - id: bad\n    path: %s\n  - id: good\n    path: %s\n", badModel(t), testkit.Model(t)))
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // nothing is known to pass
	hearth := startServing(t, "--config", config)
	var answer struct{ Choices []struct{ Text string } }
	hearth.post("/v1/completions", map[string]any{"model": "good", "prompt": "Once", "max_tokens": 2}, &answer)
	if len(answer.Choices) != 1 {
		t.Error("the good model does not serve")
	}
	status, said, err := knock(t.Context(), client, hearth.url+"/v1/completions", []byte(`{"model":"bad","prompt":"x"}`))
	if err != nil || status != http.StatusInternalServerError || !strings.Contains(string(said), "could not be loaded") {
		t.Errorf("the bad model: %d %s, %v", status, said, err)
	}
	(&command{"a measurement of it", "", []string{"bench", "--url", hearth.url, "--model", "bad", "--scenario", "single", "--requests", "1", "--max-tokens", "2"}, 1, "could not be loaded"}).check(t)
	log := hearth.output.String()
	for _, say := range []string{"GGML_ASSERT", "SIGABRT", "bad.gguf", "download or convert it again"} {
		if !strings.Contains(log, say) {
			t.Errorf("the log does not say %q\n%s", say, hearth.output.tail())
		}
	}
}
