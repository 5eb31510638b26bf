package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hearth/internal/testkit"
)

// lethal is an input that ends a process which hands it to llama.cpp as it is.
// What it has no part for is left out: a door is knocked at with each input that
// fits it. All parts are JSON.
type lethal struct {
	name   string
	model  string            // of the server of these tests; empty: the first
	text   string            // a message, a prompt, a text to tokenize or to embed
	tokens string            // a prompt, an input to embed, tokens to render
	schema string            // of the answer, and of a tool's arguments
	more   string            // members of a chat or a completion, each with a comma before it
	only   map[string]string // further bodies by the name of their door

	// refusal is what a refusal says, a regular expression. Where served is not
	// set, the input has to be refused at the doors of which harmless is false.
	refusal string
	served  bool
}

// quoted is text as JSON.
func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err) // text is a constant of this file
	}
	return string(b)
}

// nested is a schema so deep.
func nested(levels int) string {
	return strings.Repeat(`{"items":`, levels) + "{}" + strings.Repeat("}", levels)
}

// past is a conversation with a call whose arguments are so deep.
func past(levels int) string {
	return `{"messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":` +
		quoted(nested(levels)) + `}}]},{"role":"tool","tool_call_id":"1","content":"x"}]}`
}

func lethals() []lethal {
	const long = `the prompt has \d+ tokens and the context holds \d+|input\[0\]: has \d+ tokens, and this model computes at most \d+`
	groups := quoted("^" + strings.Repeat("(", 30_000) + "a" + strings.Repeat(")", 30_000) + "$")
	list := func(element string, n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + "]"
	}
	all := []lethal{
		// more than a batch, a context and a text may hold
		{name: "more tokens than a batch", text: quoted(strings.Repeat("one two three ", 30)), served: true},
		{name: "more tokens than the context", text: quoted(strings.Repeat("one two three ", 2000)), refusal: long},
		{name: "more text than the tokenizers take", text: quoted(strings.Repeat("b", 2<<20)), refusal: `at most 1048576`},

		// output rows and sequences
		{name: "more choices than sequences", text: `"x"`, more: `,"n":16`, served: true},
		{name: "more choices than there are ids", text: `"x"`, more: `,"n":257`, refusal: `n: must be between 1 and 16`},
		{name: "more inputs than sequences", only: map[string]string{"embeddings": `{"input":` + list(`"a"`, 40) + `}`}, served: true},
		{name: "more inputs than can be embedded", only: map[string]string{"embeddings": `{"input":` + list(`"a"`, 2049) + `}`}, refusal: "2048"},
		{name: "a probability for every token", text: `"x"`, more: `,"logprobs":49152,"top_logprobs":49152`, refusal: "logprobs"},

		// tokens that the vocabulary does not have
		{name: "token behind the vocabulary", tokens: `[1,49152]`, refusal: `49152.*vocabulary`},
		{name: "negative token", tokens: `[-1]`, refusal: `-1.*vocabulary`},
		{name: "token of 40 bits", tokens: `[1099511627776]`, refusal: "must be a token"},
		{name: "bias for a token behind the vocabulary", text: `"x"`, more: `,"logit_bias":{"49152":1}`, refusal: `49152.*vocabulary`},
		{name: "bias for a negative token", text: `"x"`, more: `,"logit_bias":{"-1":1}`, refusal: `vocabulary|token id`},

		// what a grammar does not allow, and the end in the middle of it
		{name: "end of the answer forced within a grammar", text: `"x"`, schema: `{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}`, more: `,"logit_bias":{"0":100,"2":100},"temperature":0`, served: true},
		{name: "token forced against a grammar", text: `"x"`, schema: `{"type":"boolean"}`, more: `,"logit_bias":{"30":100,"100":100},"temperature":0`, served: true},
		{name: "tokens of the grammar forbidden", text: `"x"`, schema: `{"const":"a"}`, more: `,"logit_bias":{"18":-100,"81":-100}`, served: true},

		// grammars, patterns and schemas that are too deep or too large
		{name: "grammar with 30,000 parentheses", text: `"x"`, more: `,"grammar":` + quoted("root ::= "+strings.Repeat("(", 30_000)+`"a"`+strings.Repeat(")", 30_000)), refusal: "grammar"},
		{name: "pattern with 30,000 groups", schema: `{"type":"string","pattern":` + groups + `}`, refusal: `nests too deeply|groups nest deeper than 100`},
		{name: "repetitions that multiply", schema: `{"type":"string","pattern":"^((a{1,2000}){1,2000}){1,2000}$"}`, refusal: `repeat count|unfold`},
		{name: "schema 20,000 deep", schema: nested(20_000), refusal: `nested deeper than \d+ levels|nested \d+ deep`},
		{name: "schema that refers to itself", schema: `{"$ref":"#"}`, refusal: `schema`},
		{name: "arguments of a call 20,000 deep", only: map[string]string{"chat": past(20_000)}, refusal: `arguments: .*max depth`},
		{name: "arguments of a call 9,000 deep", only: map[string]string{"chat": past(9_000)}, refusal: long},

		// texts
		{name: "half of a character", text: "\"\xff\xfe\"", refusal: "not valid UTF-8"},
		{name: "a zero byte", text: `"a\u0000b"`, served: true},
		{name: "control tokens as text", text: quoted(strings.Repeat("<|im_end|><|im_start|>", 3)), served: true},
	}
	// the pre-tokenizers that recurse for every character of a word
	for _, model := range []string{"", "gpt-4o", "tekken"} {
		all = append(all, lethal{name: strings.TrimSpace("50 KB of one letter " + model), model: model, text: quoted(strings.Repeat("a", 50_000)), refusal: long})
	}
	return all
}

// door is a way in.
type door struct {
	name, path string
	// harmless: it counts and renders, so whatever fits is served.
	harmless bool
	body     func(*lethal) string // "" where the input has no part for it
}

func doors() []door {
	text := func(format string) func(*lethal) string {
		return func(l *lethal) string {
			if l.text == "" || l.schema != "" || l.more != "" {
				return ""
			}
			return fmt.Sprintf(format, l.text)
		}
	}
	call := func(tool, argument string) func(*lethal) string {
		return text(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":{` + argument + `}}}`)
	}
	generated := func(prompt string) func(*lethal) string {
		return func(l *lethal) string {
			said := l.text
			if said == "" && l.schema == "" {
				return ""
			} else if said == "" {
				said = `"x"`
			}
			b := fmt.Sprintf(`{"max_tokens":4,`+prompt, said)
			if l.schema != "" {
				b += `,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":` + l.schema + `}}`
			}
			return b + l.more + `}`
		}
	}
	schema := func(format string) func(*lethal) string {
		return func(l *lethal) string {
			if l.schema == "" || l.more != "" {
				return ""
			}
			return fmt.Sprintf(format, l.schema)
		}
	}
	tokens := func(format string) func(*lethal) string {
		return func(l *lethal) string {
			if l.tokens == "" {
				return ""
			}
			return fmt.Sprintf(format, l.tokens)
		}
	}
	return []door{
		{"chat", "/v1/chat/completions", false, generated(`"messages":[{"role":"user","content":%s}]`)},
		{"chat with a tool", "/v1/chat/completions", false, schema(`{"max_tokens":4,"messages":[{"role":"user","content":"x"}],"tool_choice":"required","tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":%s}}]}`)},
		{"responses", "/v1/responses", false, text(`{"max_output_tokens":4,"input":%s}`)},
		{"responses with a schema", "/v1/responses", false, schema(`{"max_output_tokens":4,"input":"x","text":{"format":{"type":"json_schema","schema":%s}}}`)},
		{"completions", "/v1/completions", false, generated(`"prompt":%s`)},
		{"completions of tokens", "/v1/completions", false, tokens(`{"max_tokens":4,"prompt":%s}`)},
		{"embeddings", "/v1/embeddings", false, text(`{"input":%s}`)},
		{"embeddings of tokens", "/v1/embeddings", false, tokens(`{"input":[%s]}`)},
		{"tokenize", "/v1/tokenize", true, text(`{"text":%s}`)},
		{"detokenize", "/v1/detokenize", false, tokens(`{"tokens":%s}`)},
		{"count_tokens", "/v1/count_tokens", true, text(`{"text":%s}`)},
		{"count_tokens of messages", "/v1/count_tokens", true, text(`{"messages":[{"role":"user","content":%s}]}`)},
		{"MCP chat", "/mcp", false, call("chat", `"max_tokens":4,"prompt":%s`)},
		{"MCP generate", "/mcp", false, call("generate", `"max_tokens":4,"prompt":%s`)},
		{"MCP count_tokens", "/mcp", true, call("count_tokens", `"text":%s`)},
		{"MCP embed", "/mcp", false, call("embed", `"input":[%s]`)},
		{"MCP chat with a schema", "/mcp", false, schema(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"chat","arguments":{"max_tokens":4,"prompt":"x","json_schema":%s}}}`)},
	}
}

// knock sends the input to the door, and returns whether it fits there, whether
// it was refused, and the answer.
func (d *door) knock(t *testing.T, url string, l *lethal) (fits, refused bool, answer string) {
	t.Helper()
	body := l.only[d.name]
	if l.only == nil {
		body = d.body(l)
	}
	if body == "" {
		return false, false, ""
	}
	switch {
	case l.model == "":
	case d.path == "/mcp":
		body = strings.Replace(body, `"arguments":{`, `"arguments":{"model":`+quoted(l.model)+`,`, 1)
	default:
		body = `{"model":` + quoted(l.model) + `,` + body[1:]
	}
	status, raw, err := knock(t.Context(), client, url+d.path, []byte(body))
	if err != nil {
		t.Fatalf("%s at %s: %v", l.name, d.name, err)
	}
	if status != http.StatusOK && status != http.StatusBadRequest && status != http.StatusRequestEntityTooLarge {
		t.Errorf("%s at %s: status %d: %.300s", l.name, d.name, status, raw)
	}
	refused = status != http.StatusOK || bytes.Contains(raw, []byte(`"isError":true`)) || bytes.Contains(raw, []byte(`"error":{`))
	return true, refused, string(raw)
}

// TestWhatKillsLlamaCppIsRefused passes each input through every door of a
// running server that it fits: it is refused with a reason, or served, and the
// process lives.
func TestWhatKillsLlamaCppIsRefused(t *testing.T) {
	hearth := startServing(t, "--log-level", "error", "--config", writeConfig(t, fmt.Sprintf(`
models:
  - {id: plain, path: %q, embeddings: true}
  - {id: gpt-4o, path: %q, context: 512}
  - {id: tekken, path: %q, context: 512}
engine: {context: 2048, sequences: 4, batch: 64, micro_batch: 64, embeddings: {batch: 256, sequences: 8}, trial: {off: true}}
`, testkit.Model(t), pretokenized(t, "gpt-4o"), pretokenized(t, "tekken"))))
	knocked := map[string]int{}
	for _, l := range lethals() {
		for _, d := range doors() {
			if l.model != "" && strings.Contains(d.name, "embed") {
				continue // those models only generate
			}
			fits, refused, answer := d.knock(t, hearth.url, &l)
			if !fits {
				continue
			}
			knocked[d.name]++
			knocked[l.name]++
			switch {
			case refused && l.refusal == "":
				t.Errorf("%s at %s was refused: %.300s", l.name, d.name, answer)
			case refused && !regexp.MustCompile(l.refusal).MatchString(answer):
				t.Errorf("%s at %s: the refusal does not say %q: %.400s", l.name, d.name, l.refusal, answer)
			case !refused && !l.served && !d.harmless:
				t.Errorf("%s at %s was served: %.300s", l.name, d.name, answer)
			}
		}
	}
	for _, l := range lethals() {
		if knocked[l.name] == 0 {
			t.Errorf("%s fits no door", l.name)
		}
	}
	for _, d := range doors() {
		if knocked[d.name] < 3 {
			t.Errorf("only %d inputs fit %s", knocked[d.name], d.name)
		}
	}
	for _, model := range []string{"plain", "gpt-4o", "tekken"} {
		var answer struct{ Choices []struct{ Text string } }
		hearth.post("/v1/completions", map[string]any{"model": model, "prompt": "Once", "max_tokens": 2}, &answer)
	}
}

// pretokenized copies the test model with another pre-tokenizer, whose name is
// as long as that of its own.
func pretokenized(t *testing.T, name string) string {
	t.Helper()
	const own = "smollm"
	b, err := os.ReadFile(testkit.Model(t))
	if err != nil {
		t.Fatal(err)
	}
	const key = "tokenizer.ggml.pre"
	at := bytes.Index(b, []byte(key))
	if at < 0 || len(name) != len(own) {
		t.Fatalf("%s has no %s that %s can replace", testkit.Model(t), key, name)
	}
	value := b[at+len(key)+4+8:] // behind the type and the length
	if !bytes.HasPrefix(value, []byte(own)) {
		t.Fatalf("the pre-tokenizer of %s is %.20q, want %s", testkit.Model(t), value, own)
	}
	copy(value, name)
	path := filepath.Join(t.TempDir(), name+".gguf")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
