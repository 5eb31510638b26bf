package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// EmbedMetrics is what the embedding side of one model reports to.
type EmbedMetrics struct {
	m     *Metrics
	model string

	queued          prometheus.Gauge
	inputs, tokens  prometheus.Counter
	batch, duration prometheus.Observer
}

// Embedder returns the observer of the worker that embeds with the model of that
// id.
func (m *Metrics) Embedder(id string) *EmbedMetrics {
	return &EmbedMetrics{
		m: m, model: id,
		queued: m.embedQueued.WithLabelValues(id), inputs: m.embedInputs.WithLabelValues(id), tokens: m.embedTokens.WithLabelValues(id),
		batch: m.embedBatch.WithLabelValues(id), duration: m.embedDuration.WithLabelValues(id),
	}
}

// EmbedQueued sets the number of inputs that wait.
func (o *EmbedMetrics) EmbedQueued(inputs int) { o.queued.Set(float64(inputs)) }

// EmbedBatch reports a computed batch.
func (o *EmbedMetrics) EmbedBatch(inputs, tokens int, _ time.Duration) {
	o.inputs.Add(float64(inputs))
	o.tokens.Add(float64(tokens))
	o.batch.Observe(float64(tokens))
}

// EmbedDone reports the end of a request; outcome is "ok" or the code of an
// error.
func (o *EmbedMetrics) EmbedDone(outcome string, _ int, d time.Duration) {
	o.m.embedRequests.WithLabelValues(o.model, outcome).Inc()
	o.duration.Observe(d.Seconds())
}
