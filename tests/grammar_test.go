package tests

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// refusal is an error as clients see it.
type refusal struct {
	Error struct{ Message, Param, Code string }
}

// refused posts body, and wants an error about the grammar that says why.
func (p *process) refused(path string, body any, why string) {
	p.t.Helper()
	res := p.send(p.t.Context(), path, body)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var got refusal
	if err := json.Unmarshal(raw, &got); err != nil || res.StatusCode != http.StatusBadRequest || got.Error.Param != "grammar" || !strings.Contains(got.Error.Message, why) {
		p.t.Errorf("POST %s: %s, %v, want one with %q\n%s", path, res.Status, err, why, raw)
	}
}

// TestClientGrammars holds answers to grammars of the client's through every
// door, and refuses those that cannot be followed.
func TestClientGrammars(t *testing.T) {
	hearth := startHearth(t)
	ask := func(grammar string, more map[string]any) map[string]any {
		body := map[string]any{
			"messages": []map[string]string{{"role": "user", "content": "What is the date?"}}, "grammar": grammar, "max_tokens": 40, "temperature": 1.5, "seed": 7,
		}
		for k, v := range more {
			body[k] = v
		}
		return body
	}
	const date = `root ::= year "-" [01] [0-9] "-" [0-3] [0-9]` + "\n" + `year ::= [0-9]{4}`
	fits := regexp.MustCompile(`^\d{4}-[01]\d-[0-3]\d$`)

	var chat struct {
		Choices []struct {
			Message struct{ Content string }
			Finish  string `json:"finish_reason"`
		}
	}
	hearth.post("/v1/chat/completions", ask(date, map[string]any{"n": 3}), &chat)
	if len(chat.Choices) != 3 {
		t.Fatalf("got %+v", chat)
	}
	for _, c := range chat.Choices {
		if !fits.MatchString(c.Message.Content) || c.Finish != "stop" {
			t.Errorf("chat: %+v", c)
		}
	}
	var text struct{ Choices []struct{ Text string } }
	hearth.post("/v1/completions", map[string]any{"prompt": "Today is", "grammar": date, "max_tokens": 40, "temperature": 1, "seed": 1}, &text)
	if len(text.Choices) != 1 || !fits.MatchString(text.Choices[0].Text) {
		t.Errorf("completion: %+v", text)
	}
	var call struct {
		Result struct {
			Structured struct{ Text string } `json:"structuredContent"`
		}
	}
	raw, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": map[string]any{
		"name": "generate", "arguments": map[string]any{"prompt": "Today is", "grammar": date, "max_tokens": 40, "seed": 1},
		"_meta": map[string]any{
			"io.modelcontextprotocol/protocolVersion":    "2026-07-28",
			"io.modelcontextprotocol/clientInfo":         map[string]string{"name": "test", "version": "1"},
			"io.modelcontextprotocol/clientCapabilities": map[string]any{},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, hearth.url+"/mcp", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
		"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"generate"},
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if raw, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &call); err != nil {
		t.Errorf("MCP: %v\n%s", err, raw)
	}
	if !fits.MatchString(call.Result.Structured.Text) {
		t.Errorf("MCP: %+v", call)
	}

	for _, c := range []struct{ grammar, why string }{
		{"root ::= (", "line 1, column 11"},
		{"root ::= " + strings.Repeat("(", 30_000), "nest deeper"},
		{"root ::= root \"a\"", "may begin with itself"},
		{`root ::= "a"{1,100000}`, "at most 2000 times"},
		{"root ::= " + strings.Repeat("[^a-zA-Z]? ", 1000), "has to remember too much"},
	} {
		hearth.refused("/v1/chat/completions", ask(c.grammar, nil), c.why)
	}
	hearth.refused("/v1/chat/completions", ask(date, map[string]any{"response_format": map[string]any{"type": "json_object"}}), "response_format")
	hearth.post("/v1/chat/completions", ask(`root ::= "still here"`, nil), &chat)
	if chat.Choices[0].Message.Content != "still here" {
		t.Errorf("afterwards: %+v", chat)
	}
}

func TestClientGrammarsSwitchedOff(t *testing.T) {
	hearth := startHearth(t, "--config", writeConfig(t, "engine:\n  client_grammars: false\n"))
	hearth.refused("/v1/completions", map[string]any{"prompt": "a", "max_tokens": 1, "grammar": `root ::= "a"`}, "engine.client_grammars")
	var text struct{ Choices []struct{ Text string } }
	hearth.post("/v1/completions", map[string]any{"prompt": "a", "max_tokens": 1, "grammar": ""}, &text)
}
