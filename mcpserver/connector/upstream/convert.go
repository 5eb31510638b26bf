package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"hearth/mcpserver/router"
)

// Bounds of a result.
const (
	maxContent  = 10_000 // pieces
	maxURIBytes = 8 << 10
)

var errLongURI = &router.ToolError{Message: fmt.Sprintf("the URI is longer than %d bytes", maxURIBytes)}

// result takes over all of a result.
func result(r *mcp.CallToolResult) (*router.Result, error) {
	if len(r.Content) > maxContent {
		return nil, fmt.Errorf("the server's result has %d pieces, at most %d are taken", len(r.Content), maxContent)
	}
	out := &router.Result{IsError: r.IsError, Untrusted: true}
	for _, c := range r.Content {
		one, err := content(c)
		if err != nil {
			return nil, err
		}
		out.Content = append(out.Content, *one)
	}
	if r.StructuredContent != nil {
		raw, err := json.Marshal(r.StructuredContent)
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(raw, []byte("{")) && !r.IsError {
			// The newer protocol lets it be any value; a Result's is an object.
			raw, err = json.Marshal(map[string]json.RawMessage{"result": raw})
			if err != nil {
				return nil, err
			}
		}
		out.Structured = raw
	}
	if len(r.Meta) > 0 {
		raw, err := json.Marshal(r.Meta)
		if err != nil {
			return nil, err
		}
		out.Meta = raw
	}
	return out, nil
}

// content takes over one piece of a result or of a prompt's message.
func content(c mcp.Content) (*router.Content, error) {
	switch c := c.(type) {
	case *mcp.TextContent:
		return &router.Content{Type: router.ContentText, Text: c.Text, Annotations: annotations(c.Annotations)}, nil
	case *mcp.ImageContent:
		return &router.Content{Type: router.ContentImage, Data: c.Data, MIME: c.MIMEType, Annotations: annotations(c.Annotations)}, nil
	case *mcp.AudioContent:
		return &router.Content{Type: router.ContentAudio, Data: c.Data, MIME: c.MIMEType, Annotations: annotations(c.Annotations)}, nil
	case *mcp.ResourceLink:
		if len(c.URI) > maxURIBytes {
			return nil, errors.New("the server's result has a link that is too long")
		}
		r := router.Resource{URI: c.URI, Name: c.Name, Title: c.Title, Description: c.Description, MIME: c.MIMEType}
		if c.Size != nil {
			r.Size = *c.Size
		}
		return &router.Content{Type: router.ContentLink, Resource: r, Annotations: annotations(c.Annotations)}, nil
	case *mcp.EmbeddedResource:
		if c.Resource == nil {
			return nil, errors.New("the server's result has a resource without contents")
		}
		return &router.Content{Type: router.ContentResource, Contents: contents(c.Resource), Annotations: annotations(c.Annotations)}, nil
	}
	return nil, fmt.Errorf("the server's result has content of a kind that is not known here")
}

func contents(c *mcp.ResourceContents) router.ResourceContents {
	return router.ResourceContents{URI: c.URI, MIME: c.MIMEType, Text: c.Text, Blob: c.Blob}
}

func annotations(a *mcp.Annotations) json.RawMessage {
	if a == nil {
		return nil
	}
	raw, err := json.Marshal(a)
	if err != nil {
		return nil // a priority that is no number
	}
	return raw
}
