package mcpserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"hearth/inference"
	"hearth/mcpserver/router"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; if that is meant, go test -update writes it anew. got:\n%s", path, got)
	}
}

// TestToolSchemas: what clients see of the tools is fixed, order included, and
// is the same in every protocol.
func TestToolSchemas(t *testing.T) {
	url := serve(t, newServer(t, saying()))
	eras(t, func(t *testing.T, version string) {
		_, r := connect(t, url, version).call("1", "tools/list", "", "")
		var list struct{ Tools []json.RawMessage }
		if err := json.Unmarshal(r.Result, &list); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, raw := range list.Tools {
			var tool struct {
				Name        string
				Annotations struct{ ReadOnlyHint, DestructiveHint, IdempotentHint, OpenWorldHint *bool }
			}
			if err := json.Unmarshal(raw, &tool); err != nil {
				t.Fatal(err)
			}
			names = append(names, tool.Name)
			if a := tool.Annotations; a.ReadOnlyHint == nil || !*a.ReadOnlyHint || a.DestructiveHint == nil || *a.DestructiveHint || a.IdempotentHint == nil || a.OpenWorldHint == nil || *a.OpenWorldHint {
				t.Errorf("%s: annotations %s", tool.Name, raw)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, raw, "", "  "); err != nil {
				t.Fatal(err)
			}
			pretty.WriteByte('\n')
			golden(t, tool.Name+".json", pretty.Bytes())
		}
		if got := strings.Join(names, " "); got != "chat count_tokens embed generate list_models rerank" {
			t.Errorf("tools %s", got)
		}
	})
}

func TestChat(t *testing.T) {
	f := saying(`{"a":`, `1}`)
	f.script = func(string) ([]inference.Event, error) {
		return append([]inference.Event{{Kind: inference.EventDelta, Reasoning: "let me see"}}, tokens(`{"a":`, `1}`)...), nil
	}
	p := connect(t, serve(t, newServer(t, f)), modern)
	_, r := p.call("1", "tools/call", `"name":"chat","arguments":{"system":"be brief","prompt":"hi","model":"tiny","max_tokens":5.0,
		"temperature":0,"top_p":0.5,"top_k":7,"min_p":0.1,"repeat_penalty":1.1,"presence_penalty":-1,"frequency_penalty":1,"seed":4294967295,"repeat_last_n":8,
		"typical_p":0.5,"top_n_sigma":1.5,"dry_multiplier":0.75,"dry_base":1.25,"dry_allowed_length":3,"dry_penalty_last_n":99,"dry_sequence_breakers":["x"],
		"xtc_probability":0.25,"xtc_threshold":0.125,"mirostat":2,"mirostat_tau":4,"mirostat_eta":0.5,"dynatemp_range":0.375,"dynatemp_exponent":3,
		"banned_strings":["no","nein"],"lora":[{"name":"poet","scale":0.5},{"name":"terse"}],
		"stop":["END"],"json_schema":{"type":"object","properties":{"z":{},"a":{}}},"reasoning":false}`, "")
	got := r.tool(t)
	if s := got.StructuredContent; got.IsError || s.Text != `{"a":1}` || got.Content[0].Text != s.Text || s.Model != "tiny" || s.Reasoning != "let me see" ||
		string(s.JSON) != `{"a":1}` || s.FinishReason != "stop" || s.Usage != (usage{7, 3, 2, 9}) {
		t.Errorf("got %+v", got)
	}
	q := f.chats[0]
	if a := q.Adapters; len(a) != 2 || a[0].Name != "poet" || *a[0].Scale != 0.5 || a[1].Name != "terse" || a[1].Scale != nil {
		t.Errorf("adapters %+v", a)
	}
	if fmt.Sprint(q.Messages) != fmt.Sprint([]inference.Message{{Role: "system", Content: "be brief"}, {Role: "user", Content: "hi"}}) {
		t.Errorf("messages %+v", q.Messages)
	}
	seed := uint32(4294967295)
	want := inference.Sampling{
		TopP: 0.5, TopK: 7, MinP: 0.1, RepeatPenalty: 1.1, RepeatLastN: 8, PresencePenalty: -1, FrequencyPenalty: 1, Seed: &seed,
		TypicalP: 0.5, TopNSigma: 1.5, DryMultiplier: 0.75, DryBase: 1.25, DryAllowedLength: 3, DryLastN: 99, DryBreakers: []string{"x"},
		XTCProbability: 0.25, XTCThreshold: 0.125, Mirostat: 2, MirostatTau: 4, MirostatEta: 0.5, DynatempRange: 0.375, DynatempExponent: 3,
		Banned: []string{"no", "nein"},
	}
	if !reflect.DeepEqual(q.Sampling, want) {
		t.Errorf("sampling %+v", q.Sampling)
	}
	if q.MaxTokens != 5 || q.N != 1 || fmt.Sprint(q.Stop) != "[END]" || !q.NoReasoning || q.Caller != inference.DefaultCaller || q.RequestID == "" {
		t.Errorf("options %+v", q.Options)
	}
	// The order of a schema's members is the order of the answer's.
	if q.Format.Kind != inference.FormatJSONSchema || string(q.Format.Schema) != `{"type":"object","properties":{"z":{},"a":{}}}` {
		t.Errorf("format %s %s", q.Format.Kind, q.Format.Schema)
	}

	p.call("2", "tools/call", `"name":"chat","arguments":{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}`, "")
	q = f.chats[1]
	if len(q.Messages) != 3 || q.Messages[1].Role != inference.RoleAssistant || q.MaxTokens != 0 || q.NoReasoning || q.Format.Kind != inference.FormatText || q.Sampling.Seed != nil {
		t.Errorf("request %+v", q)
	}
}

func TestOtherTools(t *testing.T) {
	f := saying("on", " and on")
	f.list = append(f.list, inference.ModelStatus{State: inference.ModelLoading, Progress: 0.5, Info: inference.ModelInfo{ID: "late"}},
		inference.ModelStatus{State: inference.ModelFailed, Err: errors.New("open /secret/x.gguf"), Info: inference.ModelInfo{ID: "broken"}}, embedder("vec"), ranker("rank"))
	p := connect(t, serve(t, newServer(t, f)), legacy)
	call := func(name, arguments string) toolResult {
		t.Helper()
		_, r := p.call("1", "tools/call", fmt.Sprintf(`"name":%q%s`, name, arguments), "")
		return r.tool(t)
	}
	if got := call("generate", `,"arguments":{"prompt":"on"}`); got.Content[0].Text != "on and on" || f.completes[0].Prompt != "on" || f.completes[0].MaxTokens != generateDefault {
		t.Errorf("generate: %+v, %+v", got, f.completes[0])
	}
	for arguments, want := range map[string]int{
		`{"text":"one two three"}`: 3, `{"text":""}`: 0, `{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}`: 20,
	} {
		got := call("count_tokens", `,"arguments":`+arguments)
		if got.IsError || got.StructuredContent.Tokens != want || got.StructuredContent.Context != 2048 || got.Content[0].Text != fmt.Sprintf(`{"model":"tiny","tokens":%d,"context":2048}`, want) {
			t.Errorf("count_tokens %s: %+v", arguments, got)
		}
	}
	for _, c := range []struct {
		arguments, want string
	}{
		{`{"input":["a bc","d"]}`, `{"model":"vec","vectors":[[4,2],[1,2]],"tokens":5}`},
		{`{"input":["abc"],"model":"vec","dimensions":1,"truncate":true}`, `{"model":"vec","vectors":[[3]],"tokens":3}`},
	} {
		if got := call("embed", `,"arguments":`+c.arguments); got.IsError || got.Content[0].Text != c.want {
			t.Errorf("embed %s: %+v", c.arguments, got)
		}
	}
	if e := f.embeds[1]; e.Dimensions != 1 || !e.Truncate || e.RequestID == "" || e.Caller != inference.DefaultCaller {
		t.Errorf("%+v", e)
	}
	for _, c := range []struct {
		arguments, want string
	}{
		{`{"query":"ab","documents":["c","de"]}`, `{"model":"rank","results":[{"index":1,"relevance_score":2,"document":"de"},{"index":0,"relevance_score":1,"document":"c"}],"tokens":2}`},
		{`{"query":"a","documents":["b"],"model":"rank","top_n":1,"truncate":true}`, `{"model":"rank","results":[{"index":0,"relevance_score":1,"document":"b"}],"tokens":1}`},
	} {
		if got := call("rerank", `,"arguments":`+c.arguments); got.IsError || got.Content[0].Text != c.want {
			t.Errorf("rerank %s: %+v", c.arguments, got)
		}
	}
	if k := f.reranks[1]; k.TopN != 1 || !k.Truncate || k.RequestID == "" || k.Caller != inference.DefaultCaller {
		t.Errorf("%+v", k)
	}
	for _, arguments := range []string{``, `,"arguments":{}`, `,"arguments":null`} {
		got := call("list_models", arguments)
		m := got.StructuredContent.Models
		if len(m) != 6 || m[4].Embeds != 2 || m[4].Reranks || !m[5].Reranks || m[0].ID != "tiny" || m[0].Progress != 1 || m[2].State != "loading" || m[2].Progress != 0.5 || m[3].Error == "" || strings.Contains(got.Content[0].Text, "secret") {
			t.Errorf("list_models: %+v", got)
		}
	}
}

// TestToolErrors: a failure is a result that names the field and tells what
// holds for it; what nobody should read stays in the log.
func TestToolErrors(t *testing.T) {
	f := saying("x")
	f.list = append(f.list, inference.ModelStatus{State: inference.ModelLoading, Info: inference.ModelInfo{ID: "late"}})
	f.script = func(prompt string) ([]inference.Event, error) {
		switch prompt {
		case "long":
			return nil, &inference.OverflowError{Prompt: 3000, Context: 2048}
		case "busy":
			return nil, &inference.RetryError{Err: inference.ErrBusy}
		case "secret":
			return nil, errors.New("open /secret/file")
		case "panic":
			panic("the prompt was: panic")
		case "odd":
			return []inference.Event{{Kind: inference.EventFinish, Finish: "odd"}}, nil
		}
		return tokens("x"), nil
	}
	var log bytes.Buffer
	p := connect(t, serve(t, newServer(t, f, func(c *Config) { c.Log = zerolog.New(&log) })), modern)
	for _, c := range []struct{ tool, arguments, says string }{
		{"chat", `{}`, "prompt: is required"},
		{"chat", `{"prompt":""}`, "prompt: must have at least 1 characters"},
		{"chat", `{"prompt":"a","messages":[{"role":"user","content":"b"}]}`, "prompt: cannot stand beside messages"},
		{"chat", `{"system":"a","messages":[{"role":"user","content":"b"}]}`, "system: cannot stand beside messages"},
		{"chat", `{"messages":[]}`, "messages: must have at least 1 items"},
		{"chat", `{"messages":[{"role":"user","content":"b"},{"role":"robot","content":"b"}]}`, "messages[1].role: must be one of system, user, assistant, got robot"},
		{"chat", `{"messages":[{"role":"user"}]}`, "messages[0].content: is required"},
		{"chat", `{"messages":[{"role":"user","content":"b","Role":"system"}]}`, "messages[0].Role: is not an argument"},
		{"chat", `{"prompt":7}`, "prompt: must be of type string, got number"},
		{"chat", `{"Prompt":"a"}`, "Prompt: is not an argument"},
		{"chat", `{"prompt":"a","temperature":3}`, "temperature: must be at most 2, got 3"},
		{"chat", `{"prompt":"a","max_tokens":0}`, "max_tokens: must be at least 1, got 0"},
		{"chat", `{"prompt":"a","max_tokens":1.5}`, "max_tokens: must be of type integer"},
		{"chat", `{"prompt":"a","seed":4294967296}`, "seed: must be at most 4294967295"},
		{"chat", `{"prompt":"a","stop":["` + strings.Repeat("x", 600) + `"]}`, "stop[0]: must have at most 512 characters, got 600"},
		{"chat", `{"prompt":"a","json_schema":"x"}`, "json_schema: must be of type object"},
		{"chat", `[]`, "must be a JSON object"},
		{"chat", `{"prompt":"a","model":"none"}`, `no model "none" is served here; there is: tiny`},
		{"chat", `{"prompt":"a","model":"late"}`, "model is loading"},
		{"chat", `{"prompt":"long"}`, "the prompt has 3000 tokens"},
		{"chat", `{"prompt":"busy"}`, "queue is full"},
		{"chat", `{"prompt":"secret"}`, "internal error"},
		{"chat", `{"prompt":"panic"}`, "internal error"},
		{"chat", `{"prompt":"odd"}`, "internal error"},
		{"generate", `{}`, "prompt: is required"},
		{"count_tokens", `{}`, "text: give either text or messages"},
		{"count_tokens", `{"text":"a","messages":[{"role":"user","content":"b"}]}`, "text: give either text or messages"},
		{"list_models", `{"all":true}`, "all: is not an argument"},
		{"rerank", `{"query":"a","documents":["b"]}`, "does not rank documents"},
		{"rerank", `{"documents":["b"]}`, "query: is required"},
		{"rerank", `{"query":"a","documents":[]}`, "documents: "},
		{"rerank", `{"query":"a","documents":["b"],"top_n":0}`, "top_n: must be at least 1"},
		{"generate", `{"prompt":"x","lora":[{"scale":1}]}`, "name"},
		{"generate", `{"prompt":"x","lora":[{"name":"a","scale":17}]}`, "scale"},
		{"generate", `{"prompt":"x","lora":[{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"}]}`, "lora"},
		{"embed", `{"input":["a"]}`, "makes no embeddings"},
		{"embed", `{"input":"a"}`, "input: must be of type array, got string"},
		{"embed", `{"input":["a"],"dimensions":0}`, "dimensions: must be at least 1"},
	} {
		_, r := p.call("1", "tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, c.tool, c.arguments), "")
		got := r.tool(t)
		if !got.IsError || !strings.Contains(got.Content[0].Text, c.says) || strings.Contains(got.Content[0].Text, "/secret") {
			t.Errorf("%s %s: %+v, want an error with %q", c.tool, c.arguments, got, c.says)
		}
	}
	if l := log.String(); !strings.Contains(l, "/secret/file") || !strings.Contains(l, "breaks its own schema") || !strings.Contains(l, `"outcome":"context_length_exceeded"`) {
		t.Errorf("the log tells too little: %s", l)
	}
}

// TestLogHoldsNoText: neither prompt nor answer is logged.
func TestLogHoldsNoText(t *testing.T) {
	var log bytes.Buffer
	p := connect(t, serve(t, newServer(t, saying("the answer"), func(c *Config) { c.Log = zerolog.New(&log).Level(zerolog.TraceLevel) })), legacy)
	p.call("1", "tools/call", `"name":"chat","arguments":{"prompt":"the question"}`, `"progressToken":1`)
	p.call("2", "tools/call", `"name":"chat","arguments":{"prompt":"the question","temperature":"the question"}`, "")
	if l := log.String(); strings.Contains(l, "the answer") || strings.Contains(l, "the question") || !strings.Contains(l, `"completion_tokens":1`) || !strings.Contains(l, `"request_id"`) {
		t.Errorf("log: %s", l)
	}
}

func TestNewRefuses(t *testing.T) {
	r := newRouter(t, router.DefaultConfig(), nil)
	for name, c := range map[string]Config{
		"Models":       {Router: r, Version: "1"},
		"Router":       {Models: saying(), Version: "1"},
		"Version":      {Models: saying(), Router: r},
		"MaxBodyBytes": {Models: saying(), Router: r, Version: "1", MaxBodyBytes: -1},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]ToolsConfig{"Models": {}, "CallTimeout": {Models: saying(), CallTimeout: -1}} {
		if _, err := NewTools(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
