package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"hearth/inference"
)

// generateDefault is max_tokens of the tool generate where the caller gives
// none: a text that is continued has no end of its own.
const generateDefault = 256

// sampling are the arguments that chat and generate have in common.
type sampling struct {
	Model            string          `json:"model"`
	MaxTokens        *whole          `json:"max_tokens"`
	Temperature      *float32        `json:"temperature"`
	TopP             *float32        `json:"top_p"`
	TopK             *whole          `json:"top_k"`
	MinP             *float32        `json:"min_p"`
	RepeatPenalty    *float32        `json:"repeat_penalty"`
	PresencePenalty  *float32        `json:"presence_penalty"`
	FrequencyPenalty *float32        `json:"frequency_penalty"`
	Seed             *whole          `json:"seed"`
	Stop             []string        `json:"stop"`
	JSONSchema       json.RawMessage `json:"json_schema"`
}

func samplingProperties(maxTokens string) []property {
	return []property{
		modelProperty(),
		member("max_tokens", "integer", maxTokens, `"minimum":1,"maximum":2147483647`),
		member("temperature", "number", "How freely the next token is drawn: 0 always takes the likeliest. Default: the model's own.", between("0", "2")),
		member("top_p", "number", "Draw from the likeliest tokens that together have this probability; 1 switches it off. Above 0.", between("0", "1")),
		member("top_k", "integer", "Draw from this many of the likeliest tokens; 0 switches it off.", between("0", strconv.Itoa(inference.MaxTopK))),
		member("min_p", "number", "Leave out tokens that are this many times less likely than the likeliest; 0 switches it off.", between("0", "1")),
		member("repeat_penalty", "number", "Make tokens that appeared lately less likely; 1 switches it off.", between("0.01", "10")),
		member("presence_penalty", "number", "Make tokens that appeared lately less likely, however often they did; 0 switches it off.", between("-2", "2")),
		member("frequency_penalty", "number", "Make tokens that appeared lately less likely, by how often they did; 0 switches it off.", between("-2", "2")),
		member("seed", "integer", "The same seed draws the same tokens when the server has nothing else to do. Default: a random one.", between("0", "4294967295")),
		member("stop", "array", "End the answer where one of these strings would appear; the string itself is left out.",
			fmt.Sprintf(`"items":{"type":"string","minLength":1,"maxLength":%d},"maxItems":%d`, inference.MaxStopBytes, inference.MaxStops)),
		member("json_schema", "object", "A JSON Schema: the answer is JSON that conforms to it.", ""),
	}
}

func modelProperty() property {
	return member("model", "string", "Id of a served model, as list_models gives it. Default: the first.", `"minLength":1,"maxLength":256`)
}

// options returns the options of a request to the model of lease.
func (s *Server) options(ctx context.Context, r *run, a *sampling, lease inference.Lease) inference.Options {
	o := inference.Options{Caller: callerOf(ctx), RequestID: r.id, Sampling: lease.Info().Defaults, N: 1, Stop: a.Stop}
	if s.config.CallTimeout > 0 {
		o.Deadline = time.Now().Add(s.config.CallTimeout)
	}
	set(&o.Sampling.Temperature, a.Temperature)
	set(&o.Sampling.TopP, a.TopP)
	set(&o.Sampling.MinP, a.MinP)
	set(&o.Sampling.RepeatPenalty, a.RepeatPenalty)
	set(&o.Sampling.PresencePenalty, a.PresencePenalty)
	set(&o.Sampling.FrequencyPenalty, a.FrequencyPenalty)
	if a.TopK != nil {
		o.Sampling.TopK = int(*a.TopK)
	}
	if a.MaxTokens != nil {
		o.MaxTokens = int(*a.MaxTokens)
	}
	if a.Seed != nil {
		seed := uint32(*a.Seed) // the schema bounds it
		o.Sampling.Seed = &seed
	}
	o.Format.Kind = inference.FormatText
	if a.JSONSchema != nil {
		o.Format = inference.Format{Kind: inference.FormatJSONSchema, Schema: a.JSONSchema}
	}
	return o
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// generated is the structured result of chat and generate.
type generated struct {
	Model        string                 `json:"model"`
	Text         string                 `json:"text"`
	Reasoning    string                 `json:"reasoning,omitempty"`
	JSON         json.RawMessage        `json:"json,omitempty"`
	FinishReason inference.FinishReason `json:"finish_reason"`
	Usage        usage                  `json:"usage"`
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CachedTokens     int `json:"cached_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

func generatedSchema() string {
	count := `"minimum":0`
	return object("", []string{"model", "text", "finish_reason", "usage"},
		member("model", "string", "Id of the model that answered.", ""),
		member("text", "string", "The text.", ""),
		member("reasoning", "string", "What the model thought before it answered, if it shows that.", ""),
		property{"json", `{"description":"The text as JSON, if json_schema was given and the answer is whole."}`},
		member("finish_reason", "string", "stop: the answer is whole; length: max_tokens or the end of the context cut it off.", `"enum":["stop","length"]`),
		property{"usage", object("Tokens that were counted.", []string{"prompt_tokens", "cached_tokens", "completion_tokens", "total_tokens"},
			member("prompt_tokens", "integer", "Tokens of the prompt.", count),
			member("cached_tokens", "integer", "Those of the prompt that were not computed again.", count),
			member("completion_tokens", "integer", "Tokens generated.", count),
			member("total_tokens", "integer", "Prompt and generated tokens.", count),
		)},
	)
}

// ask leases the model, lets start ask it, and reads the answer.
func (s *Server) ask(ctx context.Context, r *run, a *sampling, start func(inference.Lease, inference.Options) (inference.Stream, error)) (*outcome, error) {
	lease, err := s.config.Models.Acquire(ctx, a.Model)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	defer lease.Release()
	o := s.options(ctx, r, a, lease)
	r.call.reached = true
	stream, err := start(lease, o)
	if err != nil {
		return nil, err
	}
	return s.stream(ctx, r, a, lease.Info().ID, stream)
}

// stream runs one generation to its end.
func (s *Server) stream(ctx context.Context, r *run, a *sampling, model string, stream inference.Stream) (*outcome, error) {
	total := 0
	if a.MaxTokens != nil {
		total = int(*a.MaxTokens)
	}
	got, err := collect(ctx, stream, newProgress(r.call, s.every, total))
	if err != nil {
		return nil, err
	}
	g := generated{
		Model: model, Text: got.text.String(), Reasoning: got.reasoning.String(), FinishReason: got.finish,
		Usage: usage{
			PromptTokens: got.usage.PromptTokens, CachedTokens: got.usage.CachedTokens, CompletionTokens: got.usage.CompletionTokens,
			TotalTokens: got.usage.PromptTokens + got.usage.CompletionTokens,
		},
	}
	if a.JSONSchema != nil && got.finish == inference.FinishStop && json.Valid([]byte(g.Text)) {
		g.JSON = json.RawMessage(g.Text)
	}
	r.event.Str("model", model).Int("prompt_tokens", g.Usage.PromptTokens).Int("cached_tokens", g.Usage.CachedTokens).
		Int("completion_tokens", g.Usage.CompletionTokens).Str("finish_reason", string(g.FinishReason))
	return &outcome{text: g.Text, structured: g}, nil
}

func (s *Server) generateTool() *tool {
	return &tool{
		name:  "generate",
		title: "Continue a text",
		description: "Continues a text exactly where it ends, without a chat template: for base models, completion and fill-in prompts. " +
			"For questions and conversations use chat.",
		input: object("", []string{"prompt"}, append([]property{
			member("prompt", "string", "The text to continue.", `"minLength":1`),
		}, samplingProperties(fmt.Sprintf("Most tokens to generate. Default: %d.", generateDefault))...)...),
		output: generatedSchema(),
		action: inference.ActionComplete,
		run:    s.generate,
	}
}

func (s *Server) generate(ctx context.Context, r *run) (*outcome, error) {
	var a struct {
		sampling
		Prompt string `json:"prompt"`
	}
	if err := json.Unmarshal(r.arguments, &a); err != nil {
		return nil, fmt.Errorf("read the arguments of generate: %w", err)
	}
	if a.MaxTokens == nil {
		most := whole(generateDefault)
		a.MaxTokens = &most
	}
	return s.ask(ctx, r, &a.sampling, func(lease inference.Lease, o inference.Options) (inference.Stream, error) {
		return lease.Complete(ctx, &inference.CompletionRequest{Options: o, Prompt: a.Prompt})
	})
}
