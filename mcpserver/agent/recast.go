package agent

import (
	"encoding/json"
	"slices"
	"strings"

	"hearth/inference"
)

// The sentences around results that stand under the question they were found for.
const (
	recastOpen  = "This was found out:"
	recastClose = "Answer the question from this, with the value itself."
)

// recast returns messages without calls and results in the form of the template:
// small models that see it go on in it, whether there are tools or not. What was found
// stands as plain text at the end of the user's message that it was found for, the
// call before it, and after the last of it that an answer is wanted now.
func recast(messages []inference.Message) []inference.Message {
	var out []inference.Message
	last := -1 // of out: what has results
	found := map[string]string{}
	for i := range messages {
		m := messages[i]
		var text string
		switch {
		case m.Role == inference.RoleAssistant && len(m.ToolCalls) > 0:
			for _, c := range m.ToolCalls {
				found[c.ID] = c.Name + plainArguments(c.Arguments)
			}
			if text = strings.TrimSpace(m.Content); text == "" {
				continue
			}
			text = "You said: " + text
		case m.Role == inference.RoleTool:
			call := found[m.ToolCallID]
			if call == "" {
				call = m.Name
			}
			text = call + ":\n" + m.Content
		default:
			out = append(out, m)
			continue
		}
		if n := len(out); n == 0 || out[n-1].Role != inference.RoleUser {
			out = append(out, inference.Message{Role: inference.RoleUser})
		}
		at := len(out) - 1
		if last != at {
			last, text = at, recastOpen+"\n\n"+text
		}
		out[at].Content = strings.TrimPrefix(out[at].Content+"\n\n"+text, "\n\n")
	}
	if last >= 0 && last == len(out)-1 {
		out[last].Content += "\n\n" + recastClose
	}
	return out
}

// plainArguments writes the arguments of a call as a reader would.
func plainArguments(text string) string {
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &members) != nil {
		return ""
	}
	var parts []string
	for name, value := range members {
		var s string
		if json.Unmarshal(value, &s) != nil {
			s = canonical(string(value))
		}
		parts = append(parts, name+": "+s)
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return " (" + strings.Join(parts, "; ") + ")"
}
