package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/mark3labs/mcp-go/mcp"
	mcpgo "github.com/mark3labs/mcp-go/server"
)

// peerCommand is the argument that makes this program a bare server of mcp-go.
const peerCommand = "mcp-go"

// peerTool is the file that it is told of: the one tool that it has, as tools/list
// of another server tells of it, and the result of every call.
type peerTool struct {
	Definition json.RawMessage `json:"definition"`
	Result     struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
		Structured json.RawMessage `json:"structuredContent"`
	} `json:"result"`
}

// runPeer serves the tool in file at an address until ctx ends.
func runPeer(ctx context.Context, file, address string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the tool: %w", err)
	}
	var t peerTool
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("decode the tool: %w", err)
	}
	var schemas struct {
		Name        string             `json:"name"`
		Title       string             `json:"title"`
		Description string             `json:"description"`
		Input       json.RawMessage    `json:"inputSchema"`
		Output      json.RawMessage    `json:"outputSchema"`
		Annotations mcp.ToolAnnotation `json:"annotations"`
	}
	if err := json.Unmarshal(t.Definition, &schemas); err != nil || len(t.Result.Content) != 1 {
		return fmt.Errorf("decode the tool: %w, %d pieces of content", err, len(t.Result.Content))
	}
	s := mcpgo.NewMCPServer("bare", "1", mcpgo.WithToolCapabilities(false))
	s.AddTool(mcp.Tool{
		Name: schemas.Name, Title: schemas.Title, Description: schemas.Description,
		RawInputSchema: schemas.Input, RawOutputSchema: schemas.Output, Annotations: schemas.Annotations,
	}, func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultStructured(t.Result.Structured, t.Result.Content[0].Text), nil
	})
	mux := http.NewServeMux()
	mux.Handle("/mcp", mcpgo.NewStreamableHTTPServer(s))
	h := &http.Server{Addr: address, Handler: mux}
	stopped := context.AfterFunc(ctx, func() { h.Close() })
	defer stopped()
	if err := h.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
