package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"hearth/internal/testkit"
)

// hostileEnv is how many hostile requests are made; hostileSeedEnv repeats a run.
const (
	hostileEnv     = "HEARTH_HOSTILE"
	hostileSeedEnv = "HEARTH_HOSTILE_SEED"
)

// TestHostileRequests sends generated requests that no honest client makes
// (schemas, token ids, lengths, parameters, broken JSON) through the doors of a
// running server. Each gets an answer with a status, none of them is a failure
// of the engine, and the process lives and serves afterwards.
func TestHostileRequests(t *testing.T) {
	const together = 6
	total, seed := testkit.Number(t, hostileEnv, 400), testkit.Number(t, hostileSeedEnv, rand.Uint64())
	t.Logf("%s=%d %s=%d", hostileEnv, total, hostileSeedEnv, seed)
	hearth := startHearth(t, "--context", "1024", "--log-level", "error")
	session := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: together}, Timeout: patience}
	defer session.CloseIdleConnections()

	var mu sync.Mutex
	statuses := map[int]int{}
	next := make(chan uint64)
	var wg sync.WaitGroup
	for range together {
		wg.Go(func() {
			for i := range next {
				h := hostile{rand.New(rand.NewPCG(seed, i))}
				path, body := h.request()
				status, answer, err := knock(t.Context(), session, hearth.url+path, body)
				mu.Lock()
				statuses[status]++
				mu.Unlock()
				if err != nil || status >= 500 && status != http.StatusServiceUnavailable {
					t.Errorf("request %d, %s: %d, %v\n%.600s\n→ %.600s", i, path, status, err, body, answer)
				}
			}
		})
	}
	for i := range total {
		next <- i
	}
	close(next)
	wg.Wait()
	t.Logf("answers by status: %v", statuses)
	if statuses[http.StatusOK] == 0 || statuses[http.StatusBadRequest] == 0 {
		t.Errorf("some requests must be refused and some served: %v", statuses)
	}
	settle(hearth)
	var answer struct{ Choices []struct{ Text string } }
	hearth.post("/v1/completions", map[string]any{"prompt": "Once", "max_tokens": 2}, &answer)
	if len(answer.Choices) != 1 {
		t.Error("it does not serve after the hostile requests")
	}
}

// knock sends one body and reads the whole answer.
func knock(ctx context.Context, c *http.Client, url string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

// hostile makes requests.
type hostile struct{ *rand.Rand }

func pick[T any](h hostile, from ...T) T { return from[h.IntN(len(from))] }

// request returns a path and a body.
func (h hostile) request() (path string, body []byte) {
	var fields map[string]any
	path = pick(h, "/v1/chat/completions", "/v1/chat/completions", "/v1/completions", "/v1/completions",
		"/v1/tokenize", "/v1/detokenize", "/v1/count_tokens", "/mcp", "/mcp")
	switch path {
	case "/v1/chat/completions":
		fields = h.chat()
	case "/v1/completions":
		fields = h.sampling()
		fields["prompt"] = pick[any](h, h.text(), h.tokens(), []any{h.tokens()}, []any{h.text()}, h.junk(3))
	case "/v1/tokenize":
		fields = map[string]any{"text": h.text(), "add_special": h.IntN(2) == 0, "parse_special": h.IntN(2) == 0}
	case "/v1/detokenize":
		fields = map[string]any{"tokens": h.tokens()}
	case "/v1/count_tokens":
		fields = map[string]any{"messages": h.messages()}
	case "/mcp":
		fields = h.call()
	}
	if h.IntN(10) == 0 {
		fields[pick(h, "model", "Model", "messages", "prompt", "n", "", "\x00", "a.b")] = h.junk(3)
	}
	body, err := json.Marshal(fields)
	if err != nil {
		panic(err) // the generator made what is no JSON: a mistake in it
	}
	if h.IntN(12) == 0 {
		body = h.broken(body)
	}
	return path, body
}

func (h hostile) chat() map[string]any {
	f := h.sampling()
	f["messages"] = h.messages()
	switch h.IntN(4) {
	case 0:
		f["response_format"] = map[string]any{"type": pick(h, "json_schema", "json_object", "text", "x"), "json_schema": map[string]any{"name": "x", "schema": h.schema(h.IntN(6))}}
	case 1:
		tools := make([]any, h.IntN(4))
		for i := range tools {
			tools[i] = map[string]any{"type": "function", "function": map[string]any{
				"name": pick(h, "f", "g", "", "a b", "\"", h.text()), "parameters": h.schema(h.IntN(5)),
			}}
		}
		f["tools"] = tools
		f["tool_choice"] = pick[any](h, "auto", "required", "none", "f", map[string]any{"type": "function", "function": map[string]any{"name": "f"}})
	}
	return f
}

func (h hostile) messages() any {
	if h.IntN(15) == 0 {
		return h.junk(3)
	}
	list := make([]any, h.IntN(5))
	for i := range list {
		m := map[string]any{
			"role":    pick(h, "user", "user", "system", "assistant", "tool", "developer", "function", "x", ""),
			"content": pick[any](h, h.text(), h.text(), nil, []any{map[string]any{"type": "text", "text": h.text()}}, h.junk(2)),
		}
		if h.IntN(8) == 0 {
			m["tool_calls"] = []any{map[string]any{"id": h.text(), "function": map[string]any{"name": h.text(), "arguments": pick[any](h, "{}", "{", h.text(), h.junk(3))}}}
		}
		list[i] = m
	}
	return list
}

// sampling is short, so that a request that is served ends soon.
func (h hostile) sampling() map[string]any {
	f := map[string]any{"max_tokens": 1 + h.IntN(3)}
	for range h.IntN(4) {
		switch key := pick(h, "temperature", "top_p", "min_p", "top_k", "presence_penalty", "frequency_penalty", "repeat_penalty",
			"repeat_last_n", "seed", "n", "max_tokens", "logprobs", "top_logprobs", "stop", "logit_bias", "stream", "grammar", "reasoning_effort"); key {
		case "stop":
			f[key] = pick[any](h, h.text(), []any{h.text(), ""}, []any{1}, strings.Repeat("x", 5000))
		case "logit_bias":
			f[key] = map[string]any{strconv.FormatInt(h.integer(), 10): h.number(), pick(h, "0", "x", "-1", "49151", "49152"): h.number()}
		case "stream":
			f[key] = h.IntN(2) == 0
		case "grammar":
			f[key] = pick(h, "", `root ::= "a"`, "root ::= "+strings.Repeat("(", 30000), `root ::= root`, `root ::= "a"{5,2}`,
				"root ::= "+strings.Repeat(".? ", 1000)+`"\u0378"`, "root ::= a* root \"b\" | a\na ::= \"a\" a a | |", "root ::= "+h.text(), h.text())
		case "n":
			f[key] = pick[any](h, 2, -1, 0, 17, h.number())
		default:
			f[key] = h.number()
		}
	}
	return f
}

// call is a JSON-RPC message.
func (h hostile) call() map[string]any {
	args := map[string]any{"max_tokens": 1 + h.IntN(3)}
	tool := pick(h, "chat", "generate", "count_tokens", "list_models", "embed", "rerank", "", "x")
	switch tool {
	case "chat":
		args[pick(h, "prompt", "messages", "Prompt")] = pick[any](h, h.text(), h.messages())
	case "generate":
		args["prompt"] = h.text()
	case "count_tokens":
		args = map[string]any{pick(h, "text", "messages"): pick[any](h, h.text(), h.messages())}
	}
	for range h.IntN(3) {
		args[pick(h, "temperature", "json_schema", "schema", "seed", "stop", "model", "system")] = pick[any](h, h.schema(3), h.number(), h.text(), h.junk(3))
	}
	return map[string]any{
		"jsonrpc": pick(h, "2.0", "2.0", "2.0", "2.0", "1.0"), "id": pick[any](h, h.IntN(1000), h.text(), 1.5, -1),
		"method": pick(h, "tools/call", "tools/call", "tools/call", "tools/list", "resources/read", "ping", h.text()),
		"params": map[string]any{"name": tool, "arguments": args, "uri": h.text(), "_meta": map[string]any{"progressToken": pick[any](h, 1, h.junk(2))}},
	}
}

// text has what tokenizers, templates and JSON stumble over.
func (h hostile) text() string {
	switch h.IntN(12) {
	case 0:
		return strings.Repeat(pick(h, "a", "1", " ", "\n", "é", "字", "🏠", "(", "`", "\u200d"), 1<<h.IntN(13))
	case 1:
		return pick(h, "<|im_start|>system\nx<|im_end|>", "<|endoftext|>", "<s>", "</s>", "[INST]", "<|im_start|>", "<tool_call>{")
	case 2:
		return pick(h, "{{ 1/0 }}", "{% for i in range(10**9) %}x{% endfor %}", "{{ messages }}", "{%", "{#")
	case 3:
		return pick(h, "\x00", "a\x00b", "\ufffd", "\ufeff", "\u202e", "e\u0301\u0301\u0301", string(rune(0x10ffff)))
	case 4:
		return pick(h, "../../../etc/passwd", "%s%n", "'; --", "\r\n\r\nHTTP/1.1 200", "hearth://models")
	case 5:
		return ""
	}
	b := make([]rune, 1+h.IntN(60))
	for i := range b {
		b[i] = rune(pick(h, 32+h.IntN(95), 32+h.IntN(95), h.IntN(0x800), 0x4e00+h.IntN(0x5000)))
	}
	return string(b)
}

func (h hostile) tokens() any {
	list := make([]any, h.IntN(20))
	for i := range list {
		list[i] = pick[any](h, h.IntN(49152), h.IntN(49152), h.IntN(49152), h.IntN(20), h.integer())
	}
	return list
}

func (h hostile) integer() int64 {
	return pick(h, 0, 1, -1, 49151, 49152, math.MaxInt32, math.MinInt32, math.MaxInt32+1, math.MaxInt64, math.MinInt64, h.Int64N(1<<40), -h.Int64N(1<<40))
}

func (h hostile) number() any {
	return pick[any](h, 0, 1, -1, 0.5, h.Float64()*4-1, h.integer(), 1e-30, 1e30, 1e300, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, "1", true, nil)
}

// junk is a value of no form in particular.
func (h hostile) junk(depth int) any {
	if depth <= 0 {
		return h.number()
	}
	switch h.IntN(6) {
	case 0:
		return map[string]any{h.text(): h.junk(depth - 1), pick(h, "type", "name", "role"): h.junk(depth - 1)}
	case 1:
		return []any{h.junk(depth - 1), h.junk(depth - 1)}
	case 2:
		return h.text()
	case 3:
		return nest(1<<h.IntN(12), pick(h, "[]", "{}"))
	}
	return h.number()
}

// nest is a value in which so many lists or objects stand one in the other.
func nest(n int, kind string) json.RawMessage {
	if kind == "[]" {
		return json.RawMessage(strings.Repeat("[", n) + strings.Repeat("]", n))
	}
	return json.RawMessage(strings.Repeat(`{"items":`, n) + "{}" + strings.Repeat("}", n))
}

// schema is a JSON Schema of some sort.
func (h hostile) schema(depth int) any {
	if depth <= 0 {
		return map[string]any{"type": pick(h, "string", "integer", "number", "boolean", "null", "x")}
	}
	switch h.IntN(14) {
	case 0:
		p := map[string]any{}
		for range h.IntN(8) {
			p[h.text()] = h.schema(depth - 1)
		}
		return map[string]any{"type": "object", "properties": p, "required": pick[any](h, []any{"a", h.text()}, h.junk(2)), "additionalProperties": pick[any](h, false, true, h.schema(depth-1))}
	case 1:
		return map[string]any{"type": "array", "items": h.schema(depth - 1), "minItems": h.number(), "maxItems": h.number()}
	case 2:
		return map[string]any{"type": "string", "minLength": h.number(), "maxLength": h.number()}
	case 3:
		return map[string]any{"type": "string", "pattern": pick(h, "^a+$", "^(a|b){1,1000000}$", "(", "^[z-a]$", "^(?=x)$", "^\\", "^"+strings.Repeat("(", 2000)+"$", "^"+strings.Repeat("a?", 2000)+"$", h.text())}
	case 4:
		return map[string]any{"$ref": pick(h, "#", "#/$defs/a", "#/nowhere", "http://127.0.0.1:1/x", h.text()), "$defs": map[string]any{"a": map[string]any{"$ref": pick(h, "#/$defs/a", "#")}}}
	case 5:
		return map[string]any{pick(h, "anyOf", "oneOf", "allOf"): []any{h.schema(depth - 1), h.schema(depth - 1)}}
	case 6:
		return map[string]any{"enum": pick[any](h, []any{}, []any{h.text(), h.number()}, h.junk(2))}
	case 7:
		return map[string]any{"type": "integer", "minimum": h.number(), "maximum": h.number()}
	case 8:
		return nest(1<<h.IntN(14), "{}")
	case 9:
		return map[string]any{"type": []any{"string", "null"}, "format": pick(h, "date", "uuid", "date-time", h.text())}
	case 10:
		return map[string]any{"const": h.junk(2)}
	case 11:
		return h.junk(3)
	case 12:
		long := make([]any, 1<<h.IntN(12))
		for i := range long {
			long[i] = fmt.Sprint("v", i)
		}
		return map[string]any{"enum": long}
	}
	return map[string]any{"not": h.schema(depth - 1), "if": h.schema(depth - 1)}
}

// broken makes of a body one that is no single document, or none at all.
func (h hostile) broken(b []byte) []byte {
	switch at := h.IntN(len(b)); h.IntN(7) {
	case 0:
		return b[:at]
	case 1:
		return append(b, b...)
	case 2:
		b[at] ^= byte(1 << h.IntN(8))
	case 3:
		b[at] = 0xff
	case 4:
		return append([]byte(`{"model":"","model":"",`), b[1:]...)
	case 5:
		return append([]byte(`{"MODEL":"x",`), b[1:]...)
	case 6:
		return []byte(strings.Repeat(pick(h, "[", `{"a":`, `"`, "\\u"), 1<<h.IntN(16)))
	}
	return b
}
