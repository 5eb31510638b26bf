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
	RepeatLastN      *whole          `json:"repeat_last_n"`
	TypicalP         *float32        `json:"typical_p"`
	TopNSigma        *float32        `json:"top_n_sigma"`
	DryMultiplier    *float32        `json:"dry_multiplier"`
	DryBase          *float32        `json:"dry_base"`
	DryAllowedLength *whole          `json:"dry_allowed_length"`
	DryLastN         *whole          `json:"dry_penalty_last_n"`
	DryBreakers      []string        `json:"dry_sequence_breakers"`
	XTCProbability   *float32        `json:"xtc_probability"`
	XTCThreshold     *float32        `json:"xtc_threshold"`
	Mirostat         *whole          `json:"mirostat"`
	MirostatTau      *float32        `json:"mirostat_tau"`
	MirostatEta      *float32        `json:"mirostat_eta"`
	DynatempRange    *float32        `json:"dynatemp_range"`
	DynatempExponent *float32        `json:"dynatemp_exponent"`
	Banned           []string        `json:"banned_strings"`
	Seed             *whole          `json:"seed"`
	Stop             []string        `json:"stop"`
	JSONSchema       json.RawMessage `json:"json_schema"`
	Grammar          string          `json:"grammar"`
	Lora             []loraUse       `json:"lora"`
}

// loraUse is an adapter that the answer is to be computed with.
type loraUse struct {
	Name  string   `json:"name"`
	Scale *float32 `json:"scale"`
}

// loraProperty is the list of adapters of a request.
func loraProperty() property {
	most := strconv.Itoa(inference.MaxAdapterScale)
	return member("lora", "array", "LoRA adapters of the model to answer with, by the names that list_models gives.",
		fmt.Sprintf(`"items":%s,"maxItems":%d`, object("", []string{"name"},
			member("name", "string", "Name of the adapter.", `"minLength":1,"maxLength":64`),
			member("scale", "number", "How strong it is: 1 as it was trained, 0 not at all. Default: the adapter's own.", between("-"+most, most)),
		), inference.MaxAdapters))
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
		member("repeat_last_n", "integer", "How many tokens the penalties look back on.", between("0", strconv.Itoa(inference.MaxRepeatLastN))),
		member("typical_p", "number", "Draw from the tokens of the most expected surprise that together have this probability; 1 switches it off.", between("0", "1")),
		member("top_n_sigma", "number", "Leave out tokens this many standard deviations below the likeliest; 0 switches it off.", between("0", "100")),
		member("dry_multiplier", "number", "Make tokens that would extend a repetition less likely, by its length; 0 switches it off.", between("0", "100")),
		member("dry_base", "number", "How fast that grows with the length.", between("1", "10")),
		member("dry_allowed_length", "integer", "Tokens from which a repetition counts.", between("0", strconv.Itoa(inference.MaxRepeatLastN))),
		member("dry_penalty_last_n", "integer", "How many tokens are searched for repetitions.", between("0", strconv.Itoa(inference.MaxRepeatLastN))),
		member("dry_sequence_breakers", "array", "Strings that no repetition reaches across.", listOf(inference.MaxBreakerBytes, inference.MaxDryBreakers)),
		member("xtc_probability", "number", "How often the likeliest tokens are left out; 0 switches it off.", between("0", "1")),
		member("xtc_threshold", "number", "Which are: all at least so likely, but for the least likely of them.", between("0", "1")),
		member("mirostat", "integer", "Steer the surprise of the tokens, by version 1 or 2 of Mirostat; 0 switches it off.", between("0", "2")),
		member("mirostat_tau", "number", "To so many bits.", between("0", "100")),
		member("mirostat_eta", "number", "Learning at this rate.", between("0", "1")),
		member("dynatemp_range", "number", "Let the temperature move by so much with how unsure the model is; 0 switches it off.", between("0", "2")),
		member("dynatemp_exponent", "number", "The power that its entropy is taken to.", between("0", "10")),
		member("banned_strings", "array", "Strings that never appear in the answer.", listOf(inference.MaxBannedBytes, inference.MaxBanned)),
		member("seed", "integer", "The same seed draws the same tokens when the server has nothing else to do. Default: a random one.", between("0", "4294967295")),
		member("stop", "array", "End the answer where one of these strings would appear; the string itself is left out.",
			listOf(inference.MaxStopBytes, inference.MaxStops)),
		member("json_schema", "object", "A JSON Schema: the answer is JSON that conforms to it.", ""),
		loraProperty(),
		member("grammar", "string", "A grammar in GBNF, the notation of llama.cpp, that the answer is held to. Not beside json_schema.", `"minLength":1`),
	}
}

// listOf is the rest of the schema of a list of strings.
func listOf(length, items int) string {
	return fmt.Sprintf(`"items":{"type":"string","minLength":1,"maxLength":%d},"maxItems":%d`, length, items)
}

func modelProperty() property {
	return member("model", "string", "Id of a served model, as list_models gives it. Default: the first.", `"minLength":1,"maxLength":256`)
}

// deadline is when a call of a model that begins now has to end; zero: never.
func (s *Tools) deadline() time.Time {
	if s.config.CallTimeout == 0 {
		return time.Time{}
	}
	return time.Now().Add(s.config.CallTimeout)
}

// options returns the options of a request to the model of lease.
func (s *Tools) options(ctx context.Context, r *run, a *sampling, lease inference.Lease) inference.Options {
	o := inference.Options{
		Caller: callerOf(ctx), RequestID: r.id, Deadline: s.deadline(), Sampling: lease.Info().Defaults, N: 1, Stop: a.Stop,
	}
	a.sample(&o.Sampling)
	if a.MaxTokens != nil {
		o.MaxTokens = int(*a.MaxTokens)
	}
	for _, u := range a.Lora {
		o.Adapters = append(o.Adapters, inference.AdapterUse{Name: u.Name, Scale: u.Scale})
	}
	o.Grammar = a.Grammar
	o.Format.Kind = inference.FormatText
	if a.JSONSchema != nil {
		o.Format = inference.Format{Kind: inference.FormatJSONSchema, Schema: a.JSONSchema}
	}
	return o
}

// sample puts what was given into s. The schema has bounded it.
func (a *sampling) sample(s *inference.Sampling) {
	for _, f := range []struct{ to, from *float32 }{
		{&s.Temperature, a.Temperature},
		{&s.TopP, a.TopP},
		{&s.MinP, a.MinP},
		{&s.RepeatPenalty, a.RepeatPenalty},
		{&s.PresencePenalty, a.PresencePenalty},
		{&s.FrequencyPenalty, a.FrequencyPenalty},
		{&s.TypicalP, a.TypicalP},
		{&s.TopNSigma, a.TopNSigma},
		{&s.DryMultiplier, a.DryMultiplier},
		{&s.DryBase, a.DryBase},
		{&s.XTCProbability, a.XTCProbability},
		{&s.XTCThreshold, a.XTCThreshold},
		{&s.MirostatTau, a.MirostatTau},
		{&s.MirostatEta, a.MirostatEta},
		{&s.DynatempRange, a.DynatempRange},
		{&s.DynatempExponent, a.DynatempExponent},
	} {
		set(f.to, f.from)
	}
	for _, f := range []struct {
		to   *int
		from *whole
	}{
		{&s.TopK, a.TopK},
		{&s.RepeatLastN, a.RepeatLastN},
		{&s.DryAllowedLength, a.DryAllowedLength},
		{&s.DryLastN, a.DryLastN},
		{&s.Mirostat, a.Mirostat},
	} {
		if f.from != nil {
			*f.to = int(*f.from)
		}
	}
	if a.DryBreakers != nil {
		s.DryBreakers = a.DryBreakers
	}
	s.Banned = a.Banned
	if a.Seed != nil {
		seed := uint32(*a.Seed)
		s.Seed = &seed
	}
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
func (s *Tools) ask(ctx context.Context, r *run, a *sampling, start func(inference.Lease, inference.Options) (inference.Stream, error)) (*outcome, error) {
	lease, err := s.config.Models.Acquire(ctx, a.Model)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	defer lease.Release()
	o := s.options(ctx, r, a, lease)
	r.reached()
	stream, err := start(lease, o)
	if err != nil {
		return nil, err
	}
	return s.stream(ctx, r, a, lease.Info().ID, stream)
}

// stream runs one generation to its end.
func (s *Tools) stream(ctx context.Context, r *run, a *sampling, model string, stream inference.Stream) (*outcome, error) {
	total := 0
	if a.MaxTokens != nil {
		total = int(*a.MaxTokens)
	}
	got, err := collect(ctx, stream, newProgress(r, s.every, total))
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

func (s *Tools) generateTool() *tool {
	return &tool{
		name:  "generate",
		title: "Continue a text",
		description: "Continues a text exactly where it ends, without a chat template: for base models, completion and fill-in prompts. " +
			"For questions and conversations use chat.",
		input: object("", []string{"prompt"}, append([]property{
			member("prompt", "string", "The text to continue.", `"minLength":1`),
		}, samplingProperties(fmt.Sprintf("Most tokens to generate. Default: %d.", generateDefault))...)...),
		output: generatedSchema(),
		run:    s.generate,
	}
}

func (s *Tools) generate(ctx context.Context, r *run) (*outcome, error) {
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
