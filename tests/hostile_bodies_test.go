package tests

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hearth/internal/testkit"
)

// The models of the server that gets hostile requests.
const (
	hostilePlain   = "plain"   // makes text, with two adapters
	hostileVectors = "vectors" // makes vectors only
	hostileRanks   = "ranks"   // scores documents only
)

// doorway is what takes a body: a route, or a tool of /mcp.
type doorway struct {
	name string // the path, or the name of the tool
	tool bool
	// base are the fields that a request has unless chance leaves one out. They are
	// mostly as they should be, so that the others are reached.
	base []string
	// fields are all that are read there.
	fields []hostileField
	model  string // that mostly is asked for; empty: the first
}

// hostileField is a field, and the type of its values where it is known: that of
// the decoder's method, or of the JSON Schema.
type hostileField struct{ name, kind string }

// routeSources are, by route, the files of inference/api/openai whose fields are
// read there, and the doorway.
var routeSources = map[string]struct {
	files []string
	door  doorway
}{
	"/chat/completions": {[]string{"options", "messages"}, doorway{base: []string{"messages", "max_tokens"}}},
	"/completions":      {[]string{"options", "completions"}, doorway{base: []string{"prompt", "max_tokens"}}},
	"/responses":        {[]string{"responses", "responses_input", "hosted", "options"}, doorway{base: []string{"input", "max_output_tokens"}}},
	"/embeddings":       {[]string{"embeddings"}, doorway{base: []string{"input", "model"}, model: hostileVectors}},
	"/rerank":           {[]string{"rerank"}, doorway{base: []string{"query", "documents", "model"}, model: hostileRanks}},
	"/tokenize":         {[]string{"tokens"}, doorway{base: []string{"text"}}},
	"/detokenize":       {[]string{"tokens"}, doorway{base: []string{"tokens"}}},
	"/count_tokens":     {[]string{"tokens", "options", "messages"}, doorway{base: []string{"messages"}}},
}

// routes returns the routes that read a body, with the fields that their sources
// name: a route without an entry in routeSources is a failure.
func routes(t *testing.T) []doorway {
	t.Helper()
	source := func(file string) string {
		b, err := os.ReadFile(filepath.Join(testkit.Root(t), "inference", "api", "openai", file+".go"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	read := regexp.MustCompile(`\bf\.(str|boolean|float|integer|list|object|take)\("(\w+)"|\bread(Strings)\(f, "(\w+)"`)
	var all []doorway
	for _, m := range regexp.MustCompile(`r\.(?:Post|Put|Patch)\("([^"]+)"`).FindAllStringSubmatch(source("api"), -1) {
		s, known := routeSources[m[1]]
		if !known {
			t.Fatalf("the route %s reads a body and gets no hostile requests: add it to routeSources", m[1])
		}
		d := s.door
		d.name = "/v1" + m[1]
		d.fields = []hostileField{{"model", "str"}, {"thinking_budget_tokens", "integer"}}
		for _, file := range s.files {
			for _, f := range read.FindAllStringSubmatch(source(file), -1) {
				d.fields = append(d.fields, hostileField{f[2] + f[4], f[1] + f[3]})
			}
		}
		d.distinct()
		if len(d.fields) < 3 {
			t.Fatalf("only %v are found in the sources of %s", d.fields, d.name)
		}
		all = append(all, d)
	}
	if len(all) != len(routeSources) {
		t.Fatalf("%d of %d routes are found in the sources", len(all), len(routeSources))
	}
	return all
}

// tools returns the tools that the server lists, with the arguments of their
// schemas.
func tools(hearth *process) []doorway {
	var list struct {
		Result struct {
			Tools []struct {
				Name        string
				InputSchema struct {
					Properties map[string]struct{ Type string }
					Required   []string
				}
			}
		}
	}
	hearth.post("/mcp", map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, &list)
	var all []doorway
	for _, tool := range list.Result.Tools {
		d := doorway{name: tool.Name, tool: true, base: tool.InputSchema.Required}
		for name, p := range tool.InputSchema.Properties {
			d.fields = append(d.fields, hostileField{name, p.Type})
		}
		d.distinct()
		has := func(name string) bool {
			return slices.ContainsFunc(d.fields, func(f hostileField) bool { return f.name == name })
		}
		if len(d.base) == 0 && has("messages") {
			d.base = []string{"messages"}
		}
		if has("max_tokens") {
			d.base = append(d.base, "max_tokens")
		}
		all = append(all, d)
	}
	return all
}

// distinct sorts the fields and keeps one of each name.
func (d *doorway) distinct() {
	slices.SortStableFunc(d.fields, func(a, b hostileField) int { return cmp.Compare(a.name, b.name) })
	d.fields = slices.CompactFunc(d.fields, func(a, b hostileField) bool { return a.name == b.name })
}

// body returns the members of a request to d.
func (h hostile) body(d *doorway) map[string]any {
	b := map[string]any{}
	for _, name := range d.base {
		switch {
		case name == "max_tokens" && h.IntN(200) > 0:
			b[name] = 1 + h.IntN(3) // short, so that a request that is served ends soon
		case h.IntN(40) == 0:
		case name == "model" && h.IntN(6) > 0:
			b[name] = d.model
		case name == "input" && slices.Contains(d.base, "max_output_tokens"):
			b[name] = h.items()
		default:
			b[name] = h.value(hostileField{name: name}, d.tool)
		}
	}
	for range pick(h, 0, 1, 1, 2, 4) {
		if len(d.fields) == 0 {
			break
		}
		f := d.fields[h.IntN(len(d.fields))]
		b[f.name] = h.value(f, d.tool)
	}
	if h.IntN(20) == 0 {
		b[pick(h, "Model", "MESSAGES", "", "\x00", "a.b", "guided_json", "functions", "min_tokens", "suffix", "x")] = h.junk(3)
	}
	return b
}

// value is one for a field.
func (h hostile) value(f hostileField, tool bool) any {
	if h.IntN(25) == 0 {
		return h.junk(3)
	}
	switch f.name {
	case "messages":
		return h.messages(tool)
	case "prompt":
		if tool {
			return h.text()
		}
		return pick[any](h, h.text(), h.text(), h.tokens(), []any{h.tokens()}, []any{h.text()})
	case "text", "query":
		return h.text()
	case "input", "documents":
		return h.inputs(f.name, tool)
	case "tokens":
		return h.tokens()
	case "model":
		return pick(h, hostilePlain, hostilePlain, hostileVectors, hostileRanks, "", h.text())
	case "stop", "banned_strings", "dry_sequence_breakers":
		return h.strings(20)
	case "logit_bias":
		return map[string]any{strconv.FormatInt(h.integer(), 10): h.number(), pick(h, "0", "7", "x", "-1", "49151", "49152"): h.number()}
	case "grammar":
		return h.grammar()
	case "lora":
		return h.adapters()
	case "json_schema":
		return h.schema(h.IntN(6))
	case "response_format":
		return map[string]any{"type": pick(h, "json_schema", "json_schema", "json_object", "text", "x"), "json_schema": map[string]any{"name": "x", "schema": h.schema(h.IntN(6))}}
	case "tools":
		return h.tools()
	case "tool_choice":
		return pick[any](h, "auto", "required", "none", "f", map[string]any{"type": "function", "function": map[string]any{"name": pick(h, "f", "g", h.text())}})
	case "n", "best_of":
		return pick[any](h, 1, 2, -1, 0, 16, 17, h.number())
	case "max_tokens", "max_completion_tokens", "max_output_tokens":
		return pick[any](h, 1, 2, 3, 4, 2000, h.number())
	case "chat_template_kwargs":
		return map[string]any{"enable_thinking": h.IntN(2) == 0, h.text(): h.junk(2)}
	case "stream_options":
		return map[string]any{"include_usage": h.IntN(2) == 0}
	case "service_tier":
		return pick(h, "flex", "auto", "default", h.text())
	case "reasoning_effort":
		return pick(h, "none", "low", "high", h.text())
	case "encoding_format":
		return pick(h, "float", "base64", "base64", "x")
	case "modalities":
		return pick[any](h, []any{"text"}, []any{"audio"}, h.strings(3))
	}
	switch f.kind {
	case "boolean":
		return h.IntN(2) == 0
	case "str", "string":
		return h.text()
	case "list", "array", "Strings":
		return h.strings(20)
	case "integer":
		return pick[any](h, h.IntN(4), h.IntN(100), h.integer(), h.number())
	case "float", "number":
		return pick[any](h, h.Float64(), h.Float64(), h.number())
	}
	return h.junk(3)
}

// strings is a list of fewer than n texts, or one.
func (h hostile) strings(n int) any {
	list := make([]any, h.IntN(n))
	for i := range list {
		list[i] = pick(h, h.text(), "a", "é", "\n\n", strings.Repeat("x", h.IntN(40)))
	}
	return pick[any](h, list, list, h.text(), []any{h.text(), ""}, []any{1}, strings.Repeat("x", 5000))
}

// inputs are what is embedded, or the documents that are scored.
func (h hostile) inputs(name string, tool bool) any {
	if h.IntN(300) == 0 {
		many := make([]any, 200+h.IntN(2000))
		for i := range many {
			many[i] = "a"
		}
		return many
	}
	list := make([]any, 1+h.IntN(6))
	for i := range list {
		list[i] = h.text()
		if tool || h.IntN(4) > 0 {
			continue
		}
		if name == "input" {
			list[i] = h.tokens()
		} else {
			list[i] = map[string]any{"text": h.text(), pick(h, "title", "TEXT", ""): h.junk(2)}
		}
	}
	if h.IntN(12) == 0 {
		list[h.IntN(len(list))] = h.junk(2)
	}
	if name == "input" && !tool {
		return pick[any](h, list, list, h.text(), h.tokens())
	}
	return list
}

// adapters are those of a request.
func (h hostile) adapters() any {
	list := make([]any, pick(h, 0, 1, 1, 1, 2, 2, 9))
	for i := range list {
		a := map[string]any{"name": pick(h, "poet", "terse", "poet", "terse", "bard", h.text())}
		if h.IntN(2) == 0 {
			a["scale"] = pick[any](h, h.Float64(), -h.Float64(), 0, 16, -16, h.number())
		}
		if h.IntN(15) == 0 {
			a[pick(h, "x", "Name", "SCALE")] = h.junk(1)
		}
		list[i] = a
	}
	return list
}

func (h hostile) tools() []any {
	list := make([]any, h.IntN(4))
	for i := range list {
		list[i] = map[string]any{"type": "function", "function": map[string]any{
			"name": pick(h, "f", "f", "g", "", "a b", "\"", h.text()), "strict": h.IntN(2) == 0, "parameters": h.schema(h.IntN(5)),
		}}
	}
	return list
}

func (h hostile) messages(tool bool) any {
	odd := 16 // one of so many messages is none that a route takes
	if tool {
		odd = 60 // tools take less
	}
	list := make([]any, pick(h, 0, 1, 1, 1, 2, 2, 3, 4))
	for i := range list {
		m := map[string]any{
			"role":    pick(h, "user", "user", "user", "user", "system", "assistant", "assistant"),
			"content": h.text(),
		}
		switch h.IntN(odd) {
		case 0:
			m["role"] = pick(h, "tool", "developer", "function", "x", "")
		case 1:
			m["content"] = pick[any](h, nil, []any{map[string]any{"type": "text", "text": h.text()}}, h.junk(2))
		case 2:
			m["tool_calls"] = []any{map[string]any{"id": h.text(), "function": map[string]any{"name": h.text(), "arguments": pick[any](h, "{}", "{", h.text(), h.junk(3))}}}
		case 3:
			m[pick(h, "reasoning_content", "name", "tool_call_id", "refusal")] = h.text()
		}
		list[i] = m
	}
	return list
}

// items are the conversation of a response.
func (h hostile) items() any {
	list := make([]any, pick(h, 0, 1, 1, 1, 2, 3, 5))
	for i := range list {
		m := map[string]any{"role": pick(h, "user", "user", "assistant", "system"), "content": h.text()}
		switch h.IntN(8) {
		case 0:
			m = map[string]any{"type": "function_call", "call_id": pick(h, "a", "b", h.text()), "name": pick(h, "f", h.text()), "arguments": pick(h, "{}", "{", h.text())}
		case 1:
			m = map[string]any{"type": "function_call_output", "call_id": pick(h, "a", "b", h.text()), "output": h.text()}
		case 2:
			m = map[string]any{"type": "reasoning", "summary": []any{}, "content": []any{map[string]any{"type": "reasoning_text", "text": h.text()}}}
		case 3:
			m = map[string]any{
				"type": pick(h, "mcp_call", "mcp_approval_request"), "id": pick(h, "mcp_r1_a", "mcp_r2_b", "mcpr_r1_a.x", "mcp_r_", h.text()),
				"server_label": pick(h, "db", h.text()), "name": pick(h, "query", h.text()), "arguments": pick(h, "{}", h.text()), "output": pick[any](h, nil, h.text(), h.junk(1)),
			}
		case 4:
			m = map[string]any{"type": "mcp_approval_response", "approval_request_id": pick(h, "mcpr_r1_a.x", h.text()), "approve": h.IntN(2) == 0}
		}
		if h.IntN(20) == 0 {
			m[pick(h, "type", "id", "role", "content")] = h.junk(2)
		}
		list[i] = m
	}
	return pick[any](h, list, list, list, h.text())
}

// call is a JSON-RPC message that calls a tool.
func (h hostile) call(d *doorway) map[string]any {
	c := map[string]any{
		"jsonrpc": "2.0", "id": pick[any](h, h.IntN(1000), h.IntN(1000), h.text(), 1.5, -1), "method": "tools/call",
		"params": map[string]any{"name": d.name, "arguments": h.body(d)},
	}
	if h.IntN(3) == 0 {
		c["params"].(map[string]any)["_meta"] = map[string]any{"progressToken": pick[any](h, 1, "a", h.junk(2))}
	}
	if h.IntN(40) == 0 {
		c[pick(h, "jsonrpc", "id", "method", "params", "x")] = h.junk(3)
	}
	return c
}

// message is a JSON-RPC message of another method.
func (h hostile) message() map[string]any {
	method := pick(h, "initialize", "ping", "tools/list", "resources/list", "resources/templates/list", "resources/read", "completion/complete", "tools/call",
		"notifications/cancelled", "notifications/initialized", "logging/setLevel", "prompts/get", "server/discover", h.text())
	params := map[string]any{}
	switch method {
	case "initialize":
		params = map[string]any{
			"protocolVersion": pick(h, "2024-11-05", "2025-11-25", "2026-07-28", h.text()),
			"capabilities":    map[string]any{}, "clientInfo": map[string]any{"name": h.text(), "version": "1"},
		}
	case "resources/read":
		params["uri"] = pick(h, "models://", "models://plain", "models://"+h.text(), h.text())
	case "completion/complete":
		params["ref"] = map[string]any{"type": pick(h, "ref/resource", "ref/prompt", "x"), "uri": "models://{id}", "name": h.text()}
		params["argument"] = map[string]any{"name": pick(h, "id", h.text()), "value": h.text()}
	case "notifications/cancelled":
		params["requestId"] = h.number()
	}
	if h.IntN(3) == 0 {
		params[pick(h, "uri", "name", "arguments", "requestId", "cursor", "protocolVersion", "capabilities", "_meta", "ref", "argument", "x")] = h.junk(2)
	}
	m := map[string]any{"jsonrpc": "2.0", "method": method, "params": pick[any](h, params, params, params, params, params, h.junk(3))}
	if !strings.HasPrefix(method, "notifications/") || h.IntN(5) == 0 {
		m["id"] = h.IntN(1000)
	}
	return m
}
