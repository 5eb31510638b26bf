package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"hearth/inference"
)

// maxEmbedInputs bounds the texts of one call: each comes back as hundreds of
// numbers, and a client reads the result as one message.
const maxEmbedInputs = 256

// embedded is the structured result of embed.
type embedded struct {
	Model   string      `json:"model"`
	Vectors [][]float32 `json:"vectors"`
	Tokens  int         `json:"tokens"`
}

func (s *Tools) embedTool() *tool {
	return &tool{
		name:  "embed",
		title: "Embed texts",
		description: "Turns texts into vectors of length 1 whose dot product says how alike their meaning is. " +
			"Needs a model that makes embeddings: list_models shows which do.",
		input: object("", []string{"input"},
			member("input", "array", "The texts.", fmt.Sprintf(`"items":{"type":"string"},"minItems":1,"maxItems":%d`, maxEmbedInputs)),
			member("model", "string", "Id of a served model, as list_models gives it. Default: the first that makes embeddings.", `"minLength":1,"maxLength":256`),
			member("dimensions", "integer", "Cut the vectors to so many numbers, for models that were trained for it. Default: all.", between("1", strconv.Itoa(1<<20))),
			member("truncate", "boolean", "Cut a text that is too long instead of refusing the call. Default: false.", ""),
		),
		output: object("", []string{"model", "vectors", "tokens"},
			member("model", "string", "The model that made them.", ""),
			property{"vectors", `{"type":"array","description":"A vector for each text, in their order.","items":{"type":"array","items":{"type":"number"}}}`},
			member("tokens", "integer", "Tokens that were computed.", `"minimum":0`),
		),
		repeatable: true,
		run:        s.embed,
	}
}

func (s *Tools) embed(ctx context.Context, r *run) (*outcome, error) {
	var a struct {
		Input      []string `json:"input"`
		Model      string   `json:"model"`
		Dimensions whole    `json:"dimensions"`
		Truncate   bool     `json:"truncate"`
	}
	if err := json.Unmarshal(r.arguments, &a); err != nil {
		return nil, fmt.Errorf("read the arguments of embed: %w", err)
	}
	if a.Model == "" {
		a.Model = s.first(func(m *inference.ModelInfo) bool { return m.Embedding.Pooling != "" })
	}
	lease, err := s.config.Models.Acquire(ctx, a.Model)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	req := &inference.EmbedRequest{
		Caller: callerOf(ctx), RequestID: r.id, Dimensions: int(a.Dimensions), Truncate: a.Truncate,
		Deadline: s.deadline(),
		Inputs:   make([]inference.EmbedInput, len(a.Input)),
	}
	for i, text := range a.Input {
		req.Inputs[i].Text = text
	}
	r.reached()
	out, err := inference.Embed(ctx, lease, req)
	if err != nil {
		return nil, err
	}
	r.event.Str("model", lease.Info().ID).Int("inputs", len(a.Input)).Int("prompt_tokens", out.Tokens)
	return &outcome{structured: embedded{Model: lease.Info().ID, Vectors: out.Vectors, Tokens: out.Tokens}}, nil
}

// first returns the id of the first model that can do what is asked; "" if none
// can, so that the refusal is that of the default model.
func (s *Tools) first(can func(*inference.ModelInfo) bool) string {
	for _, status := range s.config.Models.List() {
		if status.State == inference.ModelReady && can(&status.Info) {
			return status.Info.ID
		}
	}
	return ""
}
