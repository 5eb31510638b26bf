package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// direct says whether the call of a tool can be handed to the tool as it is. Most
// can: the strict decoder has read all that they say. mcp-go, which is asked for
// everything else, would decode such a message six times, and answer through a
// goroutine and a session made for it, which takes longer than a short tool does.
// What is left to it are the later protocol, whose headers and _meta it judges,
// parameters that only it knows, and versions that it refuses.
func (c *call) direct(r *http.Request, modern bool) bool {
	p := &c.msg.params
	if c.msg.kind != kindRequest || c.msg.method != string(mcp.MethodToolsCall) || modern || p.more || c.msg.version != "" {
		return false
	}
	if v := r.Header.Get(mcp.HeaderProtocolVersion); v != "" && !mcp.IsValidProtocolVersion(v) {
		return false
	}
	_, named := plainString(p.Name)
	return named && (p.Arguments == nil || p.Arguments[0] == '{')
}

// callTool calls the tool that c names, and returns the response. It is nil where
// c.failure says what is answered, or where ctx ended meanwhile.
func (s *Server) callTool(ctx context.Context, c *call, header http.Header) []byte {
	name, _ := plainString(c.msg.params.Name)
	request := mcp.CallToolRequest{Header: header}
	request.Method = c.msg.method
	request.Params.Name, request.Params.RawArguments = name, c.msg.params.Arguments
	ctx = s.mcp.WithContext(withCall(ctx, c), c)
	fail := func(err error) []byte {
		if s.onError(ctx, nil, mcp.MethodToolsCall, &request, err); c.failure == nil {
			c.failure = failed(err)
		}
		return nil
	}
	tool := s.mcp.GetTool(name)
	if tool == nil {
		return fail(server.ErrToolNotFound)
	}
	// What the caller may not see of connectors the router refuses as not there.
	result, err := tool.Handler(ctx, request)
	switch {
	case err != nil:
		return fail(err)
	case result == nil || result.ResultType == mcp.ResultTypeInputRequired:
		return fail(errors.New("the tool returned no result"))
	case ctx.Err() != nil:
		return nil // the answer says why
	}
	body, err := encodeResult(c.msg.id, result)
	if err != nil {
		return fail(err)
	}
	return body
}

// encodeResult writes the response to the request with that canonical id, as mcp-go
// does. Results of texts and a structured result, which are nearly all, are put
// together; encoding/json would copy and check the structured result three times.
func encodeResult(id string, r *mcp.CallToolResult) ([]byte, error) {
	texts := make([]string, 0, 1)
	size := 0
	for _, c := range r.Content {
		t, ok := c.(mcp.TextContent)
		if !ok || t.Annotations != nil || t.Meta != nil {
			texts = nil
			break
		}
		texts, size = append(texts, t.Text), size+len(t.Text)
	}
	structured, raw := r.StructuredContent.(json.RawMessage)
	if r.StructuredContent == nil {
		raw = true
	}
	var b bytes.Buffer
	b.Grow(2*size + len(structured) + 128)
	b.WriteString(`{"jsonrpc":"2.0","id":`)
	b.WriteString(id)
	b.WriteString(`,"result":`)
	if !raw || len(texts) < len(r.Content) || r.Meta != nil || r.ResultType != "" || len(r.RawStructuredContent) > 0 || len(r.InputRequests) > 0 || r.RequestState != "" {
		whole, err := json.Marshal(r)
		b.Write(whole)
		b.WriteString("}")
		return b.Bytes(), err
	}
	b.WriteString(`{"content":[`)
	for i, text := range texts {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"type":"text","text":`)
		quoted, err := json.Marshal(text)
		if err != nil {
			return nil, err
		}
		b.Write(quoted)
		b.WriteByte('}')
	}
	b.WriteByte(']')
	if r.IsError {
		b.WriteString(`,"isError":true`)
	}
	if structured != nil {
		b.WriteString(`,"structuredContent":`)
		// A line break between two members would end an event of a stream.
		if bytes.ContainsAny(structured, "\r\n") {
			if err := json.Compact(&b, structured); err != nil {
				return nil, err
			}
		} else {
			b.Write(structured)
		}
	}
	b.WriteString("}}")
	return b.Bytes(), nil
}
