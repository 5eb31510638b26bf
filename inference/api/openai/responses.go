package openai

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"

	"hearth/inference"
)

// responses serves POST /v1/responses: OpenAI's Responses API without storage. The
// whole conversation comes with each request.
func (a *API) responses(w http.ResponseWriter, r *http.Request) {
	a.generate(w, r, &responsesRoute{id: a.id})
}

// responsesRoute is what a response has of its own.
type responsesRoute struct {
	id    func(prefix string) string
	req   inference.ChatRequest
	echo  echo
	lease inference.Lease
}

// echo is what an answer repeats of its request.
type echo struct {
	Instructions *string         `json:"instructions"`
	MaxTokens    *int            `json:"max_output_tokens"`
	Metadata     json.RawMessage `json:"metadata"`
	Parallel     bool            `json:"parallel_tool_calls"`
	Reasoning    json.RawMessage `json:"reasoning"`
	Temperature  float32         `json:"temperature"`
	Text         json.RawMessage `json:"text"`
	ToolChoice   json.RawMessage `json:"tool_choice"`
	Tools        json.RawMessage `json:"tools"`
	TopP         float32         `json:"top_p"`
	User         json.RawMessage `json:"user"`
}

// absent are the fields of the API that would need something stored, or that would
// bind the answer in a way that is not enforced here.
var absent = map[string]string{
	"previous_response_id": "needs stored responses, which there are none of here: send the whole conversation as input",
	"conversation":         "needs stored conversations, which there are none of here: send the whole conversation as input",
	"prompt":               "needs stored prompts, which there are none of here: send instructions and input",
	"background":           "needs stored responses, which there are none of here: leave it out, and stream",
	"max_tool_calls":       "is bounded by the configuration (agent.rounds), not by requests: leave it out",
	"max_tokens":           "is max_output_tokens here",
	"response_format":      "is text.format here",
	"messages":             "is input here",
	"n":                    "is not in this API: send several requests, or use /v1/chat/completions",
}

func (*responsesRoute) action() string   { return inference.ActionChat }
func (*responsesRoute) idPrefix() string { return "resp_" }

func (c *responsesRoute) read(f *fields, o inference.Options) {
	for _, key := range slices.Sorted(maps.Keys(absent)) {
		f.refuse(key, absent[key])
	}
	c.req.Options = o
	c.req.ParallelToolCalls = true
	f.boolean("parallel_tool_calls", &c.req.ParallelToolCalls)
	if bare := true; f.boolean("bare_tool_calls", &bare) {
		c.req.BareCalls = &bare
	}
	var most int
	if f.integer("max_output_tokens", &most) {
		if most < 1 {
			f.fail("max_output_tokens", "must be at least 1, got %d", most)
		}
		c.req.MaxTokens, c.echo.MaxTokens = most, &most
	}
	readTruncation(f)
	c.readLogprobs(f)
	c.readText(f)
	c.readReasoning(f)
	readResponseTools(f, &c.req)
	c.req.ToolChoice = readResponseChoice(f)
	readInput(f, &c.req)
	c.keepEcho(f)
}

// readTruncation refuses to have a conversation cut: what does not fit is an error.
func readTruncation(f *fields) {
	var mode string
	if f.str("truncation", &mode) && mode != "disabled" {
		f.fail("truncation", "must be disabled: a conversation is never cut silently here; leave older items out of input")
	}
}

// readLogprobs takes the two ways to ask for log probabilities.
func (c *responsesRoute) readLogprobs(f *fields) {
	var include []string
	readStrings(f, "include", &include)
	for _, what := range include {
		if what == "message.output_text.logprobs" {
			c.req.Logprobs = true
		}
	}
	if f.integer("top_logprobs", &c.req.TopLogprobs) && c.req.TopLogprobs > 0 {
		c.req.Logprobs = true
	}
}

// readText takes text.format.
func (c *responsesRoute) readText(f *fields) {
	c.req.Format = inference.Format{Kind: inference.FormatText}
	o, ok := f.object("text")
	if !ok {
		return
	}
	o.take("verbosity")
	if format, ok := o.object("format"); ok {
		var kind string
		if !format.str("type", &kind) {
			format.fail("type", "is missing; it must be text, json_object or json_schema")
		}
		switch c.req.Format.Kind = inference.FormatKind(kind); c.req.Format.Kind {
		case inference.FormatText, inference.FormatJSONObject:
		case inference.FormatJSONSchema:
			if c.req.Format.Schema, ok = format.take("schema"); !ok {
				format.fail("schema", "is missing")
			}
		default:
			format.fail("type", "must be text, json_object or json_schema, got %.40q", kind)
		}
		if err := format.err(); err != nil {
			o.failed(err)
		}
	}
	if err := o.err(); err != nil {
		f.failed(err)
	}
}

// readReasoning takes reasoning.effort, and what chat completions have of their own.
func (c *responsesRoute) readReasoning(f *fields) {
	readThinking(f, &c.req)
	o, ok := f.object("reasoning")
	if !ok {
		return
	}
	var effort string
	if o.str("effort", &effort) && effort == "none" {
		c.req.NoReasoning = true
	} else if v, ok := o.take("effort"); ok {
		if c.req.TemplateArgs == nil {
			c.req.TemplateArgs = map[string]json.RawMessage{}
		}
		c.req.TemplateArgs["reasoning_effort"] = v
	}
	if err := o.err(); err != nil {
		f.failed(err)
	}
}

// keepEcho notes what the answer repeats.
func (c *responsesRoute) keepEcho(f *fields) {
	or := func(key, otherwise string) json.RawMessage {
		if v, ok := f.take(key); ok {
			return v
		}
		return json.RawMessage(otherwise)
	}
	e := &c.echo
	var text string
	if f.str("instructions", &text) {
		e.Instructions = &text
	}
	e.Metadata, e.Reasoning = or("metadata", "{}"), or("reasoning", `{"effort":null,"summary":null}`)
	e.Text = or("text", `{"format":{"type":"text"}}`)
	e.ToolChoice, e.Tools, e.User = or("tool_choice", `"auto"`), or("tools", "[]"), or("user", "null")
	e.Parallel, e.Temperature, e.TopP = c.req.ParallelToolCalls, c.req.Sampling.Temperature, c.req.Sampling.TopP
}

func (c *responsesRoute) start(ctx context.Context, m inference.Lease) (inference.Stream, error) {
	c.lease = m
	return m.Chat(ctx, &c.req)
}

func (c *responsesRoute) chunker(head chatHead, _ streaming) chunker {
	return &responseChunker{builder: c.builder(head)}
}

func (c *responsesRoute) collect(ctx context.Context, s inference.Stream, head chatHead) (any, error) {
	defer s.Close()
	b := c.builder(head)
	for {
		ev, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return &b.response, nil
		}
		if err != nil {
			return nil, err
		}
		if err := b.take(&ev); err != nil {
			return nil, err
		}
	}
}

func (c *responsesRoute) builder(head chatHead) *responseBuilder {
	b := &responseBuilder{id: c.id, logprobs: c.req.Logprobs, round: 1, calls: map[string]*openItem{}, functions: map[int]*openItem{}}
	b.response = response{
		ID: head.ID, Object: "response", Created: head.Created, Status: callRunning, Model: head.Model,
		Output: []any{}, Truncation: "disabled", Tier: head.Tier, TopLogprobs: c.req.TopLogprobs, echo: c.echo,
	}
	b.count = func(text string) int {
		tokens, err := c.lease.Tokenize(text, inference.TokenizeOptions{})
		if err != nil {
			return 0
		}
		return len(tokens)
	}
	return b
}
