package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/internal/testkit"
)

// applied is the output of Apply.
type applied struct {
	Prompt      string `json:"prompt"`
	Grammar     string `json:"grammar"`
	GrammarLazy bool   `json:"grammar_lazy"`
	Triggers    []struct {
		Type  int    `json:"type"`
		Value string `json:"value"`
		Token int32  `json:"token"`
	} `json:"triggers"`
	Preserved        []int32  `json:"preserved_tokens"`
	Stops            []string `json:"stops"`
	GenerationPrompt string   `json:"generation_prompt"`
	SupportsThinking bool     `json:"supports_thinking"`
	Parser           string   `json:"parser"`
}

func (a *applied) grammar() *inference.Grammar {
	if a.Grammar == "" {
		return nil
	}
	g := &inference.Grammar{GBNF: a.Grammar, Lazy: a.GrammarLazy, Prefill: a.GenerationPrompt}
	for _, t := range a.Triggers {
		g.Triggers = append(g.Triggers, inference.Trigger{Kind: inference.TriggerKind(t.Type), Value: t.Value, Token: t.Token})
	}
	return g
}

type parsed struct {
	Content   string `json:"content"`
	Reasoning string `json:"reasoning_content"`
	ToolCalls []struct {
		ID, Name, Arguments string
	} `json:"tool_calls"`
}

const weatherTool = `{"type":"function","function":{"name":"get_weather","description":"Tells the weather","parameters":
	{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}`

func newTemplates(t testing.TB, m *Model, override string) *Templates {
	t.Helper()
	ts, err := m.Templates(override)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, ts.Close()) })
	return ts
}

func apply(t testing.TB, ts *Templates, input string) (applied, []byte) {
	t.Helper()
	out, err := ts.Apply([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	var a applied
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatal(err)
	}
	return a, out
}

func parse(t testing.TB, ts *Templates, out []byte, tools bool, answer string, partial bool) (parsed, error) {
	t.Helper()
	p, err := ts.NewParser(out, tools)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(t, p.Close()) }()
	text, err := p.Parse(answer, partial)
	if err != nil {
		return parsed{}, err
	}
	var got parsed
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	return got, nil
}

func readTemplate(t testing.TB, name string) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(testkit.Templates(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

func TestModelTemplate(t *testing.T) {
	m := sharedModel(t)
	ts := newTemplates(t, m, "")
	if caps := ts.Caps(); caps["supports_tools"] || !caps["supports_system_role"] || caps["supports_thinking"] {
		t.Errorf("caps are %v", caps)
	}
	ts.Caps()["supports_tools"] = true
	if ts.Caps()["supports_tools"] {
		t.Error("the caller can change the caps")
	}
	a, out := apply(t, ts, `{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Grüße & <b>"}],"add_generation_prompt":true}`)
	want := "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nGrüße & <b><|im_end|>\n<|im_start|>assistant\n"
	if a.Prompt != want || a.Grammar != "" || len(a.Triggers) != 0 {
		t.Errorf("applied: %+v", a)
	}
	got, err := parse(t, ts, out, true, "Hello there", false)
	if err != nil || got.Content != "Hello there" || got.Reasoning != "" || len(got.ToolCalls) != 0 {
		t.Errorf("parsed: %+v, %v", got, err)
	}
}

func TestTemplateWithSchemaConstrains(t *testing.T) {
	m := sharedModel(t)
	ts := newTemplates(t, m, "")
	a, out := apply(t, ts, `{"messages":[{"role":"user","content":"Yes or no?"}],"json_schema":{"type":"object","properties":{"answer":{"enum":["yes","no"]}},"required":["answer"],"additionalProperties":false}}`)
	if a.Grammar == "" || a.GrammarLazy {
		t.Fatalf("applied: %+v", a)
	}
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1, Unified: true})
	spec := greedySpec()
	spec.Grammar = a.grammar()
	answer := text(m, complete(t, c, 0, tokenize(t, m, a.Prompt), 60, spec))
	got, err := parse(t, ts, out, false, answer, false)
	var v struct{ Answer string }
	if err != nil || json.Unmarshal([]byte(got.Content), &v) != nil || v.Answer != "yes" && v.Answer != "no" {
		t.Errorf("%q parsed as %+v, %v", answer, got, err)
	}
}

// Once the model has begun a call, the grammar makes it write one that the parser
// reads. The beginning is scripted: the small model would not call by itself.
func TestRequiredToolIsCalled(t *testing.T) {
	m := sharedModel(t)
	for name, begin := range map[string]string{
		"Qwen-Qwen2.5-7B-Instruct.jinja":                      "<tool_call>",
		"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja": "<tool_call>",
		"meta-llama-Llama-3.1-8B-Instruct.jinja":              "{\"name\": \"get_weather\",",
	} {
		t.Run(name, func(t *testing.T) {
			ts := newTemplates(t, m, readTemplate(t, name))
			a, out := apply(t, ts, `{"messages":[{"role":"user","content":"How is the weather in Paris?"}],"tools":[`+weatherTool+`],"tool_choice":"required"}`)
			if !strings.Contains(a.Prompt, "get_weather") || a.Grammar == "" || a.GrammarLazy {
				t.Fatalf("applied: %+v", a)
			}
			c := newContext(t, m, ContextOptions{Cells: 1024, Sequences: 1, Unified: true})
			spec := greedySpec()
			spec.Grammar = a.grammar()
			s := newSampler(t, m, spec, false)
			ids, err := m.Tokenize(begin, inference.TokenizeOptions{ParseSpecial: true})
			must(t, err)
			for _, id := range ids {
				must(t, s.Accept(id))
			}
			tokens := tokenize(t, m, a.Prompt+begin)
			index := prompt(t, c, 0, 0, tokens)
			answer := begin + text(m, generate(t, c, s, 0, int32(len(tokens)), index, 100))
			got, err := parse(t, ts, out, true, answer, false)
			// some templates' grammars let a second call through though one was asked for
			if err != nil || len(got.ToolCalls) == 0 || got.ToolCalls[0].Name != "get_weather" {
				t.Fatalf("%q parsed as %+v, %v", answer, got, err)
			}
			var args struct{ City *string }
			if json.Unmarshal([]byte(got.ToolCalls[0].Arguments), &args) != nil || args.City == nil {
				t.Errorf("the arguments are %q", got.ToolCalls[0].Arguments)
			}
		})
	}
}

func TestToolCallsParsePartially(t *testing.T) {
	m := sharedModel(t)
	ts := newTemplates(t, m, readTemplate(t, "Qwen-Qwen2.5-7B-Instruct.jinja"))
	if caps := ts.Caps(); !caps["supports_tools"] || !caps["supports_tool_calls"] {
		t.Errorf("caps are %v", caps)
	}
	a, out := apply(t, ts, `{"messages":[{"role":"user","content":"Weather?"}],"tools":[`+weatherTool+`],"tool_choice":"auto"}`)
	if !a.GrammarLazy || len(a.Triggers) == 0 {
		t.Fatalf("applied: %+v", a)
	}
	answer := "Let me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>"
	var before parsed
	for i := range len(answer) + 1 {
		got, err := parse(t, ts, out, true, answer[:i], true)
		if err != nil {
			t.Fatalf("%q: %v", answer[:i], err)
		}
		if !strings.HasPrefix(got.Content, before.Content) || len(got.ToolCalls) < len(before.ToolCalls) {
			t.Errorf("after %q: %+v, before: %+v", answer[:i], got, before)
		}
		before = got
	}
	got, err := parse(t, ts, out, true, answer, false)
	if err != nil || strings.TrimSpace(got.Content) != "Let me see." || len(got.ToolCalls) != 1 || got.ToolCalls[0].Name != "get_weather" || !strings.Contains(got.ToolCalls[0].Arguments, "Paris") {
		t.Errorf("parsed: %+v, %v", got, err)
	}
	// a call of nothing we know is for the caller to show as text
	for _, odd := range []string{"<tool_call>\nnot json", "<tool_call>\n{\"name\": \"rm\"}\n</tool_call>", strings.Repeat("<tool_call>", 50)} {
		if got, err := parse(t, ts, out, true, odd, false); err != nil && !errors.Is(err, ErrUnparsed) {
			t.Errorf("%q: %v", odd, err)
		} else if err == nil && len(got.ToolCalls) == 0 && got.Content == "" {
			t.Errorf("%q was lost: %+v", odd, got)
		}
	}
	// nothing that a model may write overflows a stack
	for _, run := range []string{"[", "{", "[{", "{\"a\":", "\"", "\\", "(", "<", "x", "\n", " ", "<tool_call>", "</tool_call>", "é", "\xff"} {
		for _, n := range []int{200, 4_000, 300_000} {
			odd := "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": " + strings.Repeat(run, n/len(run))
			for _, text := range []string{odd, odd[11:], strings.Repeat(run, n/len(run))} {
				if _, err := parse(t, ts, out, true, text, n%3 == 0); err != nil && !errors.Is(err, ErrUnparsed) {
					t.Errorf("%d times %q: %v", n, run, err)
				}
			}
		}
	}
	if _, err := parse(t, ts, out, true, strings.Repeat("x", MaxTextBytes+1), false); !errors.Is(err, ErrUnparsed) {
		t.Errorf("too long: %v", err)
	}
}

func TestReasoningIsTold(t *testing.T) {
	m := sharedModel(t)
	ts := newTemplates(t, m, readTemplate(t, "Qwen-Qwen3-0.6B.jinja"))
	a, out := apply(t, ts, `{"messages":[{"role":"user","content":"2+2?"}],"enable_thinking":true}`)
	if !a.SupportsThinking || !ts.Caps()["supports_thinking"] {
		t.Errorf("applied: %+v, caps %v", a, ts.Caps())
	}
	got, err := parse(t, ts, out, false, "<think>\nTwo and two.\n</think>\n\nFour.", false)
	if err != nil || strings.TrimSpace(got.Reasoning) != "Two and two." || strings.TrimSpace(got.Content) != "Four." {
		t.Errorf("parsed: %+v, %v", got, err)
	}
	off, _ := apply(t, ts, `{"messages":[{"role":"user","content":"2+2?"}],"enable_thinking":false}`)
	kwarg, _ := apply(t, ts, `{"messages":[{"role":"user","content":"2+2?"}],"template_kwargs":{"enable_thinking":false}}`)
	if off.Prompt == a.Prompt || kwarg.Prompt != off.Prompt {
		t.Errorf("with: %q, without: %q, by argument: %q", a.Prompt, off.Prompt, kwarg.Prompt)
	}
}

// Every template of llama.cpp's collection renders a plain chat, and one with
// tools where it has a place for them; grammars compile, parsers read plain text.
func TestCollectionOfTemplates(t *testing.T) {
	m := sharedModel(t)
	files, err := filepath.Glob(filepath.Join(testkit.Templates(t), "*.jinja"))
	if err != nil || len(files) < 50 {
		t.Fatalf("found %d templates, %v", len(files), err)
	}
	failed := 0
	for _, file := range files {
		name := filepath.Base(file)
		ts := newTemplates(t, m, readTemplate(t, name))
		for _, input := range []string{
			`{"messages":[{"role":"user","content":"Hi there"}]}`,
			`{"messages":[{"role":"user","content":"Hi there"}],"tools":[` + weatherTool + `],"tool_choice":"auto"}`,
			`{"messages":[{"role":"user","content":"Hi there"}],"tools":[` + weatherTool + `],"tool_choice":"required","parallel_tool_calls":true}`,
		} {
			withTools := strings.Contains(input, "tools")
			if withTools && !ts.Caps()["supports_tools"] {
				continue
			}
			out, err := ts.Apply([]byte(input))
			if err != nil {
				if !errors.Is(err, inference.ErrInvalid) {
					t.Errorf("%s: %v", name, err)
				}
				t.Logf("%s: %.300v", name, err)
				failed++
				continue
			}
			var a applied
			must(t, json.Unmarshal(out, &a))
			if !strings.Contains(a.Prompt, "Hi there") || withTools && !strings.Contains(a.Prompt, "get_weather") {
				t.Errorf("%s: the prompt is %q", name, a.Prompt)
			}
			if g := a.grammar(); g != nil {
				spec := greedySpec()
				g.Prefill = ""
				spec.Grammar = g
				s, err := m.newSampler(&spec, false)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				must(t, s.Close())
			}
			if _, err := parse(t, ts, out, withTools, "Hello", true); err != nil && !errors.Is(err, ErrUnparsed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if failed > 5 {
		t.Errorf("%d renderings failed", failed)
	}
}

func TestApplyRefuses(t *testing.T) {
	m := sharedModel(t)
	plain := newTemplates(t, m, "")
	raising := newTemplates(t, m, `{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}{{ m.content }}{% endfor %}`)
	user := `{"role":"user","content":"x"}`
	for _, tc := range []struct {
		name  string
		ts    *Templates
		input string
		field string
		want  string
	}{
		{"not JSON", plain, `{`, "messages", "OpenAI's form"},
		{"no messages", plain, `{}`, "messages", ""},
		{"messages of a wrong type", plain, `{"messages":"hi"}`, "messages", ""},
		{"message without a role", plain, `{"messages":[{"content":"x"}]}`, "messages", "role"},
		{"too many messages", plain, `{"messages":[` + strings.Repeat(user+",", inference.MaxMessages) + user + `]}`, "messages", "4097"},
		{"the template refuses", raising, `{"messages":[` + user + `,{"role":"tool","content":"y","tool_call_id":"1"}]}`, "messages", "no tools here"},
		{"tool without a name", plain, `{"messages":[` + user + `],"tools":[{"type":"function","function":{}}]}`, "tools", ""},
		{"too many tools", plain, `{"messages":[` + user + `],"tools":[` + strings.Repeat(weatherTool+",", inference.MaxTools) + weatherTool + `]}`, "tools", "513"},
		{"tool with a deep schema", plain, `{"messages":[` + user + `],"tools":[{"type":"function","function":{"name":"f","parameters":` + strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100) + `}}]}`, "tools[0].function.parameters", "nested 100 deep"},
		{"choice", plain, `{"messages":[` + user + `],"tool_choice":"maybe"}`, "tool_choice", ""},
		{"schema", plain, `{"messages":[` + user + `],"json_schema":{"type":"unicorn"}}`, "", "unicorn"},
		{"deep schema", plain, `{"messages":[` + user + `],"json_schema":` + strings.Repeat(`[`, 100) + strings.Repeat("]", 100) + `}`, "response_format", "nested 100 deep"},
		{"pattern", plain, `{"messages":[` + user + `],"json_schema":{"type":"string","pattern":"x"}}`, "response_format", "anchor it"},
		{"deep message", plain, `{"messages":[{"role":"user","content":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}]}`, "messages", "deep"},
		{"deep arguments", plain, `{"messages":[` + user + `,{"role":"assistant","tool_calls":[{"type":"function","id":"1","function":{"name":"f","arguments":"` + strings.Repeat("[", 20_000) + `"}}]}]}`, "messages[1].tool_calls[0].function.arguments", "deep"},
		{"too long", plain, `{"messages":[{"role":"user","content":"` + strings.Repeat("x", maxApplyBytes) + `"}]}`, "messages", "bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := tc.ts.Apply([]byte(tc.input))
			var inv *inference.InvalidError
			if !errors.As(err, &inv) || !strings.Contains(err.Error(), tc.want) || tc.field != "" && inv.Field != tc.field {
				t.Errorf("got %.300v", err)
			}
		})
	}
}

func TestTemplatesRefuse(t *testing.T) {
	m := sharedModel(t)
	for name, source := range map[string]string{
		"broken": "{% for %}", "zero": "a\x00b", "long": strings.Repeat("x", maxTemplateBytes+1),
	} {
		if ts, err := m.Templates(source); err == nil {
			must(t, ts.Close())
			t.Errorf("%s: it was read", name)
		}
	}
	ts := newTemplates(t, m, "")
	for _, out := range []string{"", "{}", `{"parser":"{"}`, `{"parser":"{\"format\":99}"}`, `{"parser":"{\"format\":-1}"}`, `{"parser":"{\"format\":2,\"parser\":\"junk\"}"}`} {
		if p, err := ts.NewParser([]byte(out), true); err == nil {
			must(t, p.Close())
			t.Errorf("a parser was made from %q", out)
		}
	}
}

func TestApplyIsConcurrent(t *testing.T) {
	m := sharedModel(t)
	ts := newTemplates(t, m, readTemplate(t, "Qwen-Qwen2.5-7B-Instruct.jinja"))
	results := make(chan error)
	for i := range 8 {
		go func() {
			name := fmt.Sprint("User ", i)
			out, err := ts.Apply([]byte(`{"messages":[{"role":"user","content":"` + name + `"}],"tools":[` + weatherTool + `]}`))
			if err == nil && !strings.Contains(string(out), name) {
				err = errors.New("somebody else's prompt: " + string(out))
			}
			results <- err
		}()
	}
	for range 8 {
		must(t, <-results)
	}
}

// A template that refuses a conversation is quoted, without its source around it.
func TestTemplateIsQuoted(t *testing.T) {
	m := sharedModel(t)
	for name, c := range map[string]struct{ file, messages, want string }{
		"own sentence": {
			"google-gemma-2-2b-it.jinja", `[{"role":"user","content":"a"},{"role":"user","content":"b"}]`,
			"messages: the model's chat template cannot render this: Conversation roles must alternate user/assistant/user/assistant/...",
		},
		"behind another parser": {
			"openai-gpt-oss-120b.jinja", `[{"role":"user","content":"a"},{"role":"tool","content":"b","tool_call_id":"c"}]`,
			"messages: the model's chat template cannot render this: Message has tool role, but there was no previous assistant message with a tool call!",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newTemplates(t, m, readTemplate(t, c.file)).Apply([]byte(`{"messages":` + c.messages + `}`))
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
	for text, want := range map[string]string{
		"no place": "no place",
		"While executing\nError: Unknown filter x": "Unknown filter x",
		"Error: Jinja Exception: ":                 "Error: Jinja Exception: ",
	} {
		if got := templateSentence(text); got != want {
			t.Errorf("%q: got %q", text, got)
		}
	}
}
