package openai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"hearth/inference"
)

// chatCompletions serves POST /v1/chat/completions.
func (a *API) chatCompletions(w http.ResponseWriter, r *http.Request) {
	f, err := a.readBody(w, r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	lease, err := a.lease(r.Context(), f)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	defer lease.Release()
	info := lease.Info()
	req := &inference.ChatRequest{Options: a.readOptions(r, f, info.Defaults)}
	send := readStreaming(f)
	readChat(f, req)
	if err := f.err(); err != nil {
		a.fail(w, r, err)
		return
	}
	a.ignored(r, f)
	s, err := lease.Chat(r.Context(), req)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	head := chatHead{ID: a.id("chatcmpl-"), Created: a.now().Unix(), Model: info.ID, Fingerprint: fingerprint(&info)}
	if send.on {
		head.Object = "chat.completion.chunk"
		a.stream(w, r, s, &chatChunker{head: head, usage: send.usage, progress: send.progress, logprobs: req.Logprobs, started: make([]bool, req.N)})
		return
	}
	head.Object = "chat.completion"
	out, err := collectChat(r.Context(), s, head, req)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.writeJSON(w, http.StatusOK, out)
}

// chatHead is what all chunks of an answer have in common.
type chatHead struct {
	ID          string `json:"id"`
	Object      string `json:"object"`
	Created     int64  `json:"created"`
	Model       string `json:"model"`
	Fingerprint string `json:"system_fingerprint"`
}

type chatChunk struct {
	chatHead
	Choices []chatDelta `json:"choices"`
	// Usage is absent, null, or, in the last chunk, there.
	Usage    **usage         `json:"usage,omitempty"`
	Progress *promptProgress `json:"prompt_progress,omitempty"`
}

type chatDelta struct {
	Index    int           `json:"index"`
	Delta    delta         `json:"delta"`
	Logprobs *chatLogprobs `json:"logprobs"`
	Finish   *string       `json:"finish_reason"`
}

type delta struct {
	Role      string     `json:"role,omitempty"`
	Content   *string    `json:"content,omitempty"`
	Reasoning string     `json:"reasoning_content,omitempty"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

// chatChunker makes chunks of a chat.
type chatChunker struct {
	head     chatHead
	usage    bool
	progress bool
	logprobs bool
	started  []bool // choices whose role was sent
}

func (c *chatChunker) showsProgress() bool { return c.progress }

func (c *chatChunker) chunks(out func(any) error, ev *inference.Event) error {
	switch ev.Kind {
	case inference.EventProgress:
		if !c.progress {
			return nil
		}
		return out(chatChunk{chatHead: c.head, Choices: []chatDelta{}, Progress: wireProgress(ev.Progress)})
	case inference.EventDelta:
		return c.delta(out, ev)
	case inference.EventFinish:
		if err := c.start(out, ev.Choice); err != nil {
			return err
		}
		reason := string(ev.Finish)
		return out(c.chunk(chatDelta{Index: ev.Choice, Finish: &reason}))
	case inference.EventUsage:
		if !c.usage {
			return nil
		}
		u := wireUsage(&ev.Usage)
		return out(chatChunk{chatHead: c.head, Choices: []chatDelta{}, Usage: &u})
	}
	return nil
}

func (c *chatChunker) chunk(d chatDelta) chatChunk {
	chunk := chatChunk{chatHead: c.head, Choices: []chatDelta{d}}
	if c.usage {
		chunk.Usage = new(*usage) // null in all chunks but the last
	}
	return chunk
}

// start sends the role, once for each choice.
func (c *chatChunker) start(out func(any) error, choice int) error {
	if c.started[choice] {
		return nil
	}
	c.started[choice] = true
	return out(c.chunk(chatDelta{Index: choice, Delta: delta{Role: "assistant", Content: new(string)}}))
}

func (c *chatChunker) delta(out func(any) error, ev *inference.Event) error {
	if err := c.start(out, ev.Choice); err != nil {
		return err
	}
	d := chatDelta{Index: ev.Choice, Delta: delta{Reasoning: ev.Reasoning}}
	if ev.Content != "" {
		d.Delta.Content = &ev.Content
	}
	if t := ev.ToolCall; t != nil {
		call := toolCall{Index: &t.Index, ID: t.ID, Function: functionCall{Name: t.Name, Arguments: t.Arguments}}
		if t.ID != "" {
			call.Type = "function"
		}
		d.Delta.ToolCalls = []toolCall{call}
	}
	if c.logprobs && len(ev.Logprobs) > 0 {
		d.Logprobs = &chatLogprobs{Content: wireTokens(ev.Logprobs)}
	}
	return out(c.chunk(d))
}

// chatResponse is an answer in one piece.
type chatResponse struct {
	chatHead
	Choices []chatChoice `json:"choices"`
	Usage   *usage       `json:"usage"`
}

type chatChoice struct {
	Index    int           `json:"index"`
	Message  chatMessage   `json:"message"`
	Logprobs *chatLogprobs `json:"logprobs"`
	Finish   string        `json:"finish_reason"`
}

type chatMessage struct {
	Role      string     `json:"role"`
	Content   *string    `json:"content"`
	Refusal   *string    `json:"refusal"`
	Reasoning string     `json:"reasoning_content,omitempty"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

// collectChat reads a stream to its end.
func collectChat(ctx context.Context, s inference.Stream, head chatHead, req *inference.ChatRequest) (*chatResponse, error) {
	defer s.Close()
	out := &chatResponse{chatHead: head, Choices: make([]chatChoice, req.N)}
	content := make([]strings.Builder, req.N)
	reasoning := make([]strings.Builder, req.N)
	for i := range out.Choices {
		out.Choices[i] = chatChoice{Index: i, Message: chatMessage{Role: "assistant"}}
		if req.Logprobs {
			out.Choices[i].Logprobs = &chatLogprobs{Content: []chatToken{}}
		}
	}
	for {
		ev, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		c := &out.Choices[ev.Choice]
		switch ev.Kind {
		case inference.EventDelta:
			content[ev.Choice].WriteString(ev.Content)
			reasoning[ev.Choice].WriteString(ev.Reasoning)
			c.Message.addCall(ev.ToolCall)
			if req.Logprobs {
				c.Logprobs.Content = append(c.Logprobs.Content, wireTokens(ev.Logprobs)...)
			}
		case inference.EventFinish:
			c.Finish = string(ev.Finish)
		case inference.EventUsage:
			out.Usage = wireUsage(&ev.Usage)
		}
	}
	for i := range out.Choices {
		msg := &out.Choices[i].Message
		msg.Reasoning = reasoning[i].String()
		if text := content[i].String(); text != "" || len(msg.ToolCalls) == 0 {
			msg.Content = &text
		}
	}
	return out, nil
}

// addCall adds a piece of a call.
func (m *chatMessage) addCall(d *inference.ToolCallDelta) {
	if d == nil {
		return
	}
	if d.Index == len(m.ToolCalls) {
		m.ToolCalls = append(m.ToolCalls, toolCall{ID: d.ID, Type: "function", Function: functionCall{Name: d.Name}})
	}
	m.ToolCalls[d.Index].Function.Arguments += d.Arguments
}
