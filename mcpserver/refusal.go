package mcpserver

import (
	"context"
	"encoding/json"

	"github.com/mark3labs/mcp-go/mcp"

	"hearth/inference"
)

// tell tells Config.Refused of c, if it is a call of a tool that asks a model
// and no model was asked. Each request passes here once, when it is over and
// before its answer is written.
func (s *Server) tell(ctx context.Context, c *call) {
	if s.config.Refused == nil || c.reached || c.msg.kind != kindRequest || c.msg.method != string(mcp.MethodToolsCall) {
		return
	}
	var tool string
	if json.Unmarshal(c.msg.params.Name, &tool) != nil {
		return
	}
	action := actions[tool]
	if action == "" {
		return
	}
	code := c.refused
	if code == "" && c.failure != nil {
		code = c.failure.reason
	}
	if code == "" { // refused by the protocol, which has no codes of this kind
		code = inference.Classify(inference.ErrInvalid).Code
	}
	id := c.requestID
	if id == "" {
		id = s.requestID(ctx)
	}
	s.config.Refused(ctx, inference.Refusal{Action: action, Model: askedModel(c.msg.params.Arguments), RequestID: id, Code: code})
}

// askedModel reads which model the arguments of a call name, as far as they can be
// read.
func askedModel(given json.RawMessage) (model string) {
	var arguments map[string]json.RawMessage
	if json.Unmarshal(given, &arguments) != nil || json.Unmarshal(arguments["model"], &model) != nil {
		return ""
	}
	return model
}
