package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

func TestSecondIdenticalPromptComesFromTheCache(t *testing.T) {
	hearth := startHearth(t)
	body := map[string]any{
		"messages":   []map[string]string{{"role": "user", "content": strings.Repeat("Remember the house by the river. ", 30)}},
		"max_tokens": 4, "temperature": 0,
	}
	type answer struct {
		Usage struct {
			Prompt  int `json:"prompt_tokens"`
			Details struct {
				Cached int `json:"cached_tokens"`
			} `json:"prompt_tokens_details"`
		} `json:"usage"`
	}
	var first, second answer
	hearth.post("/v1/chat/completions", body, &first)
	hearth.post("/v1/chat/completions", body, &second)
	if first.Usage.Details.Cached != 0 {
		t.Errorf("the first prompt has %d cached tokens, want none", first.Usage.Details.Cached)
	}
	// One token is always computed anew, for its logits.
	if second.Usage.Details.Cached != second.Usage.Prompt-1 {
		t.Errorf("the second prompt has %d of %d tokens cached, want all but one", second.Usage.Details.Cached, second.Usage.Prompt)
	}
	m := hearth.metrics()
	if got := metric(t, m, "hearth_prompt_cached_tokens_total"); int(got) != second.Usage.Details.Cached {
		t.Errorf("the metrics count %v cached tokens, the answers %d", got, second.Usage.Details.Cached)
	}
}

// TestDrain ends a server in the middle of an answer: the answer is finished, a
// new request is refused, and the process ends well.
func TestDrain(t *testing.T) {
	const tokens = 300
	hearth := startHearth(t)
	body := map[string]any{"prompt": "Once upon a time", "max_tokens": tokens, "temperature": 1, "seed": 4, "stream": true, "stream_options": map[string]any{"include_usage": true}}
	res := hearth.send(t.Context(), "/v1/completions", body)
	defer res.Body.Close()
	seen, done, finish, completion := 0, false, "", 0
	err := pieces(res.Body, func(data string) bool {
		if seen++; seen == 3 {
			if err := hearth.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			hearth.drains()
		}
		if data == "[DONE]" {
			done = true
			return true
		}
		var chunk struct {
			Choices []struct {
				Finish string `json:"finish_reason"`
			} `json:"choices"`
			Usage *struct {
				Completion int `json:"completion_tokens"`
			} `json:"usage"`
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Errorf("event %q: %v", data, err)
		}
		for _, c := range chunk.Choices {
			finish += c.Finish
		}
		if chunk.Usage != nil {
			completion = chunk.Usage.Completion
		}
		return true
	})
	if err != nil || !done {
		t.Errorf("the stream broke off after %d events: %v", seen, err)
	}
	if finish != "stop" && (finish != "length" || completion != tokens) {
		t.Errorf("the answer ended with %q after %d tokens, want it whole", finish, completion)
	}
	hearth.wait()
}

// drains waits until the server, told to end, refuses new requests, and wants
// the refusal to say so where it is not the kernel's.
func (p *process) drains() {
	p.t.Helper()
	p.eventually("it refuses new requests", func() bool {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, p.url+"/v1/completions", strings.NewReader(`{"prompt":"x","max_tokens":1}`))
		if err != nil {
			p.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			return true // it does not listen any more
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		if res.StatusCode == http.StatusOK {
			return false // the signal has not arrived
		}
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "shutting_down") {
			p.t.Errorf("a draining server answers %s, Retry-After %q: %s", res.Status, res.Header.Get("Retry-After"), text)
		}
		return true
	})
}

func TestForeignHostsAndOriginsAreRefusedEverywhere(t *testing.T) {
	hearth := startHearth(t)
	type knock struct{ name, host, origin string }
	port := hearth.url[strings.LastIndexByte(hearth.url, ':')+1:]
	allowed := []knock{
		{"loopback name", "localhost:" + port, ""},
		{"loopback origin", "", "http://localhost:3000"},
		{"IPv6 loopback name", "[::1]:" + port, ""},
	}
	refused := []knock{
		{"foreign host", "evil.example", ""},
		{"foreign host with the port", "evil.example:" + port, ""},
		{"name that looks like loopback", "localhost.evil.example:" + port, ""},
		{"foreign origin", "", "https://evil.example"},
		{"origin null", "", "null"},
		{"origin that looks like loopback", "", "http://127.0.0.1.evil.example"},
	}
	send := func(method, path string, k knock) int {
		body := ""
		if method == http.MethodPost {
			body = `{}`
		}
		req, err := http.NewRequestWithContext(t.Context(), method, hearth.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if k.host != "" {
			req.Host = k.host
		}
		if k.origin != "" {
			req.Header.Set("Origin", k.origin)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s %s, %s: %v", method, path, k.name, err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for _, route := range []string{
		"GET /healthz", "GET /readyz", "GET /metrics", "GET /v1/models", "POST /v1/chat/completions", "POST /v1/completions", "POST /v1/responses",
		"POST /v1/tokenize", "POST /v1/detokenize", "POST /v1/count_tokens", "POST /mcp", "GET /no/such/route",
	} {
		method, path, _ := strings.Cut(route, " ")
		for _, k := range refused {
			if got := send(method, path, k); got != http.StatusForbidden {
				t.Errorf("%s, %s: %d, want 403", route, k.name, got)
			}
		}
		for _, k := range allowed {
			if got := send(method, path, k); got == http.StatusForbidden {
				t.Errorf("%s, %s: refused", route, k.name)
			}
		}
	}
}

func TestAddressForOthersIsRefused(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":8080", "[::]:0", "192.0.2.1:8080"} {
		p := start(t, hearthBinary(t), "serve", "--listen", address)
		if err := p.end(); err == nil || !strings.Contains(p.output.String(), "authentication") {
			t.Errorf("--listen %s: %v; want an error that says why\n%s", address, err, p.output.tail())
		}
	}
}

// TestQuickBenchmark runs the comparison with llama-server with tiny numbers: it
// has to make its report. No figure is asserted.
func TestQuickBenchmark(t *testing.T) {
	runBenchsuite(t, "-only", "single,mixed,tools", "-context", "4096", "-sequences", "4")
}

// TestBenchCommand measures a running server with hearth bench.
func TestBenchCommand(t *testing.T) {
	hearth := startHearth(t)
	p := start(t, hearthBinary(t), "bench", "--url", hearth.url, "--scenario", "parallel", "--clients", "2", "--requests", "1", "--max-tokens", "8")
	p.wait()
	if want := fmt.Sprintf("tokens         %d in", 16); !strings.Contains(p.output.String(), want) {
		t.Errorf("hearth bench does not say %q: the end tokens were not held back\n%s", want, p.output.tail())
	}
}
