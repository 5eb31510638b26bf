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
	a.generate(w, r, &chatRoute{})
}

// chatRoute is what a chat has of its own.
type chatRoute struct{ req inference.ChatRequest }

func (*chatRoute) action() string   { return inference.ActionChat }
func (*chatRoute) idPrefix() string { return "chatcmpl-" }

func (c *chatRoute) read(f *fields, o inference.Options) {
	c.req.Options = o
	readChat(f, &c.req)
}

func (c *chatRoute) start(ctx context.Context, m inference.Lease) (inference.Stream, error) {
	return m.Chat(ctx, &c.req)
}

func (c *chatRoute) chunker(head chatHead, send streaming) chunker {
	head.Object = "chat.completion.chunk"
	return &chatChunker{head: head, usage: send.usage, progress: send.progress, logprobs: c.req.Logprobs, started: make([]bool, c.req.N)}
}

func (c *chatRoute) collect(ctx context.Context, s inference.Stream, head chatHead) (any, error) {
	head.Object = "chat.completion"
	return collectChat(ctx, s, head, &c.req)
}

// chatHead is what all chunks of an answer have in common.
type chatHead struct {
	ID          string `json:"id"`
	Object      string `json:"object"`
	Created     int64  `json:"created"`
	Model       string `json:"model"`
	Fingerprint string `json:"system_fingerprint"`
	Tier        string `json:"service_tier,omitempty"` // if the request named one
}

type chatChunk struct {
	chatHead
	Choices []chatDelta `json:"choices"`
	// Usage is absent, null, or, in the last chunk, there.
	Usage    **usage         `json:"usage,omitempty"`
	Progress *promptProgress `json:"prompt_progress,omitempty"`
	// Call is a call that the server runs, as it begins and as it ends.
	Call *hostedCall `json:"mcp_call,omitempty"`
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
	chatEnd
	head     chatHead
	usage    bool
	progress bool
	logprobs bool
	started  []bool // choices whose role was sent

	// Of the chunk in hand; the memory is reused.
	chunk  chatChunk
	choice [1]chatDelta
	call   [1]toolCall
	total  *usage
	rounds []roundUsage
}

func (c *chatChunker) showsProgress() bool { return c.progress }

func (c *chatChunker) chunks(e *eventWriter, ev *inference.Event) error {
	switch ev.Kind {
	case inference.EventProgress:
		if !c.progress {
			return nil
		}
		c.chunk = chatChunk{chatHead: c.head, Choices: c.choice[:0], Progress: wireProgress(ev.Progress)}
		return e.data(&c.chunk)
	case inference.EventDelta:
		return c.delta(e, ev)
	case inference.EventFinish:
		if err := c.start(e, ev.Choice); err != nil {
			return err
		}
		reason := string(ev.Finish)
		return c.send(e, chatDelta{Index: ev.Choice, Finish: &reason})
	case inference.EventUsage:
		if !c.usage {
			return nil
		}
		c.total = wireUsage(&ev.Usage)
		c.total.Rounds = c.rounds
		c.chunk = chatChunk{chatHead: c.head, Choices: c.choice[:0], Usage: &c.total}
		return e.data(&c.chunk)
	case inference.EventRound:
		c.rounds = append(c.rounds, wireRound(&ev.Usage))
	case inference.EventHosted:
		if call := wireHosted(ev.Hosted); call != nil {
			c.chunk = chatChunk{chatHead: c.head, Choices: c.choice[:0], Call: call}
			return e.data(&c.chunk)
		}
	}
	return nil
}

// send sends a chunk with one choice.
func (c *chatChunker) send(e *eventWriter, d chatDelta) error {
	c.choice[0] = d
	c.chunk = chatChunk{chatHead: c.head, Choices: c.choice[:]}
	if c.usage {
		c.chunk.Usage = &c.total // null in all chunks but the last
	}
	return e.data(&c.chunk)
}

// start sends the role, once for each choice.
func (c *chatChunker) start(e *eventWriter, choice int) error {
	if c.started[choice] {
		return nil
	}
	c.started[choice] = true
	return c.send(e, chatDelta{Index: choice, Delta: delta{Role: "assistant", Content: new(string)}})
}

func (c *chatChunker) delta(e *eventWriter, ev *inference.Event) error {
	if err := c.start(e, ev.Choice); err != nil {
		return err
	}
	d := chatDelta{Index: ev.Choice, Delta: delta{Reasoning: ev.Reasoning}}
	if ev.Content != "" {
		d.Delta.Content = &ev.Content
	}
	if t := ev.ToolCall; t != nil {
		c.call[0] = toolCall{Index: &t.Index, ID: t.ID, Function: functionCall{Name: t.Name, Arguments: t.Arguments}}
		if t.ID != "" {
			c.call[0].Type = "function"
		}
		d.Delta.ToolCalls = c.call[:]
	}
	if c.logprobs && len(ev.Logprobs) > 0 {
		d.Logprobs = &chatLogprobs{Content: wireTokens(ev.Logprobs)}
	}
	return c.send(e, d)
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
	// Calls are those that the server ran before it said the content.
	Calls []*hostedCall `json:"mcp_calls,omitempty"`
}

// collectChat reads a stream to its end.
func collectChat(ctx context.Context, s inference.Stream, head chatHead, req *inference.ChatRequest) (*chatResponse, error) {
	defer s.Close()
	out := &chatResponse{chatHead: head, Choices: make([]chatChoice, req.N)}
	content := make([]strings.Builder, req.N)
	reasoning := make([]strings.Builder, req.N)
	var rounds []roundUsage
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
			out.Usage.Rounds = rounds
		case inference.EventRound:
			rounds = append(rounds, wireRound(&ev.Usage))
		case inference.EventHosted:
			c.Message.addHosted(ev.Hosted)
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

// addHosted adds a call that the server runs, or what became of it.
func (m *chatMessage) addHosted(h *inference.HostedCall) {
	call := wireHosted(h)
	if call == nil {
		return
	}
	for i, known := range m.Calls {
		if known.ID == call.ID {
			m.Calls[i] = call
			return
		}
	}
	m.Calls = append(m.Calls, call)
}
