package main

import (
	"context"
	"fmt"
	"net/http"

	"hearth/inference"
)

// wireRerank is what /v1/models says of a model that scores documents.
type wireRerank struct {
	MaxTokens int `json:"max_tokens"`
}

// Rerank asks the server.
func (m *remoteModel) Rerank(ctx context.Context, r *inference.RerankRequest) (*inference.Ranking, error) {
	body := map[string]any{"model": m.info.ID, "query": r.Query, "documents": r.Documents, "truncate": r.Truncate}
	if r.TopN > 0 {
		body["top_n"] = r.TopN
	}
	ctx, cancel := until(ctx, r.Deadline)
	defer cancel()
	var answer struct {
		Results []struct {
			Index int     `json:"index"`
			Score float32 `json:"relevance_score"`
		} `json:"results"`
		Usage struct {
			Prompt int `json:"prompt_tokens"`
		} `json:"usage"`
	}
	if err := m.call(ctx, http.MethodPost, "/v1/rerank", body, &answer); err != nil {
		return nil, err
	}
	out := &inference.Ranking{Results: make([]inference.Ranked, len(answer.Results)), Tokens: answer.Usage.Prompt}
	for i, d := range answer.Results {
		if d.Index < 0 || d.Index >= len(r.Documents) {
			return nil, fmt.Errorf("%w: the server ranked document %d of %d", inference.ErrEngine, d.Index, len(r.Documents))
		}
		out.Results[i] = inference.Ranked{Index: d.Index, Score: d.Score}
	}
	return out, nil
}
