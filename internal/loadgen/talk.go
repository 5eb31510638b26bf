package loadgen

import "encoding/json"

// message is a message of a conversation, as requests send it.
type message struct {
	Role       string        `json:"role"`
	Content    string        `json:"content"`
	ToolCalls  []messageCall `json:"tool_calls,omitempty"`
	ToolCallID string        `json:"tool_call_id,omitempty"`
}

// messageCall is a tool call of an assistant's message.
type messageCall struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// talk is what a client has said and heard, by conversation.
type talk struct {
	seed     uint64
	scenario string
	group    *Group
	client   int
	said     map[int][]message // until now; of groups without conversations, empty
}

func newTalk(seed uint64, scenario string, g *Group, client int) *talk {
	return &talk{seed: seed, scenario: scenario, group: g, client: client, said: map[int][]message{}}
}

// next returns the messages of the client's request number index.
func (t *talk) next(index int) []message {
	conversation, turn := t.group.turn(index)
	if turn == 0 {
		var m []message
		if first, ok := system(t.seed, t.scenario, t.group); ok {
			m = append(m, first)
		}
		t.said[conversation] = append(m, question(t.seed, t.scenario, t.group, t.client, conversation))
	}
	return t.said[conversation]
}

// answered takes the answer to request number index, and what is said to it in
// the next turn: the new words are the results of the tools that it called, or
// the user's if it called none that can be read.
func (t *talk) answered(index int, s *Sample) {
	conversation, turn := t.group.turn(index)
	if t.group.Conversations == 0 {
		delete(t.said, conversation)
		return
	}
	words := news(t.seed, t.scenario, t.group, t.client, conversation, turn+1)
	m := t.said[conversation]
	if !readable(s.Calls) {
		t.said[conversation] = append(m, message{Role: "assistant", Content: s.Text}, message{Role: "user", Content: words})
		return
	}
	said := message{Role: "assistant", Content: s.Text}
	var results []message
	for _, c := range s.Calls {
		call := messageCall{ID: c.ID, Type: "function"}
		call.Function.Name, call.Function.Arguments = c.Name, c.Arguments
		said.ToolCalls = append(said.ToolCalls, call)
		results = append(results, message{Role: "tool", Content: words, ToolCallID: c.ID})
	}
	t.said[conversation] = append(append(m, said), results...)
}

// readable tells whether calls can be sent back: a call that was cut off in the
// middle of its arguments is refused by servers.
func readable(calls []Call) bool {
	for _, c := range calls {
		if c.ID == "" || c.Name == "" || !json.Valid([]byte(c.Arguments)) {
			return false
		}
	}
	return len(calls) > 0
}
