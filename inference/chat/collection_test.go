package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/llama"
	"hearth/internal/testkit"
)

// vocabulary joins a real vocabulary and a chat template.
type vocabulary struct {
	*llama.Model
	*llama.Templates
}

func (v vocabulary) NewParser(out []byte, calls bool) (Parser, error) {
	return v.Templates.NewParser(out, calls)
}

// collection calls visit with a model for each template of llama.cpp's
// collection. Answers are scripted: e says what the model writes.
func collection(t *testing.T, visit func(t *testing.T, m *Model, e *fakeEngine)) {
	t.Helper()
	if err := llama.Init(testkit.LibDir(t), nil); err != nil {
		t.Fatal(err)
	}
	lm, err := llama.Load(testkit.Model(t), llama.ModelOptions{Mmap: true, VocabOnly: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lm.Close()
	files, err := filepath.Glob(filepath.Join(testkit.Templates(t), "*.jinja"))
	if err != nil || len(files) < 60 {
		t.Fatalf("found %d templates, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".jinja"), func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			templates, err := lm.Templates(string(source))
			if err != nil {
				t.Fatal(err)
			}
			defer templates.Close()
			e := &fakeEngine{}
			info := inference.ModelInfo{ID: "scripted", Context: 1 << 20, Vocabulary: lm.Info().Vocabulary, ChatTemplate: true}
			m, err := newModel(Config{Info: info, BareCalls: true}, vocabulary{lm, templates}, e.submit)
			if err != nil {
				t.Fatal(err)
			}
			visit(t, m, e)
		})
	}
}

func user(text string) inference.Message {
	return inference.Message{Role: inference.RoleUser, Content: text}
}

func assistant(text string, calls ...inference.ToolCall) inference.Message {
	return inference.Message{Role: inference.RoleAssistant, Content: text, ToolCalls: calls}
}

func system(text string) inference.Message {
	return inference.Message{Role: inference.RoleSystem, Content: text}
}

func toolResult(id, name, text string) inference.Message {
	return inference.Message{Role: inference.RoleTool, ToolCallID: id, Name: name, Content: text}
}

var (
	weatherCall = inference.ToolCall{ID: "abcdefgh1", Name: "weather", Arguments: `{"city":"Bonn"}`}
	timeCall    = inference.ToolCall{ID: "abcdefgh2", Name: "time", Arguments: `{"zone":"CET"}`}
)

func twoTools() []inference.Tool {
	return []inference.Tool{weather(), {
		Name: "time", Description: "Time of a zone",
		Parameters: json.RawMessage(`{"type":"object","properties":{"zone":{"type":"string"}},"required":["zone"]}`),
	}}
}

// refusals are the conversations that some templates have no place for, with the
// reason and the templates.
var refusals = map[string]struct {
	why string
	by  []string
}{
	"assistant first": {"a conversation begins with the user", []string{
		"Mistral-Small-3.2-24B-Instruct-2506", "google-gemma-2-2b-it", "mistralai-Ministral-3-14B-Reasoning-2512", "mistralai-Mistral-Nemo-Instruct-2407",
	}},
	"two users": {"the roles alternate", []string{
		"Mistral-Small-3.2-24B-Instruct-2506", "google-gemma-2-2b-it", "mistralai-Ministral-3-14B-Reasoning-2512", "mistralai-Mistral-Nemo-Instruct-2407",
	}},
	"late system": {"a system message comes first", append([]string{"Mistral-Small-3.2-24B-Instruct-2506", "google-gemma-2-2b-it"}, systemFirst...)},
	"last system": {"a system message comes first", systemFirst},
	"lone result": {"a result follows its call", []string{
		"Apertus-8B-Instruct", "MiniMax-M2", "MiniMax-M3", "google-gemma-2-2b-it", "google-gemma-4-31B-it", "openai-gpt-oss-120b",
	}},
}

var systemFirst = []string{
	"Apertus-8B-Instruct", "Bielik-11B-v3.0-Instruct", "HuggingFaceTB-SmolLM3-3B", "MiniMax-M1", "MiniMax-M2", "MiniMax-M3",
	"NVIDIA-Nemotron-Nano-v2", "Qwen3.5-4B", "Reka-Edge", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
	"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "llama-cpp-deepseek-r1", "llama-cpp-rwkv-world",
	"mistralai-Ministral-3-14B-Reasoning-2512", "mistralai-Mistral-Nemo-Instruct-2407", "openai-gpt-oss-120b",
}

// oneCallEach are the templates with a place for one call in a message.
var oneCallEach = []string{
	"GigaChat3-10B-A1.8B", "GigaChat3.1-10B-A1.8B", "meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.2-3B-Instruct",
	"meta-llama-Llama-3.3-70B-Instruct", "openai-gpt-oss-120b",
}

// Whatever a conversation looks like, a template shows all of it, or the refusal
// says which message it is about.
func TestCollectionRendersOrRefuses(t *testing.T) {
	conversations := map[string][]inference.Message{
		"user":            {user("Alpha")},
		"system":          {system("Beta"), user("Alpha")},
		"turns":           {system("Beta"), user("Alpha"), assistant("Gamma"), user("Delta")},
		"late system":     {user("Alpha"), assistant("Gamma"), system("Beta"), user("Delta")},
		"last system":     {user("Alpha"), system("Beta")},
		"two systems":     {system("Beta"), system("Epsilon"), user("Alpha")},
		"two users":       {user("Alpha"), user("Delta")},
		"assistant first": {assistant("Gamma"), user("Alpha")},
		"empty user":      {user("")},
		"empty answer":    {user("Alpha"), assistant(""), user("Delta")},
		"empty system":    {system(""), user("Alpha")},
		"result":          {user("Alpha"), assistant("", weatherCall), toolResult("abcdefgh1", "weather", "Rain"), assistant("Gamma"), user("Delta")},
		"results":         {user("Alpha"), assistant("", weatherCall, timeCall), toolResult("abcdefgh1", "weather", "Rain"), toolResult("abcdefgh2", "time", "Noon")},
		"empty result":    {user("Alpha"), assistant("", weatherCall), toolResult("abcdefgh1", "weather", "")},
		"lone result":     {user("Alpha"), toolResult("abcdefgh1", "weather", "Rain")},
		"reasoning":       {user("Alpha"), {Role: inference.RoleAssistant, Content: "Gamma", Reasoning: "Hm"}, user("Delta")},
	}
	collection(t, func(t *testing.T, m *Model, _ *fakeEngine) {
		template := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
		blamesTools(t, m, template)
		for name, messages := range conversations {
			for _, tools := range [][]inference.Tool{nil, twoTools()} {
				p, err := m.prepare(ask(func(r *inference.ChatRequest) { r.Messages, r.Tools, r.ParallelToolCalls = messages, tools, true }))
				if listed := slices.Contains(refusals[name].by, template); listed != (err != nil) {
					t.Errorf("%s, %d tools: got %v, it is listed: %v", name, len(tools), err, listed)
				}
				if err != nil {
					var inv *inference.InvalidError
					if !errors.As(err, &inv) || !strings.HasPrefix(inv.Field, "messages[") {
						t.Errorf("%s, %d tools: the refusal does not say which message: %v", name, len(tools), err)
					}
					continue
				}
				for i, msg := range messages {
					if !strings.Contains(p.prompt.text, msg.Content) {
						t.Errorf("%s, %d tools: message %d (%q) is missing in %q", name, len(tools), i, msg.Content, p.prompt.text)
					}
					for _, c := range msg.ToolCalls {
						if !strings.Contains(p.prompt.text, c.Name) {
							t.Errorf("%s, %d tools: the call of %s is missing in %q", name, len(tools), c.Name, p.prompt.text)
						}
					}
				}
				if name == "results" {
					inOrder(t, p.prompt.text, "Bonn", "Rain", "Noon")
					if split := slices.Contains(oneCallEach, template); split != m.losses.split {
						t.Errorf("calls get messages of their own: %v", m.losses.split)
					} else if split {
						inOrder(t, p.prompt.text, "Rain", "CET", "Noon")
					}
				}
				for i := range tools {
					if !strings.Contains(p.prompt.text, tools[i].Name) {
						t.Errorf("%s: the tool %s is missing in %q", name, tools[i].Name, p.prompt.text)
					}
				}
			}
		}
	})
}

// blamesTools checks that a template which fails on a tool does not blame a message.
func blamesTools(t *testing.T, m *Model, template string) {
	t.Helper()
	_, err := m.prepare(ask(func(r *inference.ChatRequest) {
		r.Messages = []inference.Message{system("Beta"), user("Alpha")}
		r.Tools = []inference.Tool{{Name: "odd", Parameters: json.RawMessage(`{"type":"object","properties":{"mode":{"enum":["a","b"]}}}`)}}
	}))
	var inv *inference.InvalidError
	switch {
	case template != "ByteDance-Seed-OSS" && err != nil:
		t.Errorf("a property without a type: %v", err)
	case template == "ByteDance-Seed-OSS" && (!errors.As(err, &inv) || inv.Field != "tools"):
		t.Errorf("the template cannot show a property without a type: %v", err)
	}
}

// inOrder checks that the last places of words come one after the other.
func inOrder(t *testing.T, text string, words ...string) {
	t.Helper()
	at := -1
	for _, w := range words {
		i := strings.LastIndex(text, w)
		if i <= at {
			t.Errorf("%q is out of order in %q", w, text)
		}
		at = i
	}
}

// A template with one call in each message gets each with its own result.
func TestSplitCalls(t *testing.T) {
	call := func(id string) inference.ToolCall { return inference.ToolCall{ID: id, Name: "f" + id} }
	first := assistant("Gamma", call("1"))
	first.Reasoning = "Hm"
	both := assistant("Gamma", call("1"), call("2"))
	both.Reasoning = "Hm"
	for name, c := range map[string]struct{ in, want []inference.Message }{
		"in order": {
			[]inference.Message{user("A"), both, toolResult("1", "", "R1"), toolResult("2", "", "R2"), user("B")},
			[]inference.Message{user("A"), first, toolResult("1", "", "R1"), assistant("", call("2")), toolResult("2", "", "R2"), user("B")},
		},
		"out of order": {
			[]inference.Message{both, toolResult("2", "", "R2"), toolResult("1", "", "R1")},
			[]inference.Message{first, toolResult("1", "", "R1"), assistant("", call("2")), toolResult("2", "", "R2")},
		},
		"of no call": {
			[]inference.Message{both, toolResult("3", "", "R3"), toolResult("1", "", "R1"), toolResult("", "", "R4")},
			[]inference.Message{first, toolResult("1", "", "R1"), assistant("", call("2")), toolResult("3", "", "R3"), toolResult("", "", "R4")},
		},
		"no results": {[]inference.Message{both}, []inference.Message{first, assistant("", call("2"))}},
		"one call":   {[]inference.Message{first, toolResult("2", "", "R")}, []inference.Message{first, toolResult("2", "", "R")}},
	} {
		if got := splitCalls(c.in); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// Reasoning is kept apart, whole and in pieces, where a template marks it, but for
// the templates whose parser reads none in a chat without tools.
func TestCollectionKeepsReasoningApart(t *testing.T) {
	marked := 0
	collection(t, func(t *testing.T, m *Model, e *fakeEngine) {
		name := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
		fr := frames[name]
		request := ask(func(r *inference.ChatRequest) { r.TemplateArgs = fr.args })
		p, err := m.prepare(request)
		if err != nil {
			t.Fatal(err)
		}
		thought := fr.thought
		if th := p.thinking; th != nil {
			if thought = "Hm, hm." + th.Ends[0]; !th.Open {
				thought = th.Start + thought
			}
		}
		if thought == "" {
			return
		}
		marked++
		text := thought + strings.TrimPrefix(fr.before, fenceOpen) + "Forty-two."
		var got [2]result
		for i, parts := range [][]string{{text}, runes(text)} {
			e.events = says(inference.FinishStop, parts...)
			s, err := m.Chat(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			if got[i], err = read(t, s); err != nil {
				t.Fatal(err)
			}
			got[i].Tokens, got[i].Usage = 0, inference.Usage{}
		}
		if !reflect.DeepEqual(got[0], got[1]) {
			t.Errorf("%q is %+v, and %+v in pieces", text, got[0], got[1])
		}
		reasoning, content := strings.TrimSpace(got[0].Reasoning), strings.TrimSpace(got[0].Content)
		if noThoughts[name] != "" {
			if content != text {
				t.Errorf("%q became %+v", text, got[0])
			}
		} else if !strings.HasSuffix(reasoning, "Hm, hm.") || content != "Forty-two." {
			t.Errorf("%q became %+v", text, got[0])
		}
	})
	if marked != 46 {
		t.Errorf("%d templates mark thoughts", marked)
	}
}

// 200 KB of tools are rendered in full and bound the answer, and what two
// conversations have in common stays in common.
func TestLargeToolSchemas(t *testing.T) {
	var tools []inference.Tool
	total := 0
	for i := range 100 {
		params := json.RawMessage(fmt.Sprintf(`{"type":"object","properties":{"p%d":{"type":"string","description":"%s"},"mode":{"enum":["a","b"]}},"required":["mode"]}`, i, strings.Repeat("many words ", 180)))
		total += len(params)
		tools = append(tools, inference.Tool{Name: fmt.Sprintf("tool_%d", i), Parameters: params})
	}
	if total < 200<<10 {
		t.Fatalf("only %d bytes", total)
	}
	// One of each form of calls.
	large := []string{
		"CohereForAI-c4ai-command-r7b-12-2024-tool_use", "GLM-4.6", "Kimi-K2-Thinking", "MiniMax-M2", "Qwen-Qwen2.5-7B-Instruct", "Qwen3-Coder",
		"deepseek-ai-DeepSeek-V3.1", "google-gemma-2-2b-it", "google-gemma-4-31B-it", "meetkai-functionary-medium-v3.2",
		"meta-llama-Llama-3.1-8B-Instruct", "mistralai-Ministral-3-14B-Reasoning-2512", "openai-gpt-oss-120b",
	}
	seen := 0
	collection(t, func(t *testing.T, m *Model, _ *fakeEngine) {
		name := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
		if !slices.Contains(large, name) {
			return
		}
		seen++
		for _, mode := range []inference.ToolMode{inference.ToolAuto, inference.ToolRequired} {
			prompt := func(text string) string {
				p, err := m.prepare(ask(func(r *inference.ChatRequest) {
					r.Messages, r.Tools, r.ToolChoice.Mode = []inference.Message{system("Be brief."), user(text)}, tools, mode
					if m.losses.system || strings.HasPrefix(name, "google") {
						r.Messages = r.Messages[1:]
					}
				}))
				if err != nil {
					t.Fatal(err)
				}
				if p.grammar == nil && mode == inference.ToolRequired || p.grammar != nil && len(p.grammar.GBNF) > maxGrammarBytes {
					t.Errorf("%s: there is no grammar, or a large one", mode)
				}
				return p.prompt.text
			}
			a, b := prompt("Alpha"), prompt("Beta")
			common := 0
			for common < len(a) && common < len(b) && a[common] == b[common] {
				common++
			}
			if len(a) < 200<<10 || common < 200<<10 && !strings.HasPrefix(name, "meta-llama") {
				t.Errorf("%s: prompts of %d bytes, %d in common", mode, len(a), common)
			}
		}
	})
	if seen != len(large) {
		t.Errorf("%d of %d templates were found", seen, len(large))
	}
}
