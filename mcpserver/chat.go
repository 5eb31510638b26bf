package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"

	"hearth/inference"
)

// turn is one message as the tools take it.
type turn struct {
	Role    inference.Role `json:"role"`
	Content string         `json:"content"`
}

func messagesProperty(description string) property {
	item := object("", []string{"role", "content"},
		member("role", "string", "Who speaks.", `"enum":["system","user","assistant"]`),
		member("content", "string", "What is said.", ""),
	)
	return member("messages", "array", description, fmt.Sprintf(`"items":%s,"minItems":1,"maxItems":%d`, item, inference.MaxMessages))
}

func (s *Tools) chatTool() *tool {
	properties := append([]property{
		member("prompt", "string", "What to ask: one message of the user. Give either this or messages.", `"minLength":1`),
		messagesProperty("The conversation so far, oldest first. Give either this or prompt."),
		member("system", "string", "Instructions that stand before prompt; with messages give a message of the role system.", `"minLength":1`),
	}, samplingProperties("Most tokens to generate. Default: up to the end of the context.")...)
	properties = append(properties,
		member("reasoning", "boolean", "Whether a model that can think before it answers does. Default: true.", ""))
	return &tool{
		name:  "chat",
		title: "Ask the model",
		description: "Asks the local language model and returns its answer. Nothing leaves the server. " +
			"It remembers nothing between calls: send the whole conversation in messages.",
		input:  object("", nil, properties...),
		output: generatedSchema(),
		run:    s.chat,
	}
}

func (s *Tools) chat(ctx context.Context, r *run) (*outcome, error) {
	var a struct {
		sampling
		Prompt    string `json:"prompt"`
		Messages  []turn `json:"messages"`
		System    string `json:"system"`
		Reasoning *bool  `json:"reasoning"`
	}
	if err := json.Unmarshal(r.arguments, &a); err != nil {
		return nil, fmt.Errorf("read the arguments of chat: %w", err)
	}
	switch {
	case a.Prompt == "" && a.Messages == nil:
		return nil, inference.Invalid("prompt", "is required where messages is missing")
	case a.Prompt != "" && a.Messages != nil:
		return nil, inference.Invalid("prompt", "cannot stand beside messages: make it the last message")
	case a.System != "" && a.Messages != nil:
		return nil, inference.Invalid("system", "cannot stand beside messages: make it the first message, with the role system")
	}
	messages := conversation(a.Messages)
	if a.System != "" {
		messages = append(messages, inference.Message{Role: inference.RoleSystem, Content: a.System})
	}
	if a.Prompt != "" {
		messages = append(messages, inference.Message{Role: inference.RoleUser, Content: a.Prompt})
	}
	return s.ask(ctx, r, &a.sampling, func(lease inference.Lease, o inference.Options) (inference.Stream, error) {
		return lease.Chat(ctx, &inference.ChatRequest{
			Options:     o,
			Messages:    messages,
			ToolChoice:  inference.ToolChoice{Mode: inference.ToolNone},
			NoReasoning: a.Reasoning != nil && !*a.Reasoning,
		})
	})
}

func conversation(turns []turn) []inference.Message {
	messages := make([]inference.Message, 0, len(turns)+2)
	for _, t := range turns {
		messages = append(messages, inference.Message{Role: t.Role, Content: t.Content})
	}
	return messages
}

func (s *Tools) countTokensTool() *tool {
	return &tool{
		name:  "count_tokens",
		title: "Count tokens",
		description: "Counts the tokens of a text, or of a conversation with the model's chat template around it, without generating anything. " +
			"Compare the count with context, which the answer shares.",
		input: object("", nil,
			member("text", "string", "The text to count. Give either this or messages.", ""),
			messagesProperty("The conversation to count. Give either this or text."),
			modelProperty(),
		),
		output: object("", []string{"model", "tokens", "context"},
			member("model", "string", "Id of the model whose tokens were counted.", ""),
			member("tokens", "integer", "Number of tokens.", `"minimum":0`),
			member("context", "integer", "Tokens that one request, prompt and answer together, may use.", `"minimum":0`),
		),
		repeatable: true,
		run:        s.countTokens,
	}
}

func (s *Tools) countTokens(ctx context.Context, r *run) (*outcome, error) {
	var a struct {
		Text     *string `json:"text"`
		Messages []turn  `json:"messages"`
		Model    string  `json:"model"`
	}
	if err := json.Unmarshal(r.arguments, &a); err != nil {
		return nil, fmt.Errorf("read the arguments of count_tokens: %w", err)
	}
	if (a.Text == nil) == (a.Messages == nil) {
		return nil, inference.Invalid("text", "give either text or messages")
	}
	lease, err := s.config.Models.Acquire(ctx, a.Model)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	defer lease.Release()
	info := lease.Info()
	counted := struct {
		Model   string `json:"model"`
		Tokens  int    `json:"tokens"`
		Context int    `json:"context"`
	}{Model: info.ID, Context: info.Context}
	if a.Text != nil {
		tokens, err := lease.Tokenize(*a.Text, inference.TokenizeOptions{AddSpecial: true, ParseSpecial: true})
		if err != nil {
			return nil, err
		}
		counted.Tokens = len(tokens)
	} else {
		n, err := lease.CountChat(&inference.ChatRequest{
			Options:    inference.Options{Caller: callerOf(ctx), RequestID: r.id, N: 1, Sampling: info.Defaults},
			Messages:   conversation(a.Messages),
			ToolChoice: inference.ToolChoice{Mode: inference.ToolNone},
		})
		if err != nil {
			return nil, err
		}
		counted.Tokens = n
	}
	r.event.Str("model", info.ID).Int("prompt_tokens", counted.Tokens)
	return &outcome{structured: counted}, nil
}
