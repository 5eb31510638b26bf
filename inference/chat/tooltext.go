package chat

import (
	"bytes"
	"encoding/json"
	"strings"

	"hearth/inference"
)

// withTools puts the tools into the system message, which is made if there is
// none. They stand behind the message's own text: that way requests with one
// system prompt share it as a prefix.
func withTools(messages []inference.Message, tools []inference.Tool, mode inference.ToolMode) []inference.Message {
	text := toolsPrompt(tools, mode)
	out := append([]inference.Message{}, messages...)
	if out[0].Role == inference.RoleSystem {
		if out[0].Content != "" {
			text = out[0].Content + "\n\n" + text
		}
		out[0].Content = text
		return out
	}
	return append([]inference.Message{{Role: inference.RoleSystem, Content: text}}, out...)
}

func toolsPrompt(tools []inference.Tool, mode inference.ToolMode) string {
	var b strings.Builder
	b.WriteString("You can call these tools, each described by a line of JSON:\n<tools>\n")
	for i := range tools {
		b.Write(toolLine(&tools[i]))
	}
	b.WriteString("</tools>\n")
	if mode == inference.ToolNone {
		b.WriteString("Do not call a tool now: answer in words.")
		return b.String()
	}
	b.WriteString("To call a tool, write its name and its arguments, a JSON object that follows the tool's parameters, exactly like this and nothing after it:\n" +
		callOpen + `{"name": "tool_name", "arguments": {"parameter": "value"}}` + callClose +
		"\nThe result comes in the next message. If no tool is needed, answer in words.")
	return b.String()
}

// toolLine describes a tool as a line of JSON.
func toolLine(t *inference.Tool) []byte {
	line, err := jsonText(applyFunction{Name: t.Name, Description: t.Description, Parameters: parameters(t)})
	if err != nil {
		// The parameters were checked to be JSON, and strings cannot fail.
		panic(err)
	}
	return append(line, '\n')
}

// jsonText writes v as a person would: '<' stays '<'.
func jsonText(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// textHistory writes past calls and results as text, for a template that knows
// neither. Results in a row become one message of the user, because templates
// want the roles to alternate.
func textHistory(messages []inference.Message) []inference.Message {
	out := make([]inference.Message, 0, len(messages))
	for i, msg := range messages {
		switch {
		case msg.Role == inference.RoleTool:
			result := resultText(&msg)
			if i > 0 && messages[i-1].Role == inference.RoleTool {
				out[len(out)-1].Content += "\n" + result
				continue
			}
			out = append(out, inference.Message{Role: inference.RoleUser, Content: result})
		case len(msg.ToolCalls) > 0:
			msg.Content, msg.ToolCalls = callsText(&msg), nil
			out = append(out, msg)
		default:
			out = append(out, msg)
		}
	}
	return out
}

func callsText(msg *inference.Message) string {
	var parts []string
	if msg.Content != "" {
		parts = append(parts, msg.Content)
	}
	for _, c := range msg.ToolCalls {
		args := c.Arguments
		if args == "" {
			args = "{}"
		}
		parts = append(parts, callOpen+`{"name": "`+c.Name+`", "arguments": `+args+`}`+callClose)
	}
	return strings.Join(parts, "\n")
}

func resultText(msg *inference.Message) string {
	open := "<tool_response>"
	if msg.Name != "" {
		open = "<tool_response name=\"" + msg.Name + "\">"
	}
	return open + "\n" + msg.Content + "\n</tool_response>"
}
