package openai

import (
	"net/http"
	"net/url"

	"github.com/go-chi/chi/v5"

	"hearth/inference"
)

// model is OpenAI's model object with what Hearth knows besides.
type model struct {
	ID      string               `json:"id"`
	Object  string               `json:"object"`
	Created int64                `json:"created"`
	OwnedBy string               `json:"owned_by"`
	State   inference.ModelState `json:"state"`
	Details *modelDetails        `json:"details,omitempty"` // once it is loaded
}

type modelDetails struct {
	Context      int    `json:"context"` // tokens that one request may use
	TrainContext int    `json:"train_context"`
	Sequences    int    `json:"sequences"` // requests that are computed at the same time
	Description  string `json:"description"`
	Architecture string `json:"architecture"`
	Quantization string `json:"quantization"`
	Parameters   uint64 `json:"parameters"`
	FileBytes    int64  `json:"file_bytes"`
	Vocabulary   int    `json:"vocabulary"`
	Chat         bool   `json:"chat"`
	NativeTools  bool   `json:"native_tools"` // the chat template has a place for tools
	// PrefixSharing is false where every prompt is computed from its first token,
	// for the reason in WhyNotShared.
	PrefixSharing bool   `json:"prefix_sharing"`
	WhyNotShared  string `json:"not_shared_because,omitempty"`
	// WhyNotStored is empty where prefixes that leave the cache are kept outside of it.
	WhyNotStored string `json:"not_stored_because,omitempty"`
	Generates    bool   `json:"generates"` // it makes text
	// Embedding is missing where the model makes no vectors.
	Embedding *embeddingDetails `json:"embedding,omitempty"`
	// Rerank is missing where the model scores no documents.
	Rerank *rerankDetails `json:"rerank,omitempty"`
	// Lora are the adapters that requests may name, none if the model has none.
	Lora []adapterDetails `json:"lora,omitempty"`
}

type rerankDetails struct {
	MaxTokens int `json:"max_tokens"` // of the query with one document
}

type adapterDetails struct {
	Name  string  `json:"name"`
	Scale float32 `json:"scale"` // where a request gives none
	Bytes int64   `json:"bytes"` // in memory
}

type embeddingDetails struct {
	Dimensions int               `json:"dimensions"`
	MaxTokens  int               `json:"max_tokens"` // of one input
	Pooling    inference.Pooling `json:"pooling"`
}

func wireModel(s *inference.ModelStatus) model {
	m := model{ID: s.Info.ID, Object: "model", OwnedBy: "hearth", State: s.State}
	if s.State != inference.ModelReady {
		return m
	}
	i := &s.Info
	m.Created = i.LoadedAt.Unix()
	m.Details = &modelDetails{
		Context: i.Context, TrainContext: i.TrainContext, Sequences: i.Sequences, Description: i.Description, Architecture: i.Architecture,
		Quantization: i.Quantization, Parameters: i.Params, FileBytes: i.FileBytes, Vocabulary: i.Vocabulary,
		Chat: i.ChatTemplate, NativeTools: i.TemplateTools, Generates: !i.EmbeddingOnly,
	}
	if e := i.Embedding; e.Pooling != "" {
		m.Details.Embedding = &embeddingDetails{Dimensions: e.Width, MaxTokens: e.MaxTokens, Pooling: e.Pooling}
	}
	if n := i.Rerank.MaxTokens; n > 0 {
		m.Details.Rerank = &rerankDetails{MaxTokens: n}
	}
	for _, a := range i.Adapters {
		m.Details.Lora = append(m.Details.Lora, adapterDetails{Name: a.Name, Scale: a.Scale, Bytes: a.Bytes})
	}
	m.Details.PrefixSharing, m.Details.WhyNotShared, m.Details.WhyNotStored = i.PrefixSharing, i.WhyNotShared, i.WhyNotStored
	return m
}

// listModels serves GET /v1/models, at once, whatever is still loading.
func (a *API) listModels(w http.ResponseWriter, _ *http.Request) {
	out := struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{"list", []model{}}
	for _, s := range a.cfg.Models.List() {
		out.Data = append(out.Data, wireModel(&s))
	}
	a.writeJSON(w, http.StatusOK, out)
}

// getModel serves GET /v1/models/{id}; an id may hold slashes.
func (a *API) getModel(w http.ResponseWriter, r *http.Request) {
	id := chi.URLParam(r, "*")
	if raw, err := url.PathUnescape(id); err == nil && r.URL.RawPath != "" {
		id = raw
	}
	var served []string
	for _, s := range a.cfg.Models.List() {
		if s.Info.ID == id {
			a.writeJSON(w, http.StatusOK, wireModel(&s))
			return
		}
		served = append(served, s.Info.ID)
	}
	a.fail(w, r, &inference.ModelError{ID: id, Served: served})
}
