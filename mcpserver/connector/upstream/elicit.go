package upstream

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"hearth/inference"
)

// elicit passes a server's question on to the person behind the call, and fills
// in the defaults of what was left out. Where nobody can be asked the answer is
// that the question was dismissed.
func (u *Upstream) elicit(ctx context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
	cancel := &mcp.ElicitResult{Action: "cancel"}
	if r.Params.Mode == "url" {
		// A person would have to follow an address that a stranger names.
		u.log.Info().Msg("an MCP server wants a person to open an address, which is not passed on")
		return &mcp.ElicitResult{Action: "decline"}, nil
	}
	one := u.calls.asking(ctx)
	if one == nil || one.call.Peer == nil {
		return cancel, nil
	}
	schema, err := json.Marshal(r.Params.RequestedSchema)
	if err != nil || len(schema) > maxQuestionBytes {
		return &mcp.ElicitResult{Action: "decline"}, nil
	}
	message := "The server " + u.label + " asks: " + cut(r.Params.Message, maxMessageBytes)
	action, values, err := one.call.Peer.Elicit(ctx, message, schema)
	if err != nil {
		if !errors.Is(err, inference.ErrUnsupported) {
			u.log.Debug().Err(err).Msg("a question of an MCP server was not answered")
		}
		return cancel, nil
	}
	if action != "accept" {
		return &mcp.ElicitResult{Action: action}, nil
	}
	content := map[string]any{}
	if len(values) > 0 {
		if err := json.Unmarshal(values, &content); err != nil {
			return cancel, nil
		}
	}
	return &mcp.ElicitResult{Action: "accept", Content: withDefaults(schema, content)}, nil
}

// maxQuestionBytes bounds the schema of a question.
const maxQuestionBytes = 64 << 10

// withDefaults adds the defaults of properties that content lacks.
func withDefaults(schema []byte, content map[string]any) map[string]any {
	var s struct {
		Properties map[string]struct {
			Default json.RawMessage `json:"default"`
		} `json:"properties"`
	}
	if json.Unmarshal(schema, &s) != nil {
		return content
	}
	if content == nil {
		content = map[string]any{}
	}
	for name, p := range s.Properties {
		var v any
		if _, has := content[name]; !has && len(p.Default) > 0 && json.Unmarshal(p.Default, &v) == nil && v != nil {
			content[name] = v
		}
	}
	return content
}
