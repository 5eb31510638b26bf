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
	tool, model := asked(c.msg.raw)
	action := s.actions[tool]
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
	s.config.Refused(ctx, inference.Refusal{Action: action, Model: model, RequestID: id, Code: code})
}

// asked reads which tool a message calls and for which model, as far as they
// can be read.
func asked(msg []byte) (tool, model string) {
	var m struct {
		Params struct {
			Name      json.RawMessage `json:"name"`
			Arguments json.RawMessage `json:"arguments"`
		} `json:"params"`
	}
	var arguments map[string]json.RawMessage
	if json.Unmarshal(msg, &m) != nil || json.Unmarshal(m.Params.Name, &tool) != nil {
		return "", ""
	}
	if json.Unmarshal(m.Params.Arguments, &arguments) != nil || json.Unmarshal(arguments["model"], &model) != nil {
		return tool, ""
	}
	return tool, model
}
