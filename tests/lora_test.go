package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"hearth/internal/testkit"
)

// use is an adapter of a request.
type use struct {
	Name  string   `json:"name"`
	Scale *float64 `json:"scale,omitempty"`
}

// adapterTie is how close the two best may lie before another place in the cache,
// or other rows in the batch, may decide between them: the weights have 4 bits.
const adapterTie = 0.1

// text is what the steps of an answer say together.
func text(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.token)
	}
	return b.String()
}

// TestAdaptersOverHTTP serves two adapters beside the default model, and asks for
// them by name and scale, one after the other and all at the same time.
func TestAdaptersOverHTTP(t *testing.T) {
	hearth := startHearth(t, "--lora", "poet="+testkit.ModelLoRA(1).Write(t, "poet"), "--lora", "terse="+testkit.ModelLoRA(2).Write(t, "terse")+":0.5")

	var list struct {
		Data []struct {
			Details struct {
				Lora []struct {
					Name  string
					Scale float64
					Bytes int64
				}
			}
		}
	}
	res, err := client.Get(hearth.url + "/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	err = json.NewDecoder(res.Body).Decode(&list)
	res.Body.Close()
	if err != nil || len(list.Data) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if l := list.Data[0].Details.Lora; len(l) != 2 || l[0].Name != "poet" || l[0].Scale != 1 || l[1].Scale != 0.5 || l[1].Bytes < 1000 {
		t.Errorf("the model's adapters are %+v", l)
	}

	scale := func(v float64) *float64 { return &v }
	const prompt = "The lighthouse stood at the end of the long stone pier, and the keeper said that"
	ask := func(lora []use) continuation {
		body := map[string]any{"prompt": prompt, "max_tokens": 12, "logprobs": 2}
		if lora != nil {
			body["lora"] = lora
		}
		return greedy(hearth, "/v1/completions", body)
	}
	sets := [][]use{nil, {{"poet", nil}}, {{"terse", nil}}, {{"poet", scale(0.5)}, {"terse", scale(1)}}}
	want := make([]continuation, len(sets))
	for i, set := range sets {
		if want[i] = ask(set); want[i].cached != 0 {
			t.Errorf("the adapters %v began with %d tokens that others computed", set, want[i].cached)
		}
		for k := range i {
			if text(want[k].steps) == text(want[i].steps) {
				t.Errorf("the adapters %v and %v give the same answer %q", set, sets[k], text(want[i].steps))
			}
		}
	}
	same := func(when string, got, want continuation) {
		if _, tied, err := compare(want.steps, got.steps, adapterTie); err != nil {
			t.Errorf("%s: %v", when, err)
		} else if tied {
			t.Logf("%s: the two best lie closer than %g", when, adapterTie)
		}
	}
	same("scale 0", ask([]use{{"poet", scale(0)}}), want[0])
	same("the scale of the configuration in the request", ask([]use{{"terse", scale(0.5)}}), want[2])

	var wg sync.WaitGroup
	for range 2 {
		for i, set := range sets {
			wg.Go(func() { same(fmt.Sprintf("beside others, %v", set), ask(set), want[i]) })
		}
	}
	wg.Wait()

	for body, say := range map[string]string{
		`{"prompt":"x","lora":[{"name":"bard"}]}`:                   `there is: poet, terse`,
		`{"prompt":"x","lora":[{"name":"poet","scale":99}]}`:        "between -16 and 16",
		`{"prompt":"x","lora":[{"name":"poet"},{"name":"poet"}]}`:   "named by lora[0] already",
		`{"prompt":"x","lora":[{"name":"poet","scale":"strong"}]}`:  "must be a number",
		`{"prompt":"x","lora":[{"name":"poet","scale":0.5,"x":1}]}`: "not known",
	} {
		res := hearth.send(t.Context(), "/v1/completions", json.RawMessage(body))
		answer, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(answer), say) {
			t.Errorf("%s: %s %s", body, res.Status, answer)
		}
	}

	out, err := exec.Command(hearthBinary(t), "generate", "--url", hearth.url, "--temperature", "0", "--max-tokens", "4", "--lora", "terse:0.5", prompt).CombinedOutput()
	if begins := text(want[2].steps[:4]); err != nil || strings.TrimSpace(string(out)) != strings.TrimSpace(begins) {
		t.Errorf("hearth generate --lora: %q, %v, want %q", out, err, begins)
	}
	out, err = exec.Command(hearthBinary(t), "models", "list", "--url", hearth.url).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "LoRA adapters: poet, terse") {
		t.Errorf("hearth models list: %s, %v", out, err)
	}
	mcp := exec.Command(hearthBinary(t), "mcp", "--url", hearth.url)
	mcp.Stdin = strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"generate","arguments":{"prompt":"x","max_tokens":1,"lora":[{"name":"poet"}]}}}
{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"generate","arguments":{"prompt":"x","lora":[{"name":"bard"}]}}}
`)
	if out, err := mcp.Output(); err != nil || !strings.Contains(string(out), `"finish_reason":"length"`) || !strings.Contains(string(out), "there is: poet, terse") {
		t.Errorf("the tool generate: %s, %v", out, err)
	}
}

// TestBadAdapterEndsTheStart refuses an adapter of another model with its name.
func TestBadAdapterEndsTheStart(t *testing.T) {
	foreign := testkit.ModelLoRA(1)
	foreign.Architecture = "qwen2"
	out, err := exec.Command(hearthBinary(t), "serve", "--listen", "127.0.0.1:0", "--model", testkit.Model(t), "--lora", "poet="+foreign.Write(t, "foreign")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "adapter poet of") || !strings.Contains(string(out), `of the architecture "qwen2"`) {
		t.Errorf("%v\n%s", err, out)
	}
}
