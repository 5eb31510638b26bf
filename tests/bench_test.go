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
			Scenario string `json:"scenario"`
			Metric   string `json:"metric"`
			Ratios   map[string]struct {
				Values []float64 `json:"values"`
			} `json:"ratios"`
			Goals []struct {
				Against string `json:"against"`
				Value   struct {
					Values []float64 `json:"values"`
				} `json:"value"`
			} `json:"goals"`
		} `json:"rows"`
		Runs []struct {
			Failed string `json:"failed"`
		} `json:"runs"`
		Notes []string `json:"notes"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	judged := 0
	for _, row := range r.Rows {
		if n := len(row.Ratios["llama-server"].Values); n != 1 && len(row.Goals) > 0 && row.Goals[0].Against != "" {
			t.Errorf("%s %s has %d ratios, want one for the one round", row.Scenario, row.Metric, n)
		}
		for _, g := range row.Goals {
			judged++
			if len(g.Value.Values) != 1 {
				t.Errorf("%s %s: nothing was measured for the goal against %q", row.Scenario, row.Metric, g.Against)
			}
		}
	}
	for _, run := range r.Runs {
		if run.Failed != "" {
			t.Errorf("a run failed: %s", run.Failed)
		}
	}
	if len(r.Runs) != 10 || judged != 10 {
		t.Errorf("%d runs and %d goals, want 10 and 10", len(r.Runs), judged)
	}
	// Further notes may say what else the machine had to do.
	if len(r.Notes) == 0 || r.Notes[0] != "Every system counted the same number of prompt tokens in every run." {
		t.Errorf("the systems did not do the same work: %q", r.Notes)
	}
}

// TestToolTemplate holds that llama-server, with the template that the
// comparison gives it, gets the prompts that Hearth makes for a model whose own
// template has no place for tools. Prompts are compared by their numbers of
// tokens, which both servers count: each piece of a conversation is one prompt.
func TestToolTemplate(t *testing.T) {
	hearth := startHearth(t, "--context", "2048", "--sequences", "2")
	llama := startLlamaServer(t, "-c", "2048", "-np", "1", "--jinja",
		"--chat-template-file", filepath.Join(testkit.Root(t), "internal", "benchsuite", "templates", "smollm2-tools.jinja"))
	type object = map[string]any
	tool := func(name string) object {
		return object{"type": "function", "function": object{
			"name": name, "description": "Says <what> & \"how\"", "parameters": json.RawMessage(`{"type":"object","properties":{"zone":{"type":"string","enum":["lawn","roses"]},"amount":{"type":"integer","minimum":1}},"required":["zone","amount"],"additionalProperties":false}`),
		}}
	}
	call := func(id, name string) object {
		return object{"id": id, "type": "function", "function": object{"name": name, "arguments": `{"zone": "lawn", "amount": 3}`}}
	}
	system, user := object{"role": "system", "content": "Be brief."}, object{"role": "user", "content": "Water it."}
	called := object{"role": "assistant", "content": "", "tool_calls": []object{call("c1", "first")}}
	result := object{"role": "tool", "tool_call_id": "c1", "content": "It is done."}
	tests := []struct {
		name     string
		tools    bool
		messages []object
	}{
		{"no tools, no system prompt", false, []object{user}},
		{"no tools", false, []object{system, user}},
		{"tools", true, []object{user}},
		{"tools behind a system prompt", true, []object{system, user}},
		{"a call and its result", true, []object{user, called, result}},
		{"text beside the call", true, []object{system, user, {"role": "assistant", "content": "I will.", "tool_calls": []object{call("c1", "second")}}, result}},
		{"an answer in words", true, []object{user, {"role": "assistant", "content": "No."}, user}},
		{"two rounds", true, []object{user, called, result, {"role": "assistant", "content": "", "tool_calls": []object{call("c2", "second")}}, {"role": "tool", "tool_call_id": "c2", "content": "So is that."}}},
	}
	for _, tt := range tests {
		count := func(p *process) int {
			body := object{"messages": tt.messages, "max_tokens": 1, "temperature": 0}
			if tt.tools {
				body["tools"], body["tool_choice"] = []object{tool("first"), tool("second")}, "auto"
			}
			var answer struct {
				Usage struct {
					PromptTokens int `json:"prompt_tokens"`
				} `json:"usage"`
			}
			p.post("/v1/chat/completions", body, &answer)
			return answer.Usage.PromptTokens
		}
		if ours, theirs := count(hearth), count(llama); ours != theirs || ours == 0 {
			t.Errorf("%s: the prompt has %d tokens here, %d in llama-server", tt.name, ours, theirs)
		}
	}
}
