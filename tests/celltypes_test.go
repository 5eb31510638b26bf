package tests

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"hearth/internal/testkit"
)

// TestCellTypes serves with every type of cells, said by flag, for the engine
// and for the model: llama.cpp makes such cells, in less memory, they answer, and
// prefixes of them are shared.
func TestCellTypes(t *testing.T) {
	hideGPUs(t)
	file := testkit.Model(t)
	own := func(engine, model string) string {
		return fmt.Sprintf("engine: {kv_type: %s}\nmodels: [{id: mine, path: %q, kv_type: %s}]\n", engine, file, model)
	}
	mebibytes := map[string]float64{}
	for _, c := range []struct {
		name   string
		flags  []string
		config string
		want   string
	}{
		{"nothing said", nil, "", "f16"},
		{"q8_0 for the engine", nil, "engine: {kv_type: q8_0}\n", "q8_0"},
		{"q4_0 for the model", []string{"--model", "mine"}, own("q8_0", "q4_0"), "q4_0"},
		{"q8_0 by flag over both", []string{"--model", "mine", "--kv-type", "q8_0"}, own("f16", "q4_0"), "q8_0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"--context", "512", "--sequences", "2", "--log-level", "debug"}, c.flags...)
			if c.config != "" {
				args = append(args, "--config", writeConfig(t, c.config))
			}
			hearth := startHearth(t, args...)
			made := regexp.MustCompile(`K \((\w+)\): +[\d.]+ MiB, V \((\w+)\)`).FindAllStringSubmatch(hearth.output.String(), -1)
			if len(made) == 0 || made[len(made)-1][1] != c.want || made[len(made)-1][2] != c.want {
				t.Errorf("the cells are %q, want %s", made, c.want)
			}
			sizes := regexp.MustCompile(`KV buffer size = +([\d.]+) MiB`).FindAllStringSubmatch(hearth.output.String(), -1)
			if len(sizes) == 0 {
				t.Fatalf("the log does not tell the size of the cells\n%s", hearth.output.tail())
			}
			size, err := strconv.ParseFloat(sizes[len(sizes)-1][1], 64)
			if err != nil {
				t.Fatal(err)
			}
			mebibytes[c.want] = size
			first, second := hearth.remember(), hearth.remember()
			if len(first.text) < 10 || len(second.text) < 10 {
				t.Errorf("the prompt is continued by %q, then %q", first.text, second.text)
			}
			if first.cached != 0 || second.cached != second.prompt-1 {
				t.Errorf("%d, then %d of %d prompt tokens were shared; want none, then all but one", first.cached, second.cached, second.prompt)
			}
			if text := hearth.capital(); !strings.Contains(text, "Paris") {
				t.Errorf("the capital of France is%s", text)
			}
		})
	}
	// a block of 32 numbers takes 64, 34 and 18 bytes
	if f16, q8, q4 := mebibytes["f16"], mebibytes["q8_0"], mebibytes["q4_0"]; q8 > f16*0.54 || q4 > f16*0.29 || q4 == 0 {
		t.Errorf("the cells take %v MiB", mebibytes)
	}
}

type remembered struct {
	text           string
	prompt, cached int
}

// remember continues a prompt that is long enough to be shared.
func (p *process) remember() remembered {
	p.t.Helper()
	var answer struct {
		Choices []struct{ Text string }
		Usage   struct {
			Prompt  int `json:"prompt_tokens"`
			Details struct {
				Cached int `json:"cached_tokens"`
			} `json:"prompt_tokens_details"`
		}
	}
	prompt := strings.Repeat("The house by the river is old. ", 6) + "Once upon a time"
	p.post("/v1/completions", map[string]any{"prompt": prompt, "max_tokens": 12, "temperature": 0}, &answer)
	if len(answer.Choices) != 1 {
		p.t.Fatalf("the answer is %+v", answer)
	}
	return remembered{answer.Choices[0].Text, answer.Usage.Prompt, answer.Usage.Details.Cached}
}

// TestRefusalsNameWhatIsNeeded asks a server for more than it has: what the
// request needs, what there is and what can be done are in every refusal.
func TestRefusalsNameWhatIsNeeded(t *testing.T) {
	hearth := startHearth(t, "--context", "512", "--sequences", "2", "--log-level", "error")
	long := strings.Repeat("one two three ", 300)
	const tooLong = `the prompt has \d+ tokens and the context holds 512, at least one of which must be left for the answer: shorten the prompt or serve the model with a larger context`
	const tooMuch = `the prompt has \d+ tokens and max_tokens asks for 600 more, 6\d\d in all, but the context holds 512: lower max_tokens to \d+, or shorten the prompt`
	call := func(tool, arguments string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + arguments + `}}`
	}
	for _, c := range []struct {
		name, path, body, say string
	}{
		{"prompt of a completion", "/v1/completions", `{"prompt":` + quoted(long) + `}`, tooLong},
		{"tokens of a completion", "/v1/completions", `{"prompt":[` + strings.Repeat("1,", 599) + `1]}`, `has 600 tokens and the context holds 512`},
		{"messages", "/v1/chat/completions", `{"messages":[{"role":"user","content":` + quoted(long) + `}]}`, tooLong},
		{"prompt of chat", "/mcp", call("chat", `{"prompt":`+quoted(long)+`}`), tooLong},
		{"prompt of generate", "/mcp", call("generate", `{"prompt":`+quoted(long)+`}`), tooLong},
		{"answer of a completion", "/v1/completions", `{"prompt":"x","max_tokens":600}`, tooMuch},
		{"answer of a chat", "/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}],"max_tokens":600}`, tooMuch},
		{"answer of chat", "/mcp", call("chat", `{"prompt":"x","max_tokens":600}`), tooMuch},
		{"answer of generate", "/mcp", call("generate", `{"prompt":"x","max_tokens":600}`), tooMuch},
		{"text to tokenize", "/v1/tokenize", `{"text":` + quoted(strings.Repeat("b", 2<<20)) + `}`, `the text has 2097152 bytes, and at most 1048576 can be tokenized at once: shorten it`},
	} {
		status, answer, err := knock(t.Context(), client, hearth.url+c.path, []byte(c.body))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if status == http.StatusOK && c.path != "/mcp" || !regexp.MustCompile(c.say).Match(answer) {
			t.Errorf("%s: status %d, and it does not say %q: %.500s", c.name, status, c.say, answer)
		}
	}
	hearth.stop()
	p := start(t, hearthBinary(t), "serve", "--listen", "127.0.0.1:0", "--threads", oneThread, "--model", testkit.Model(t), "--context", "16777216")
	if err := p.end(); err == nil || !regexp.MustCompile(`16777216 cells of type f16 need 360.0 GiB, 23040 bytes each, and [\d.]+ GiB of this machine's memory are free: take a context of at most \d+ cells`).MatchString(p.output.String()) {
		t.Errorf("a context without room: %v\n%s", err, p.output.tail())
	}
}
