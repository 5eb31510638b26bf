package main

import (
	"encoding/json"

	"hearth/inference"
)

// options writes what chat and completion requests have in common.
func (m *remoteModel) options(o *inference.Options) map[string]any {
	s := o.Sampling
	b := map[string]any{
		"model": m.info.ID, "n": max(o.N, 1),
		"temperature": s.Temperature, "top_k": s.TopK, "top_p": s.TopP, "min_p": s.MinP,
		"repeat_penalty": s.RepeatPenalty, "repeat_last_n": s.RepeatLastN,
		"presence_penalty": s.PresencePenalty, "frequency_penalty": s.FrequencyPenalty,
		"typical_p": s.TypicalP, "top_n_sigma": s.TopNSigma,
		"dry_multiplier": s.DryMultiplier, "dry_allowed_length": s.DryAllowedLength, "dry_penalty_last_n": s.DryLastN,
		"dry_sequence_breakers": append([]string{}, s.DryBreakers...),
		"xtc_probability":       s.XTCProbability, "xtc_threshold": s.XTCThreshold,
		"mirostat": s.Mirostat, "mirostat_tau": s.MirostatTau, "mirostat_eta": s.MirostatEta,
		"dynatemp_range": s.DynatempRange, "dynatemp_exponent": s.DynatempExponent,
		"banned_strings": append([]string{}, s.Banned...),
	}
	if s.DryBase != 0 { // which no request may say
		b["dry_base"] = s.DryBase
	}
	if s.Seed != nil {
		b["seed"] = *s.Seed
	}
	if len(s.LogitBias) > 0 {
		b["logit_bias"] = s.LogitBias
	}
	if o.Priority == inference.PriorityLow {
		b["service_tier"] = "flex"
	}
	if o.MaxTokens > 0 {
		b["max_tokens"] = o.MaxTokens
	}
	if len(o.Adapters) > 0 {
		lora := []map[string]any{}
		for _, u := range o.Adapters {
			use := map[string]any{"name": u.Name}
			if u.Scale != nil {
				use["scale"] = *u.Scale
			}
			lora = append(lora, use)
		}
		b["lora"] = lora
	}
	if len(o.Stop) > 0 {
		b["stop"] = o.Stop
	}
	if o.Grammar != "" {
		b["grammar"] = o.Grammar
	}
	switch o.Format.Kind {
	case inference.FormatJSONObject:
		b["response_format"] = map[string]any{"type": "json_object"}
	case inference.FormatJSONSchema:
		b["response_format"] = map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "answer", "schema": o.Format.Schema}}
	}
	return b
}

// chatBody writes a chat request.
func (m *remoteModel) chatBody(r *inference.ChatRequest) map[string]any {
	b := m.options(&r.Options)
	messages := []map[string]any{}
	for i := range r.Messages {
		messages = append(messages, wireMessage(&r.Messages[i]))
	}
	b["messages"] = messages
	if len(r.Tools) > 0 {
		tools := []map[string]any{}
		for _, t := range r.Tools {
			f := map[string]any{"name": t.Name, "description": t.Description}
			if len(t.Parameters) > 0 {
				f["parameters"] = t.Parameters
			}
			if t.Strict {
				f["strict"] = true
			}
			tools = append(tools, map[string]any{"type": "function", "function": f})
		}
		b["tools"] = tools
		b["parallel_tool_calls"] = r.ParallelToolCalls
		if c := r.ToolChoice; c.Name != "" {
			b["tool_choice"] = map[string]any{"type": "function", "function": map[string]any{"name": c.Name}}
		} else if c.Mode != "" {
			b["tool_choice"] = c.Mode
		}
	}
	args := map[string]json.RawMessage{}
	for k, v := range r.TemplateArgs {
		args[k] = v
	}
	if r.NoReasoning {
		args["enable_thinking"] = json.RawMessage("false")
	}
	if len(args) > 0 {
		b["chat_template_kwargs"] = args
	}
	if r.ReasoningBudget != nil {
		b["thinking_budget_tokens"] = *r.ReasoningBudget
	}
	if r.BareCalls != nil {
		b["bare_tool_calls"] = *r.BareCalls
	}
	if r.Logprobs {
		b["logprobs"], b["top_logprobs"] = true, r.TopLogprobs
	}
	return b
}

func wireMessage(m *inference.Message) map[string]any {
	w := map[string]any{"role": m.Role, "content": m.Content}
	if m.Name != "" {
		w["name"] = m.Name
	}
	if m.Reasoning != "" {
		w["reasoning_content"] = m.Reasoning
	}
	if m.ToolCallID != "" {
		w["tool_call_id"] = m.ToolCallID
	}
	if len(m.ToolCalls) > 0 {
		calls := []map[string]any{}
		for _, c := range m.ToolCalls {
			calls = append(calls, map[string]any{"id": c.ID, "type": "function", "function": map[string]any{"name": c.Name, "arguments": c.Arguments}})
		}
		w["tool_calls"] = calls
	}
	return w
}

// completionBody writes a completion request.
func (m *remoteModel) completionBody(r *inference.CompletionRequest) map[string]any {
	b := m.options(&r.Options)
	b["prompt"] = r.Prompt
	if r.Tokens != nil {
		b["prompt"] = r.Tokens
	}
	if r.Echo {
		b["echo"] = true
	}
	if r.Logprobs {
		b["logprobs"] = r.TopLogprobs
	}
	return b
}

// wireChunk is one event of a streamed answer, of a chat or a completion.
type wireChunk struct {
	Choices []struct {
		Index int    `json:"index"`
		Text  string `json:"text"`
		Delta struct {
			Content   string `json:"content"`
			Reasoning string `json:"reasoning_content"`
			ToolCalls []struct {
				Index    int    `json:"index"`
				ID       string `json:"id"`
				Function struct {
					Name      string `json:"name"`
					Arguments string `json:"arguments"`
				} `json:"function"`
			} `json:"tool_calls"`
		} `json:"delta"`
		Finish *inference.FinishReason `json:"finish_reason"`
	} `json:"choices"`
	Progress *struct {
		Total     int `json:"total"`
		Processed int `json:"processed"`
	} `json:"prompt_progress"`
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Details    struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
	Error *remoteError `json:"error"`
}

// events turns a chunk into the events that it was made of.
func (c *wireChunk) events() []inference.Event {
	var all []inference.Event
	for i := range c.Choices {
		choice := &c.Choices[i]
		content := choice.Text + choice.Delta.Content
		if content != "" || choice.Delta.Reasoning != "" {
			all = append(all, inference.Event{Kind: inference.EventDelta, Choice: choice.Index, Content: content, Reasoning: choice.Delta.Reasoning})
		}
		for _, t := range choice.Delta.ToolCalls {
			all = append(all, inference.Event{Kind: inference.EventDelta, Choice: choice.Index, ToolCall: &inference.ToolCallDelta{
				Index: t.Index, ID: t.ID, Name: t.Function.Name, Arguments: t.Function.Arguments,
			}})
		}
		if choice.Finish != nil {
			all = append(all, inference.Event{Kind: inference.EventFinish, Choice: choice.Index, Finish: *choice.Finish})
		}
	}
	if p := c.Progress; p != nil {
		all = append(all, inference.Event{Kind: inference.EventProgress, Progress: inference.Progress{Prefilled: p.Processed, Prompt: p.Total}})
	}
	if c.Usage != nil {
		all = append(all, inference.Event{Kind: inference.EventUsage, Usage: inference.Usage{
			PromptTokens: c.Usage.Prompt, CompletionTokens: c.Usage.Completion, CachedTokens: c.Usage.Details.Cached,
		}})
	}
	return all
}
