package chat

import (
	"fmt"
	"slices"
	"strings"

	"hearth/inference"
)

// losses are parts of a conversation that a template leaves out without a word,
// found by rendering. What a template refuses, it says by itself.
type losses struct {
	system    bool // a system message that comes first
	late      bool // one of two system messages, if the second comes after others
	calls     bool // a call after the first of a message; some templates refuse it
	split     bool // but not if it has a message of its own
	reasoned  bool // the content of an answer that has reasoning
	orphans   bool // the result of no call
	rendering func(messages ...applyMessage) (prompt string, ok bool)
}

func (l *losses) lost(words []string, messages ...applyMessage) bool {
	_, ok := l.rendering(messages...)
	return ok && !l.shown(words, messages...)
}

func (l *losses) shown(words []string, messages ...applyMessage) bool {
	prompt, ok := l.rendering(messages...)
	return ok && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(prompt, w) })
}

// probeLosses renders a few conversations and looks for what they said.
func (m *Model) probeLosses() losses {
	l := losses{rendering: func(messages ...applyMessage) (string, bool) {
		out, err := m.apply(&applyInput{Messages: messages, ToolChoice: inference.ToolNone, AddGenerationPrompt: true, EnableThinking: true})
		if err != nil {
			return "", false
		}
		return out.Prompt, true
	}}
	const one, two = "Zebrafish", "Xylophone"
	system := func(text string) applyMessage { return applyMessage{Role: inference.RoleSystem, Content: text} }
	user := applyMessage{Role: inference.RoleUser, Content: "Hello"}
	answer := applyMessage{Role: inference.RoleAssistant, Content: "Hi"}
	result := applyMessage{Role: inference.RoleTool, Content: two, ToolCallID: "abcdefgh1", Name: one}
	l.system = l.lost([]string{one}, system(one), user)
	l.late = l.lost([]string{two}, user, answer, system(two), user) || l.lost([]string{one, two}, system(one), user, answer, system(two), user)
	answer.Content, answer.Reasoning = one, "Hm"
	l.reasoned = l.lost([]string{one}, user, answer, user)
	if !m.nativeTools {
		return l
	}
	l.orphans = l.lost([]string{two}, user, result)
	past := []inference.Message{
		{Role: inference.RoleUser, Content: "Hello"},
		{Role: inference.RoleAssistant, ToolCalls: []inference.ToolCall{
			{ID: "abcdefgh1", Name: one, Arguments: `{"a":"b"}`}, {ID: "abcdefgh2", Name: two, Arguments: `{"a":"b"}`},
		}},
		{Role: inference.RoleTool, Content: "Yes", ToolCallID: "abcdefgh1"},
		{Role: inference.RoleTool, Content: "Yes", ToolCallID: "abcdefgh2"},
	}
	l.calls = !l.shown([]string{one, two}, applyMessages(past)...)
	l.split = l.calls && l.shown([]string{one, two}, applyMessages(splitCalls(past))...)
	return l
}

// checkLosses refuses what the template would leave out.
func (m *Model) checkLosses(messages []inference.Message) error {
	refuse := func(i int, format string) error {
		return inference.Invalid(fmt.Sprintf("messages[%d]", i), format, m.info.ID)
	}
	begun := false  // there was a message that is not of the system
	called := false // the last message that is no result has calls
	for i, msg := range messages {
		if msg.Role != inference.RoleTool {
			called = len(msg.ToolCalls) > 0
		}
		switch {
		case msg.Role == inference.RoleSystem && msg.Content != "" && begun && m.losses.late:
			return refuse(i, "is a system message behind others, which the chat template of %s leaves out: put its text into the first message, or send it as the user")
		case msg.Role == inference.RoleSystem && msg.Content != "" && !begun && m.losses.system:
			return refuse(i, "is a system message, which the chat template of %s leaves out: send its text as the user")
		case len(msg.ToolCalls) > 1 && m.losses.calls && !m.losses.split:
			return refuse(i, "holds several calls, of which the chat template of %s shows one: describe what was called, and what came of it, in words")
		case msg.Role == inference.RoleTool && !called && m.losses.orphans:
			return refuse(i, "is the result of no call, which the chat template of %s leaves out: put the assistant's message with the call before it")
		}
		begun = begun || msg.Role != inference.RoleSystem
	}
	return nil
}

// joinSystem makes one message of the system messages that come first: many
// templates show only one of them.
func joinSystem(messages []inference.Message) []inference.Message {
	n := 0
	var texts []string
	for n < len(messages) && messages[n].Role == inference.RoleSystem {
		if messages[n].Content != "" {
			texts = append(texts, messages[n].Content)
		}
		n++
	}
	if n < 2 {
		return messages
	}
	joined := messages[0]
	joined.Content = strings.Join(texts, "\n\n")
	return append([]inference.Message{joined}, messages[n:]...)
}

// splitCalls gives each call after the first of a message a message of its own, for
// templates that show one in each. The results follow the calls that they answer;
// one that answers none of them stays behind the last.
func splitCalls(messages []inference.Message) []inference.Message {
	out := make([]inference.Message, 0, len(messages))
	for i := 0; i < len(messages); i++ {
		msg := messages[i]
		if len(msg.ToolCalls) < 2 {
			out = append(out, msg)
			continue
		}
		end := i + 1
		for end < len(messages) && messages[end].Role == inference.RoleTool {
			end++
		}
		results := slices.Clone(messages[i+1 : end])
		for j, call := range msg.ToolCalls {
			one := inference.Message{Role: msg.Role, ToolCalls: msg.ToolCalls[j : j+1]}
			if j == 0 {
				one.Content, one.Reasoning, one.Name = msg.Content, msg.Reasoning, msg.Name
			}
			out = append(out, one)
			results = slices.DeleteFunc(results, func(r inference.Message) bool {
				answers := call.ID != "" && r.ToolCallID == call.ID
				if answers {
					out = append(out, r)
				}
				return answers
			})
		}
		out = append(out, results...)
		i = end - 1
	}
	return out
}
