package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"hearth/inference"
)

// completions serves POST /v1/completions.
func (a *API) completions(w http.ResponseWriter, r *http.Request) {
	a.generate(w, r, &textRoute{})
}

// textRoute is what a completion has of its own.
type textRoute struct{ req inference.CompletionRequest }

func (*textRoute) action() string   { return inference.ActionComplete }
func (*textRoute) idPrefix() string { return "cmpl-" }

func (c *textRoute) read(f *fields, o inference.Options) {
	c.req.Options = o
	readCompletion(f, &c.req)
}

func (c *textRoute) start(ctx context.Context, m inference.Lease) (inference.Stream, error) {
	return m.Complete(ctx, &c.req)
}

func (c *textRoute) chunker(head chatHead, send streaming) chunker {
	head.Object = "text_completion"
	return &textChunker{head: head, usage: send.usage, progress: send.progress, logprobs: c.req.Logprobs, offset: make([]int, c.req.N)}
}

func (c *textRoute) collect(ctx context.Context, s inference.Stream, head chatHead) (any, error) {
	head.Object = "text_completion"
	return collectText(ctx, s, head, &c.req)
}

// readCompletion takes what a completion has beyond the common options.
func readCompletion(f *fields, req *inference.CompletionRequest) {
	readPrompt(f, req)
	f.boolean("echo", &req.Echo)
	if f.integer("logprobs", &req.TopLogprobs) {
		req.Logprobs = true
		if req.TopLogprobs < 0 || req.TopLogprobs > inference.MaxTopLogprobs {
			f.fail("logprobs", "must be between 0 and %d, got %d", inference.MaxTopLogprobs, req.TopLogprobs)
		}
	}
	best := req.N
	if f.integer("best_of", &best) && best != req.N {
		f.fail("best_of", "must be equal to n (%d) if it is sent, got %d: ask for n choices and pick", req.N, best)
	}
	for _, key := range []string{"messages", "tools", "tool_choice"} {
		f.refuse(key, "belongs to /v1/chat/completions")
	}
	req.Format = readFormat(f)
}

// readPrompt takes a string or a list of tokens, or a list that holds one of
// them.
func readPrompt(f *fields, req *inference.CompletionRequest) {
	v, ok := f.take("prompt")
	if !ok {
		f.fail("prompt", "is missing")
		return
	}
	at := "prompt"
	if list, ok := elements(v); ok && len(list) > 0 && list[0][0] != '"' && list[0][0] != '[' {
		req.Tokens = readTokens(f, at, list)
		return
	} else if ok {
		if len(list) != 1 {
			f.fail("prompt", "must hold one prompt, got a list of %d: send a request for each, they run at the same time", len(list))
			return
		}
		v, at = list[0], "prompt[0]"
	}
	if v[0] == '"' {
		if err := json.Unmarshal(v, &req.Prompt); err != nil {
			f.fail(at, "is not a valid string")
		}
		return
	}
	if list, ok := elements(v); ok && len(list) > 0 {
		req.Tokens = readTokens(f, at, list)
		return
	}
	f.fail(at, "must be a string or a list of tokens, got %s", kind(v))
}

func elements(v json.RawMessage) ([]json.RawMessage, bool) {
	var out []json.RawMessage
	return out, v[0] == '[' && json.Unmarshal(v, &out) == nil
}

func readTokens(f *fields, at string, list []json.RawMessage) []int32 {
	out := make([]int32, len(list))
	for i, v := range list {
		if kind(v) != "a number" || json.Unmarshal(v, &out[i]) != nil {
			f.fail(fmt.Sprintf("%s[%d]", at, i), "must be a token, got %s", number(v))
			return nil
		}
	}
	return out
}

// textChunk is a chunk of a completion, and the whole of one that is not
// streamed.
type textChunk struct {
	chatHead
	Choices []textChoice `json:"choices"`
	Usage   **usage      `json:"usage,omitempty"`
	// Progress is set in a chunk of its own.
	Progress *promptProgress `json:"prompt_progress,omitempty"`
}

type textChoice struct {
	Text     string        `json:"text"`
	Index    int           `json:"index"`
	Logprobs *textLogprobs `json:"logprobs"`
	Finish   *string       `json:"finish_reason"`
}

// textChunker makes chunks of a completion.
type textChunker struct {
	chatEnd
	head     chatHead
	usage    bool
	progress bool
	logprobs bool
	offset   []int

	// Of the chunk in hand; the memory is reused.
	chunk  textChunk
	choice [1]textChoice
	total  *usage
}

func (c *textChunker) showsProgress() bool { return c.progress }

func (c *textChunker) chunks(e *eventWriter, ev *inference.Event) error {
	c.chunk = textChunk{chatHead: c.head, Choices: c.choice[:0]}
	if c.usage {
		c.chunk.Usage = &c.total // null in all chunks but the last
	}
	switch ev.Kind {
	case inference.EventDelta:
		c.choice[0] = textChoice{Text: ev.Content, Index: ev.Choice}
		if c.logprobs && len(ev.Logprobs) > 0 {
			c.choice[0].Logprobs = newTextLogprobs()
			c.offset[ev.Choice] = c.choice[0].Logprobs.add(ev.Logprobs, c.offset[ev.Choice])
		}
		c.chunk.Choices = c.choice[:]
	case inference.EventFinish:
		reason := string(ev.Finish)
		c.choice[0] = textChoice{Index: ev.Choice, Finish: &reason}
		c.chunk.Choices = c.choice[:]
	case inference.EventUsage:
		if !c.usage {
			return nil
		}
		c.total = wireUsage(&ev.Usage)
	case inference.EventProgress:
		if !c.progress {
			return nil
		}
		c.chunk.Progress = wireProgress(ev.Progress)
	default:
		return nil
	}
	return e.data(&c.chunk)
}

// collectText reads a stream to its end.
func collectText(ctx context.Context, s inference.Stream, head chatHead, req *inference.CompletionRequest) (*textChunk, error) {
	defer s.Close()
	out := &textChunk{chatHead: head, Choices: make([]textChoice, req.N), Usage: new(*usage)}
	text := make([]strings.Builder, req.N)
	offset := make([]int, req.N)
	for i := range out.Choices {
		out.Choices[i].Index = i
		if req.Logprobs {
			out.Choices[i].Logprobs = newTextLogprobs()
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
			text[ev.Choice].WriteString(ev.Content)
			if req.Logprobs {
				offset[ev.Choice] = c.Logprobs.add(ev.Logprobs, offset[ev.Choice])
			}
		case inference.EventFinish:
			reason := string(ev.Finish)
			c.Finish = &reason
		case inference.EventUsage:
			*out.Usage = wireUsage(&ev.Usage)
		}
	}
	for i := range out.Choices {
		out.Choices[i].Text = text[i].String()
	}
	return out, nil
}
