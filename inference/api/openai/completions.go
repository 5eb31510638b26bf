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
	req := &inference.CompletionRequest{Options: a.readOptions(r, f, info.Defaults)}
	send := readStreaming(f)
	readCompletion(f, req)
	if err := f.err(); err != nil {
		a.fail(w, r, err)
		return
	}
	a.ignored(r, f)
	s, err := lease.Complete(r.Context(), req)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	head := chatHead{ID: a.id("cmpl-"), Object: "text_completion", Created: a.now().Unix(), Model: info.ID, Fingerprint: fingerprint(&info)}
	if send.on {
		a.stream(w, r, s, &textChunker{head: head, usage: send.usage, progress: send.progress, logprobs: req.Logprobs, offset: make([]int, req.N)})
		return
	}
	out, err := collectText(r.Context(), s, head, req)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.writeJSON(w, http.StatusOK, out)
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
	head     chatHead
	usage    bool
	progress bool
	logprobs bool
	offset   []int
}

func (c *textChunker) showsProgress() bool { return c.progress }

func (c *textChunker) chunks(out func(any) error, ev *inference.Event) error {
	chunk := textChunk{chatHead: c.head, Choices: []textChoice{}}
	if c.usage {
		chunk.Usage = new(*usage)
	}
	switch ev.Kind {
	case inference.EventDelta:
		choice := textChoice{Text: ev.Content, Index: ev.Choice}
		if c.logprobs && len(ev.Logprobs) > 0 {
			choice.Logprobs = newTextLogprobs()
			c.offset[ev.Choice] = choice.Logprobs.add(ev.Logprobs, c.offset[ev.Choice])
		}
		chunk.Choices = append(chunk.Choices, choice)
	case inference.EventFinish:
		reason := string(ev.Finish)
		chunk.Choices = append(chunk.Choices, textChoice{Index: ev.Choice, Finish: &reason})
	case inference.EventUsage:
		if !c.usage {
			return nil
		}
		*chunk.Usage = wireUsage(&ev.Usage)
	case inference.EventProgress:
		if !c.progress {
			return nil
		}
		chunk.Progress = wireProgress(ev.Progress)
	default:
		return nil
	}
	return out(chunk)
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
