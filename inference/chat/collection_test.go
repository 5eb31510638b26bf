package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
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
	refused := map[string]int{}
	collection(t, func(t *testing.T, m *Model, _ *fakeEngine) {
		for name, messages := range conversations {
			for _, tools := range [][]inference.Tool{nil, twoTools()} {
				p, err := m.prepare(ask(func(r *inference.ChatRequest) { r.Messages, r.Tools, r.ParallelToolCalls = messages, tools, true }))
				if err != nil {
					var inv *inference.InvalidError
					if !errors.As(err, &inv) || !strings.HasPrefix(inv.Field, "messages[") {
						t.Errorf("%s, %d tools: the refusal does not say which message: %v", name, len(tools), err)
					}
					refused[name]++
					t.Logf("%s, %d tools: %v", name, len(tools), err)
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
				for i := range tools {
					if !strings.Contains(p.prompt.text, tools[i].Name) {
						t.Errorf("%s: the tool %s is missing in %q", name, tools[i].Name, p.prompt.text)
					}
				}
			}
		}
	})
	for _, name := range []string{"user", "turns", "result", "results"} {
		if refused[name] > 12 {
			t.Errorf("the ordinary conversation %q was refused %d times", name, refused[name])
		}
	}
	t.Logf("refused: %v", refused)
}

// ownSyntax returns how the template writes calls in an assistant's turn.
func ownSyntax(m *Model, calls ...inference.ToolCall) (string, *applyOutput, error) {
	render := func(gen bool, messages ...inference.Message) (*applyOutput, error) {
		return m.apply(&applyInput{
			Messages: applyMessages(messages), Tools: applyTools(twoTools()), ToolChoice: inference.ToolAuto,
			ParallelToolCalls: true, AddGenerationPrompt: gen, EnableThinking: true,
		})
	}
	open, err := render(true, user("Alpha"))
	if err != nil {
		return "", nil, err
	}
	full, err := render(false, user("Alpha"), assistant("", calls...))
	if err != nil {
		return "", nil, err
	}
	plain, err := render(false, user("Alpha"), assistant("Gamma"))
	if err != nil {
		return "", nil, err
	}
	n := 0
	for n < len(full.Prompt) && n < len(open.Prompt) && full.Prompt[n] == open.Prompt[n] {
		n++
	}
	th := open.thinking()
	if th != nil && th.Open {
		n = min(n, strings.LastIndex(open.Prompt, th.Start))
	}
	text := full.Prompt[n:]
	if i := strings.LastIndex(plain.Prompt, "Gamma"); i >= 0 {
		text = strings.TrimSuffix(text, plain.Prompt[i+len("Gamma"):])
	}
	if th != nil && th.Open && n < len(open.Prompt) {
		text = "Hm." + th.Ends[0] + "\n\n" + text
	}
	return text, open, nil
}

// What a template writes as calls is read back as those calls, whole and in
// pieces of one character.
func TestCollectionReadsItsOwnCalls(t *testing.T) {
	native, readBack, both := 0, 0, 0
	collection(t, func(t *testing.T, m *Model, e *fakeEngine) {
		if !m.nativeTools {
			return
		}
		native++
		for n, calls := range [][]inference.ToolCall{{weatherCall}, {weatherCall, timeCall}} {
			text, _, err := ownSyntax(m, calls...)
			if err != nil {
				t.Logf("%d calls: %v", len(calls), err)
				continue
			}
			var whole, pieces result
			for how, parts := range map[string][]string{"whole": {text}, "by rune": runes(text)} {
				e.events = says(inference.FinishStop, parts...)
				s, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) {
					r.Messages, r.Tools, r.ParallelToolCalls = []inference.Message{user("Alpha")}, twoTools(), true
				}))
				if err != nil {
					t.Fatal(err)
				}
				got, err := read(t, s)
				if err != nil {
					t.Fatal(err)
				}
				got.Tokens, got.Usage = 0, inference.Usage{}
				for i := range got.Calls {
					got.Calls[i].ID = ""
					got.Calls[i].Arguments = compact(got.Calls[i].Arguments)
				}
				if how == "whole" {
					whole = got
				} else {
					pieces = got
				}
			}
			var want []inference.ToolCall
			for _, c := range calls {
				want = append(want, inference.ToolCall{Name: c.Name, Arguments: c.Arguments})
			}
			if reflect.DeepEqual(whole.Calls, want) {
				if !reflect.DeepEqual(pieces, whole) {
					t.Errorf("%q is %+v, and %+v in pieces", text, whole, pieces)
				}
				if n == 0 {
					readBack++
				} else {
					both++
				}
			} else {
				t.Logf("%d calls: %q is read as %+v", len(calls), text, whole)
			}
		}
	})
	t.Logf("%d templates with tools, %d read one call back, %d two", native, readBack, both)
	// The others write a past call in another way than their models write a new
	// one, so that a text made of their history says nothing.
	if native < 55 || readBack < 50 || both < 40 {
		t.Errorf("of %d templates with tools only %d read their own call back, %d two of them", native, readBack, both)
	}
}

func compact(doc string) string {
	var v any
	if json.Unmarshal([]byte(doc), &v) != nil {
		return doc
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(text)
}

// Reasoning is kept apart, whole and in pieces, where a template marks it and its
// parser reads it in a chat without tools.
func TestCollectionKeepsReasoningApart(t *testing.T) {
	apart := 0
	collection(t, func(t *testing.T, m *Model, e *fakeEngine) {
		p, err := m.prepare(ask(nil))
		if err != nil || p.thinking == nil {
			return
		}
		text := "Hm, hm." + p.thinking.Ends[0] + "Forty-two."
		if !p.thinking.Open {
			text = p.thinking.Start + text
		}
		answer := func(parts ...string) result {
			e.events = says(inference.FinishStop, parts...)
			s, err := m.Chat(t.Context(), ask(nil))
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(t, s)
			if err != nil {
				t.Fatal(err)
			}
			got.Tokens, got.Usage = 0, inference.Usage{}
			return got
		}
		whole := answer(text)
		if !strings.HasSuffix(strings.TrimSpace(whole.Reasoning), "Hm, hm.") || strings.TrimSpace(whole.Content) != "Forty-two." {
			if whole.Content != text {
				t.Errorf("%q became %+v", text, whole)
			}
			t.Logf("%q is content", text)
			return
		}
		apart++
		if pieces := answer(runes(text)...); !reflect.DeepEqual(pieces, whole) {
			t.Errorf("%q is %+v, and %+v in pieces", text, whole, pieces)
		}
	})
	t.Logf("%d templates keep reasoning apart", apart)
	if apart < 20 {
		t.Errorf("only %d templates keep reasoning apart", apart)
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
	seen := 0
	collection(t, func(t *testing.T, m *Model, _ *fakeEngine) {
		name := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
		if name != "Qwen-Qwen2.5-7B-Instruct" && name != "google-gemma-2-2b-it" && name != "meta-llama-Llama-3.1-8B-Instruct" && name != "Qwen3-Coder" {
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
	if seen != 4 {
		t.Errorf("%d of 4 templates were found", seen)
	}
}
