package tests

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hearth/internal/testkit"
)

// runBenchsuite builds the comparison with llama-server, runs it with tiny
// numbers and checks that its report is whole.
func runBenchsuite(t *testing.T, args ...string) {
	t.Helper()
	dir := t.TempDir()
	suite := filepath.Join(dir, "benchsuite")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", suite, "./internal/benchsuite")
	build.Dir = testkit.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the benchmark: %v\n%s", err, out)
	}
	report := filepath.Join(dir, "report")
	p := start(t, suite, append([]string{
		"-quick", "-out", report, "-hearth", hearthBinary(t), "-model", testkit.Model(t),
		"-yardsticks", filepath.Dir(testkit.Yardstick(t, "llama-server")), "-threads", oneThread,
	}, args...)...)
	p.wait()
	for _, name := range []string{"report.md", "report.svg", "raw.jsonl"} {
		if info, err := os.Stat(filepath.Join(report, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, or it is empty\n%s", name, err, p.output.tail())
		}
	}
	raw, err := os.ReadFile(filepath.Join(report, "report.json"))
	if err != nil {
		t.Fatalf("%v\n%s", err, p.output.tail())
	}
	var r struct {
		Rows []struct {
			Metric  string `json:"metric"`
			ToPlain struct {
				Values []float64 `json:"values"`
			} `json:"ratio_to_llama_server"`
			Reached *bool `json:"reached"`
		} `json:"rows"`
		Runs  []json.RawMessage `json:"runs"`
		Notes []string          `json:"notes"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	judged := 0
	for _, row := range r.Rows {
		if len(row.ToPlain.Values) != 1 {
			t.Errorf("%s has %d ratios, want one for the one round", row.Metric, len(row.ToPlain.Values))
		}
		if row.Reached != nil {
			judged++
		}
	}
	if len(r.Runs) != 6 || judged != 2 {
		t.Errorf("%d runs and %d goals, want 6 and 2", len(r.Runs), judged)
	}
	// Further notes may say what else the machine had to do.
	if len(r.Notes) == 0 || r.Notes[0] != "Every system counted the same number of prompt tokens in every run." {
		t.Errorf("the systems did not do the same work: %q", r.Notes)
	}
}
