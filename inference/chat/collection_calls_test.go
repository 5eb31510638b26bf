package chat

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"hearth/inference"
)

// turnEnds are the control tokens that end a turn with calls, where a template ends
// other turns in another way. A model writes them, and no text.
var turnEnds = map[string]string{
	"NVIDIA-Nemotron-Nano-v2":         "<SPECIAL_12>",
	"meetkai-functionary-medium-v3.1": "<|eom_id|>",
	"tencent-Hy3":                     "<｜hy_eos:opensource｜>",
	"upstage-Solar-Open-100B":         "<|calls|>",
}

// ownSyntax returns how the template writes calls in an assistant's turn.
func ownSyntax(m *Model, turnEnd string, calls ...inference.ToolCall) (string, error) {
	render := func(gen bool, messages ...inference.Message) (*applyOutput, error) {
		return m.apply(&applyInput{
			Messages: applyMessages(messages), Tools: applyTools(twoTools()), ToolChoice: inference.ToolAuto,
			ParallelToolCalls: true, AddGenerationPrompt: gen, EnableThinking: true,
		})
	}
	open, err := render(true, user("Alpha"))
	if err != nil {
		return "", err
	}
	full, err := render(false, user("Alpha"), assistant("", calls...))
	if err != nil {
		return "", err
	}
	plain, err := render(false, user("Alpha"), assistant("Gamma"))
	if err != nil {
		return "", err
	}
	before := open.Prompt
	th := open.thinking()
	if th != nil && th.Open {
		before = before[:strings.LastIndex(before, th.Start)]
	}
	n := common(full.Prompt, before)
	if gen := open.GenerationPrompt; n < len(before) && gen != "" {
		// Something stands between the conversation and the turn that is to come.
		if i := strings.LastIndex(full.Prompt, gen); i >= 0 {
			n = i + len(gen)
		}
	}
	text := full.Prompt[n:]
	if i := strings.LastIndex(plain.Prompt, "Gamma"); i >= 0 {
		text = cutTail(text, plain.Prompt[i+len("Gamma"):])
	}
	text = strings.TrimSuffix(strings.TrimRight(text, "\n"), turnEnd)
	if th != nil && th.Open {
		// The past turn shows no thought, or an empty one.
		text = strings.TrimPrefix(text, th.Start)
		if _, behind, ok := strings.Cut(text, th.Ends[0]); ok {
			text = behind
		}
		text = "Hm." + th.Ends[0] + text
	}
	return text, nil
}

func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// cutTail takes off the marks that end text as they end another turn.
func cutTail(text, tail string) string {
	n := 0
	for n < len(text) && n < len(tail) && text[len(text)-1-n] == tail[len(tail)-1-n] {
		n++
	}
	if i := strings.IndexByte(text[len(text)-n:], '<'); i >= 0 {
		return text[:len(text)-n+i]
	}
	return strings.TrimSuffix(text, tail)
}

// unread are the calls that a template does not read back as it shows past ones, by
// how many there are and by template.
var unread = map[int]map[string]struct {
	why string
	// reads is what the parser reads instead, and the grammar makes the model write.
	reads string
}{
	1: {
		"Mistral-Small-3.2-24B-Instruct-2506": {
			"the parser wants [ARGS] behind the name and again behind the id, which may be missing",
			`[TOOL_CALLS]weather[ARGS][ARGS]{"city": "Bonn"}`,
		},
		"upstage-Solar-Open-100B": {
			"the parser takes the id of its own analysis for a part of the form",
			`<|tool_calls|><|tool_call:begin|>call00001<|tool_call:name|>weather<|tool_call:args|>{"city": "Bonn"}<|tool_call:end|><|calls|>`,
		},
	},
	2: {
		"GigaChat3-10B-A1.8B":   {why: "the template shows the first call of a message only"},
		"GigaChat3.1-10B-A1.8B": {why: "the template shows the first call of a message only"},
		"MiniMax-M1": {
			"the parser wants a comma between calls",
			`<tool_calls>
{"name": "weather", "arguments": {"city": "Bonn"}},
{"name": "time", "arguments": {"zone": "CET"}}
</tool_calls>`,
		},
		"MiniMax-M2": {
			"the parser wants a comma between calls",
			`Hm.</think><minimax:tool_call>
<invoke name="weather">
<parameter name="city">Bonn</parameter>
</invoke>
, <invoke name="time">
<parameter name="zone">CET</parameter>
</invoke>
</minimax:tool_call>`,
		},
		"Mistral-Small-3.2-24B-Instruct-2506": {
			"the parser wants [ARGS] behind the name and again behind the id, which may be missing",
			`[TOOL_CALLS]weather[ARGS][ARGS]{"city": "Bonn"}[TOOL_CALLS]time[ARGS][ARGS]{"zone": "CET"}`,
		},
		"meetkai-functionary-medium-v3.2": {
			"the parser has no place for the mark between calls",
			"weather\n{\"city\":\"Bonn\"}time\n{\"zone\":\"CET\"}",
		},
		"meta-llama-Llama-3.1-8B-Instruct":  {why: "the template refuses a message with two calls"},
		"meta-llama-Llama-3.2-3B-Instruct":  {why: "the template refuses a message with two calls"},
		"meta-llama-Llama-3.3-70B-Instruct": {why: "the template refuses a message with two calls"},
		"openai-gpt-oss-120b":               {why: "a call ends the turn, and the template shows the first of a message only"},
		"upstage-Solar-Open-100B": {
			"the parser takes the id of its own analysis for a part of the form",
			`<|tool_calls|><|tool_call:begin|>call00001<|tool_call:name|>weather<|tool_call:args|>{"city": "Bonn"}<|tool_call:end|>` +
				`<|tool_call:begin|>call00001<|tool_call:name|>time<|tool_call:args|>{"zone": "CET"}<|tool_call:end|><|calls|>`,
		},
	},
}

// answers returns what a client gets of an answer, which must not depend on how it
// came.
func answers(t *testing.T, m *Model, e *fakeEngine, text string) result {
	t.Helper()
	var got [2]result
	for i, parts := range [][]string{{text}, runes(text)} {
		e.events = says(inference.FinishStop, parts...)
		s, err := m.Chat(t.Context(), ask(func(r *inference.ChatRequest) {
			r.Messages, r.Tools, r.ParallelToolCalls = []inference.Message{user("Alpha")}, twoTools(), true
		}))
		if err != nil {
			t.Fatal(err)
		}
		if got[i], err = read(t, s); err != nil {
			t.Fatal(err)
		}
		got[i].Tokens, got[i].Usage = 0, inference.Usage{}
		for j := range got[i].Calls {
			got[i].Calls[j].ID = ""
			got[i].Calls[j].Arguments = compact(got[i].Calls[j].Arguments)
		}
	}
	if !reflect.DeepEqual(got[0], got[1]) {
		t.Errorf("%q is %+v, and %+v in pieces", text, got[0], got[1])
	}
	return got[0]
}

// What a template writes as calls is read back as those calls, whole and in
// pieces of one character.
func TestCollectionReadsItsOwnCalls(t *testing.T) {
	native := 0
	collection(t, func(t *testing.T, m *Model, e *fakeEngine) {
		if !m.nativeTools {
			return
		}
		native++
		name := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
		for _, calls := range [][]inference.ToolCall{{weatherCall}, {weatherCall, timeCall}} {
			var want []inference.ToolCall
			for _, c := range calls {
				want = append(want, inference.ToolCall{Name: c.Name, Arguments: c.Arguments})
			}
			exception, listed := unread[len(calls)][name]
			text, err := ownSyntax(m, turnEnds[name], calls...)
			if err != nil {
				if !listed {
					t.Errorf("%d calls: %v", len(calls), err)
				}
				continue
			}
			got := answers(t, m, e, text)
			switch equal := reflect.DeepEqual(got.Calls, want); {
			case equal && listed:
				t.Errorf("%d calls are read back now: it is not so that %s", len(calls), exception.why)
			case !equal && !listed:
				t.Errorf("%d calls: %q is read as %+v", len(calls), text, got)
			}
			if exception.reads != "" {
				if got := answers(t, m, e, exception.reads); !reflect.DeepEqual(got.Calls, want) {
					t.Errorf("%d calls: %q is read as %+v", len(calls), exception.reads, got)
				}
			}
		}
	})
	if native != 59 {
		t.Errorf("%d templates have a place for tools", native)
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
