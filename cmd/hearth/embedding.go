package main

import (
	"context"
	"errors"

	"hearth/inference"
	"hearth/inference/embed"
	"hearth/inference/engine"
	"hearth/inference/llama"
	"hearth/inference/residency"
	"hearth/models"
)

// embeds says whether the model of a file is to make vectors: as it is
// configured, and where nothing is, if its file says how they are pooled.
func (m *ModelConfig) embeds(h *models.Header) bool {
	if m.Embeddings != nil {
		return *m.Embeddings
	}
	v, found := h.Lookup(h.Summary().Architecture + ".pooling_type")
	pooling, _ := v.Scalar.(uint64)
	return found && pooling != 0
}

// vectors is the embedding side of a loaded model, with a context of its own.
type vectors struct {
	*embed.Model
	worker  *embed.Worker
	context *llama.Embedder
}

// embedder makes the embedding side of a model that is loaded.
func (l *loader) embedder(m *ModelConfig, p *Placement, model *llama.Model, info inference.ModelInfo) (_ *vectors, err error) {
	v := &vectors{}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.Close())
		}
	}()
	cfg := l.cfg.Engine.Embeddings
	options := p.context(1)
	batch := cfg.Batch
	if info.TrainContext > 0 {
		batch = min(batch, max(info.TrainContext, 32)) // no input is longer
	}
	if v.context, err = model.NewEmbedder(llama.EmbedderOptions{
		Batch: batch, Sequences: cfg.Sequences, Threads: options.Threads, Pooling: m.Pooling,
		FlashAttention: p.FlashAttention, OffloadKQV: true,
	}); err != nil {
		return nil, err
	}
	var observer embed.Observer
	if l.metrics != nil {
		observer = l.metrics.Embedder(m.id())
	}
	if v.worker, err = embed.New(v.context, cfg, observer); err != nil {
		return nil, err
	}
	if v.Model, err = embed.NewModel(info, model, v.worker); err != nil {
		return nil, err
	}
	return v, nil
}

// Drain lets what runs finish until ctx ends, and ends the rest.
func (v *vectors) Drain(ctx context.Context) { v.worker.Drain(ctx) }

// Close frees what there is.
func (v *vectors) Close() error {
	if v.worker != nil {
		v.worker.Close()
	}
	if v.context == nil {
		return nil
	}
	return v.context.Close()
}

// embeddingOnly is a loaded model that makes vectors and no text.
type embeddingOnly struct {
	*vectors
	model *llama.Model
}

var _ residency.Loaded = (*embeddingOnly)(nil)

// loadEmbeddingOnly finishes the loading of such a model, which it owns.
func (l *loader) loadEmbeddingOnly(m *ModelConfig, p *Placement, model *llama.Model) (residency.Loaded, error) {
	info := model.Info()
	info.ID = m.id()
	v, err := l.embedder(m, p, model, info)
	if err != nil {
		return nil, errors.Join(err, model.Close())
	}
	info.Context, info.ChatTemplate = v.worker.Traits().MaxTokens, false
	info.Sequences = v.worker.Traits().Sequences
	if v.Model, err = embed.NewModel(info, model, v.worker); err != nil {
		return nil, errors.Join(err, v.Close(), model.Close())
	}
	if l.health != nil {
		l.health.add(m.id(), embedPulse{v.worker})
	}
	return &embeddingOnly{vectors: v, model: model}, nil
}

// Close frees the model, with what was made of it first.
func (e *embeddingOnly) Close() error { return errors.Join(e.vectors.Close(), e.model.Close()) }

// Embed makes vectors, where the model is served with embeddings.
func (s *served) Embed(ctx context.Context, r *inference.EmbedRequest) (*inference.Embeddings, error) {
	if s.vectors == nil {
		return nil, inference.NoEmbeddings(s.Info().ID)
	}
	return s.vectors.Embed(ctx, r)
}

// Rerank is refused: a model that makes text scores no documents, unless its
// file says so.
func (s *served) Rerank(ctx context.Context, r *inference.RerankRequest) (*inference.Ranking, error) {
	if s.vectors == nil {
		return nil, inference.NoRanking(s.Info().ID)
	}
	return s.vectors.Rerank(ctx, r)
}

// embedPulse lets health watch a worker as it watches an engine: a batch is a
// step and its token.
type embedPulse struct{ w *embed.Worker }

// Stats says what health looks at.
func (p embedPulse) Stats() engine.Stats {
	s := p.w.Stats()
	return engine.Stats{Queued: s.Queued, Running: s.Running, Steps: s.Batches, LastToken: s.Last}
}

// Probe has a token embedded.
func (p embedPulse) Probe(ctx context.Context) error { return p.w.Probe(ctx) }
