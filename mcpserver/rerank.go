package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"hearth/inference"
)

// maxRerankDocuments bounds the documents of one call.
const maxRerankDocuments = 256

// reranked is the structured result of rerank.
type reranked struct {
	Model   string           `json:"model"`
	Results []rankedDocument `json:"results"`
	Tokens  int              `json:"tokens"`
}

type rankedDocument struct {
	Index    int     `json:"index"`
	Score    float32 `json:"relevance_score"`
	Document string  `json:"document"`
}

func (s *Tools) rerankTool() *tool {
	return &tool{
		name:  "rerank",
		title: "Rank documents",
		description: "Orders documents by how well they answer a query, the best first. " +
			"Needs a model that scores documents: list_models shows which do.",
		input: object("", []string{"query", "documents"},
			member("query", "string", "What the documents are to answer.", `"minLength":1`),
			member("documents", "array", "The texts.", fmt.Sprintf(`"items":{"type":"string"},"minItems":1,"maxItems":%d`, maxRerankDocuments)),
			member("model", "string", "Id of a served model, as list_models gives it. Default: the first that scores documents.", `"minLength":1,"maxLength":256`),
			member("top_n", "integer", "How many of the best to give. Default: all.", between("1", strconv.Itoa(maxRerankDocuments))),
			member("truncate", "boolean", "Cut a document that is too long instead of refusing the call. Default: false.", ""),
		),
		output: object("", []string{"model", "results", "tokens"},
			member("model", "string", "The model that scored them.", ""),
			property{"results", `{"type":"array","description":"The documents, the best first.","items":{"type":"object","additionalProperties":false,` +
				`"required":["index","relevance_score","document"],"properties":{` +
				`"index":{"type":"integer","description":"Its place in the call, from 0.","minimum":0},` +
				`"relevance_score":{"type":"number","description":"Higher is better; the range is the model's."},` +
				`"document":{"type":"string","description":"The text."}}}}`},
			member("tokens", "integer", "Tokens that were computed.", `"minimum":0`),
		),
		repeatable: true,
		run:        s.rerank,
	}
}

func (s *Tools) rerank(ctx context.Context, r *run) (*outcome, error) {
	var a struct {
		Query     string   `json:"query"`
		Documents []string `json:"documents"`
		Model     string   `json:"model"`
		TopN      whole    `json:"top_n"`
		Truncate  bool     `json:"truncate"`
	}
	if err := json.Unmarshal(r.arguments, &a); err != nil {
		return nil, fmt.Errorf("read the arguments of rerank: %w", err)
	}
	if a.Model == "" {
		a.Model = s.first(func(m *inference.ModelInfo) bool { return m.Rerank.MaxTokens > 0 })
	}
	lease, err := s.config.Models.Acquire(ctx, a.Model)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	req := &inference.RerankRequest{
		Caller: callerOf(ctx), RequestID: r.id, Query: a.Query, Documents: a.Documents, TopN: int(a.TopN), Truncate: a.Truncate,
		Deadline: s.deadline(),
	}
	r.reached()
	out, err := inference.Rerank(ctx, lease, req)
	if err != nil {
		return nil, err
	}
	r.event.Str("model", lease.Info().ID).Int("inputs", len(a.Documents)).Int("prompt_tokens", out.Tokens)
	results := make([]rankedDocument, len(out.Results))
	for i, d := range out.Results {
		results[i] = rankedDocument{Index: d.Index, Score: d.Score, Document: a.Documents[d.Index]}
	}
	return &outcome{structured: reranked{Model: lease.Info().ID, Results: results, Tokens: out.Tokens}}, nil
}
