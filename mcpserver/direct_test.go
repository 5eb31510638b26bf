package mcpserver

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
)

// TestEncodeResult: what is put together is what mcp-go would write.
func TestEncodeResult(t *testing.T) {
	structured := func(text string) any { return json.RawMessage(text) }
	for name, r := range map[string]*mcp.CallToolResult{
		"text":              mcp.NewToolResultText("a <b> & \"c\"\n\u2028 \x00é"),
		"nothing":           {},
		"an error":          mcp.NewToolResultError("no"),
		"two texts":         {Content: []mcp.Content{mcp.NewTextContent("a"), mcp.NewTextContent("b")}},
		"structured":        mcp.NewToolResultStructured(structured(`{"a":[1,2.50,"x"]}`), "t"),
		"structured, lines": mcp.NewToolResultStructured(structured("{\n \"a\": 1\r\n}"), "t"),
		"structured, typed": mcp.NewToolResultStructured(map[string]int{"a": 1}, "t"),
		"an image":          {Content: []mcp.Content{mcp.NewTextContent("a"), mcp.NewImageContent("AAAA", "image/png")}},
		"annotated":         {Content: []mcp.Content{mcp.TextContent{Type: "text", Text: "a", Annotated: mcp.Annotated{Annotations: &mcp.Annotations{Audience: []mcp.Role{mcp.RoleUser}}}}}},
		"with meta":         {Result: mcp.Result{Meta: &mcp.Meta{AdditionalFields: map[string]any{"k": "v"}}}, Content: []mcp.Content{mcp.NewTextContent("a")}},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := json.Marshal(mcp.NewJSONRPCResultResponse(mcp.NewRequestId(int64(7)), r))
			if err != nil {
				t.Fatal(err)
			}
			got, err := encodeResult("7", r)
			if err != nil || string(got) != string(want) {
				t.Errorf("got %s, %v\nwant %s", got, err, want)
			}
		})
	}
}

// TestWhatIsCalledDirectly: what mcp-go has to judge is left to it.
func TestWhatIsCalledDirectly(t *testing.T) {
	for _, c := range []struct {
		message, header string
		modern, want    bool
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{},"_meta":{"progressToken":1}}}`, mcp.LATEST_PROTOCOL_VERSION, false, true},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`, "", false, true},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`, "", true, false},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`, "1999-01-01", false, false},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25"}}}`, "", false, false},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","requestState":"s"}}`, "", false, false},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","task":{}}}`, "", false, false},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":[]}}`, "", false, false},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}`, "", false, false},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, "", false, false},
		{`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}`, "", false, false},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"name":"x"}}`, "", false, false},
	} {
		m, err := decode([]byte(c.message))
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Header: http.Header{}}
		if c.header != "" {
			r.Header.Set(mcp.HeaderProtocolVersion, c.header)
		}
		if got := newCall(m, nil).direct(r, c.modern); got != c.want {
			t.Errorf("%s, header %q, modern %v: direct is %v", c.message, c.header, c.modern, got)
		}
	}
}
