package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"hearth/internal/subject"
)

// system is what all sides tell the model first.
const system = "You answer questions with the help of tools. Call the tool that finds the value. When you have its result, answer in one short sentence that holds the value."

// answer is what a side says to a question.
type answer struct {
	Text  string `json:"answer"`
	Calls []call `json:"calls"`
	// Rounds is how many answers of the model it took.
	Rounds int `json:"rounds"`
}

type message struct {
	Role       string     `json:"role"`
	Content    string     `json:"content"`
	ToolCalls  []toolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
}

type toolCall struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

func opening(q *question) []message {
	return []message{{Role: "system", Content: system}, {Role: "user", Content: q.Text}}
}

// askHearth lets the server run the tools.
func askHearth(ctx context.Context, s *settings, g *ground, q *question) (a answer, err error) {
	var m struct {
		Content  string `json:"content"`
		MCPCalls []struct {
			Label     string `json:"server_label"`
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
			Output    string `json:"output"`
			Error     string `json:"error"`
		} `json:"mcp_calls"`
	}
	var allowed []string
	for _, t := range g.offered(s.label(q)) {
		allowed = append(allowed, t.Name)
	}
	_, err = g.hearth.Chat(ctx, map[string]any{
		"messages": opening(q), "temperature": 0, "max_tokens": s.tokens, "parallel_tool_calls": false,
		"tools": []any{map[string]any{"type": "mcp", "server_label": s.label(q), "allowed_tools": allowed, "require_approval": "never"}},
	}, &m)
	a.Text, a.Rounds = m.Content, 1
	for _, c := range m.MCPCalls {
		a.Calls = append(a.Calls, call{Tool: c.Label + "__" + c.Name, Arguments: c.Arguments, Result: c.Output + c.Error})
		a.Rounds++
	}
	return a, err
}

// askPlain runs the tools as a client of llama-server. With bare set it takes an
// answer that is nothing but the JSON of a call as the call.
func askPlain(ctx context.Context, s *settings, g *ground, q *question, bare bool) (a answer, err error) {
	var functions []any
	tools := g.offered(s.label(q))
	for _, t := range tools {
		functions = append(functions, map[string]any{"type": "function", "function": map[string]any{
			"name": t.Name, "description": t.Description, "parameters": t.Input,
		}})
	}
	var said []string
	messages, left := opening(q), s.tokens
	for left > 0 && a.Rounds < s.rounds {
		a.Rounds++
		choice := "auto"
		if a.Rounds == s.rounds && s.rounds > 1 {
			choice = "none" // as Hearth does in its last round
		}
		var m message
		n, err := g.llama.Chat(ctx, map[string]any{
			"messages": messages, "tools": functions, "tool_choice": choice, "temperature": 0, "max_tokens": left, "parallel_tool_calls": false,
		}, &m)
		var status *subject.StatusError
		if errors.As(err, &status) {
			said = append(said, status.Body) // its parser found no call in what the model wrote: an answer like another
			break
		}
		if err != nil {
			return a, err
		}
		left -= n
		if name, arguments, ok := bareCall(m.Content); bare && ok && len(m.ToolCalls) == 0 && choice == "auto" {
			c := toolCall{ID: fmt.Sprintf("bare%d", a.Rounds), Type: "function"}
			c.Function.Name, c.Function.Arguments = name, arguments
			m.Content, m.ToolCalls = "", []toolCall{c}
		}
		if m.Content != "" {
			said = append(said, m.Content)
		}
		if len(m.ToolCalls) == 0 {
			break
		}
		messages = append(messages, message{Role: "assistant", Content: m.Content, ToolCalls: m.ToolCalls})
		for _, c := range m.ToolCalls {
			result, err := runTool(ctx, g.hearth, c.Function.Name, c.Function.Arguments)
			if err != nil {
				return a, err
			}
			a.Calls = append(a.Calls, call{Tool: c.Function.Name, Arguments: c.Function.Arguments, Result: result})
			messages = append(messages, message{Role: "tool", ToolCallID: c.ID, Content: result})
		}
	}
	a.Text = strings.Join(said, "\n\n")
	return a, nil
}

// runTool calls a tool and returns what the model reads: the text of the result, or
// what the server says of a call that it refused.
func runTool(ctx context.Context, server *subject.Server, name, arguments string) (string, error) {
	if !json.Valid([]byte(arguments)) {
		return "The arguments of the call are no JSON object: write them again.", nil
	}
	reply, err := server.Post(ctx, "/v1/tools/"+name, json.RawMessage(arguments))
	var status *subject.StatusError
	if errors.As(err, &status) {
		var body struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if json.Unmarshal([]byte(status.Body), &body) == nil && body.Error.Message != "" {
			return body.Error.Message, nil
		}
		return status.Body, nil
	}
	if err != nil {
		return "", err
	}
	defer reply.Close()
	text, err := io.ReadAll(reply)
	if err != nil {
		return "", fmt.Errorf("read a result: %w", err)
	}
	var result struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return "", fmt.Errorf("read a result: %w: %s", err, text)
	}
	var parts []string
	for _, c := range result.Content {
		parts = append(parts, c.Text)
	}
	return strings.Join(parts, "\n"), nil
}
