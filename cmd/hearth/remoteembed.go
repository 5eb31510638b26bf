package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"time"

	"hearth/inference"
)

// wireEmbedding is what /v1/models says of a model that makes vectors.
type wireEmbedding struct {
	Dimensions int               `json:"dimensions"`
	MaxTokens  int               `json:"max_tokens"`
	Pooling    inference.Pooling `json:"pooling"`
}

// until bounds ctx by a request's deadline, if it has one.
func until(ctx context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	if deadline.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline)
}

// Embed asks the server.
func (m *remoteModel) Embed(ctx context.Context, r *inference.EmbedRequest) (*inference.Embeddings, error) {
	input := make([]any, len(r.Inputs))
	for i, in := range r.Inputs {
		if input[i] = in.Text; in.Tokens != nil {
			input[i] = in.Tokens
		}
	}
	body := map[string]any{"model": m.info.ID, "input": input, "encoding_format": "base64", "truncate": r.Truncate}
	if r.Dimensions > 0 {
		body["dimensions"] = r.Dimensions
	}
	ctx, cancel := until(ctx, r.Deadline)
	defer cancel()
	var answer struct {
		Data []struct {
			Index     int    `json:"index"`
			Embedding string `json:"embedding"`
		} `json:"data"`
		Usage struct {
			Prompt int `json:"prompt_tokens"`
		} `json:"usage"`
	}
	if err := m.call(ctx, http.MethodPost, "/v1/embeddings", body, &answer); err != nil {
		return nil, err
	}
	if len(answer.Data) != len(r.Inputs) {
		return nil, fmt.Errorf("%w: the server sent %d vectors for %d inputs", inference.ErrEngine, len(answer.Data), len(r.Inputs))
	}
	out := &inference.Embeddings{Vectors: make([][]float32, len(r.Inputs)), Tokens: answer.Usage.Prompt}
	for _, d := range answer.Data {
		b, err := base64.StdEncoding.DecodeString(d.Embedding)
		if err != nil || len(b)%4 != 0 || d.Index < 0 || d.Index >= len(out.Vectors) {
			return nil, fmt.Errorf("%w: the server sent a vector that cannot be read", inference.ErrEngine)
		}
		v := make([]float32, len(b)/4)
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		out.Vectors[d.Index] = v
	}
	return out, nil
}
