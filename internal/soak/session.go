package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// session is one client of the server's MCP endpoint. It belongs to one goroutine.
type session struct {
	url  string
	id   string
	next int
	http *http.Client
}

// openSession connects to the server at url.
func openSession(ctx context.Context, url string) (*session, error) {
	s := &session{url: url + "/mcp", http: &http.Client{Transport: &http.Transport{}}}
	_, err := s.ask(ctx, "initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"soak","version":"1"}}`)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ask sends a request and returns the result.
func (s *session) ask(ctx context.Context, method, params string) (json.RawMessage, error) {
	s.next++
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, s.next, method, params)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	if s.id != "" {
		r.Header.Set("Mcp-Session-Id", s.id)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
		s.id = id
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
	}
	if json.Unmarshal(text, &answer) != nil || answer.Result == nil {
		return nil, fmt.Errorf("%s: %s: %.300s", method, resp.Status, bytes.TrimSpace(text))
	}
	return answer.Result, nil
}

// call calls a tool with a number, and returns what it says.
func (s *session) call(ctx context.Context, tool string, n int64) (text string, failed bool, err error) {
	raw, err := s.ask(ctx, "tools/call", fmt.Sprintf(`{"name":%q,"arguments":{"n":%d}}`, tool, n))
	if err != nil {
		return "", false, err
	}
	var result struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
		IsError bool `json:"isError"`
	}
	if err := json.Unmarshal(raw, &result); err != nil || len(result.Content) != 1 {
		return "", false, fmt.Errorf("%s: a result that is none: %.300s", tool, raw)
	}
	return result.Content[0].Text, result.IsError, nil
}
