package telemetry

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Buckets from 1 ms to 60 s, for the waits that people and programs notice.
var seconds = []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10, 20, 30, 60}

// Rows and tokens of one step.
var rows = []float64{0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048}

// Metrics holds every metric of the process in a registry of its own.
type Metrics struct {
	registry *prometheus.Registry

	requests, rejected            *prometheus.CounterVec
	prompt, cached, completion    *prometheus.CounterVec
	bareCalls, guessed, forced    *prometheus.CounterVec
	layouts                       *prometheus.CounterVec
	queued, running, cells, ready *prometheus.GaugeVec
	sharing                       *prometheus.GaugeVec
	storeBytes, storeBlocks       *prometheus.GaugeVec
	restored, storeDropped        *prometheus.CounterVec
	firstToken, interToken        *prometheus.HistogramVec
	duration, step, batch         *prometheus.HistogramVec
	httpRequests                  *prometheus.CounterVec
	httpDuration                  *prometheus.HistogramVec
	reloadOK, reloadTime          prometheus.Gauge

	embedRequests, embedInputs, embedTokens *prometheus.CounterVec
	embedQueued                             *prometheus.GaugeVec
	embedBatch, embedDuration               *prometheus.HistogramVec

	toolCalls, toolHits, toolStillGood *prometheus.CounterVec
	toolDuration                       *prometheus.HistogramVec
	toolBreaker                        *prometheus.GaugeVec
	auditSyncs                         prometheus.Counter
}

// NewMetrics registers all metrics; version labels hearth_build_info.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hearth_" + name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "hearth_" + name, Help: help}, labels)
		m.registry.MustRegister(g)
		return g
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "hearth_" + name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(h)
		return h
	}
	m.toolCalls = counter("tool_calls_total", "Calls of tools of connectors, by outcome: ok, tool_error, or the code of the error.", "connector", "tool", "outcome")
	m.toolHits = counter("tool_cache_hits_total", "Calls whose result was given again without a call.", "connector", "tool")
	m.toolStillGood = counter("tool_cache_revalidated_total", "Calls whose result was given again after the service said that it still holds.", "connector", "tool")
	m.toolDuration = histogram("tool_duration_seconds", "From the call of a tool to its result.", seconds, "connector", "tool")
	m.toolBreaker = gauge("connector_breaker_open", "1 while a connector is not called because its calls failed.", "connector")
	m.auditSyncs = counter("audit_syncs_total", "Times that the audit file was made durable; one serves all calls of tools that wait for it.").WithLabelValues()
	m.requests = counter("requests_total", "Chats and completions that ran and ended, by outcome.", "model", "outcome")
	m.rejected = counter("requests_rejected_total", "Chats and completions that were refused before they ran, by the code of the error; model is empty where none that is served was named.", "model", "reason")
	m.prompt = counter("prompt_tokens_total", "Tokens of prompts, shared ones included.", "model")
	m.cached = counter("prompt_cached_tokens_total", "Tokens of prompts that were shared with an earlier computation.", "model")
	m.completion = counter("completion_tokens_total", "Tokens generated.", "model")
	m.bareCalls = counter("bare_tool_calls_total", "Tool calls that were written as bare or fenced JSON, without the marks of the chat template, and taken as calls.", "model")
	m.queued = gauge("requests_queued", "Requests that wait for cells.", "model")
	m.running = gauge("requests_running", "Requests of which at least one choice is being computed.", "model")
	m.cells = gauge("kv_cells", "Cells of the KV cache, by state: used, reserved, cached (used by no running request), total.", "model", "state")
	m.ready = gauge("model_ready", "1 when the model answers, 0 while it loads or after it failed.", "model")
	m.sharing = gauge("prefix_sharing", "1 where prompts share computed prefixes with each other, 0 where the model's memory does not allow it or it is switched off.", "model")
	m.storeBytes = gauge("prefix_store_bytes", "What prefixes outside of the KV cache take, by tier.", "model", "tier")
	m.storeBlocks = gauge("prefix_store_blocks", "Blocks of such prefixes, by tier.", "model", "tier")
	m.restored = counter("prefix_store_restored_tokens_total", "Tokens of prompts that were loaded into the KV cache instead of being computed, by the tier they came from.", "model", "tier")
	m.storeDropped = counter("prefix_store_dropped_blocks_total", "Blocks of prefixes that left a tier, by reason.", "model", "tier", "reason")
	m.firstToken = histogram("time_to_first_token_seconds", "From submission to the first token.", seconds, "model")
	m.interToken = histogram("inter_token_seconds", "Between two tokens of a choice.", seconds, "model")
	m.duration = histogram("request_duration_seconds", "From submission to the end.", seconds, "model")
	m.step = histogram("step_duration_seconds", "One step of the engine: decode and sampling.", seconds, "model")
	m.layouts = counter("kv_relayouts_total", "Times that the cells were moved, by where to: pool or streams.", "model", "to")
	m.guessed = counter("guessed_tokens_total", "Tokens that prompt lookup guessed, by result: right or wrong.", "model", "result")
	m.forced = counter("forced_tokens_total", "Tokens of text that a grammar leaves no choice about, or a likely one, by result: guessed right, guessed wrong, or appended without a draw.", "model", "result")
	m.batch = histogram("step_batch_tokens", "Tokens in one step, by kind: decode or prefill.", rows, "model", "kind")
	m.embedRequests = counter("embed_requests_total", "Requests for embeddings that reached the model, by outcome: ok or the code of the error.", "model", "outcome")
	m.embedInputs = counter("embed_inputs_total", "Inputs of which the vectors were computed.", "model")
	m.embedTokens = counter("embed_tokens_total", "Tokens of these inputs.", "model")
	m.embedQueued = gauge("embed_inputs_queued", "Inputs that wait to be embedded.", "model")
	m.embedBatch = histogram("embed_batch_tokens", "Tokens that were embedded at once.", rows, "model")
	m.embedDuration = histogram("embed_duration_seconds", "Requests for embeddings, from submission to the end.", seconds, "model")
	m.httpRequests = counter("http_requests_total", "HTTP requests, by route and status code.", "method", "route", "code")
	m.httpDuration = histogram("http_request_duration_seconds", "HTTP requests from the first byte in to the last byte out.", seconds, "method", "route")
	m.reloadOK = gauge("config_last_reload_successful", "1 when the last reload of the configuration was taken, 0 when it was refused.").WithLabelValues()
	m.reloadTime = gauge("config_last_reload_timestamp_seconds", "When the configuration was last taken.").WithLabelValues()
	gauge("build_info", "Version of this program; always 1.", "version", "go_version").
		WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.ConfigLoaded(true)
	return m
}

// Handler serves /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// AuditSynced counts that the audit file was made durable.
func (m *Metrics) AuditSynced() { m.auditSyncs.Inc() }

// HTTP counts one HTTP request; route is the pattern, not the path.
func (m *Metrics) HTTP(method, route string, code int, d time.Duration) {
	m.httpRequests.WithLabelValues(method, route, strconv.Itoa(code)).Inc()
	m.httpDuration.WithLabelValues(method, route).Observe(d.Seconds())
}

// ModelReady says whether a model answers.
func (m *Metrics) ModelReady(model string, ready bool) {
	v := 0.0
	if ready {
		v = 1
	}
	m.ready.WithLabelValues(model).Set(v)
}

// PrefixSharing says whether the prompts of a model share computed prefixes.
func (m *Metrics) PrefixSharing(model string, shared bool) {
	v := 0.0
	if shared {
		v = 1
	}
	m.sharing.WithLabelValues(model).Set(v)
}

// Rejected counts a chat or completion that was refused before it ran. The model
// is a served one, or "" where the request named none; the reason is a code of
// an error, of which there are few.
func (m *Metrics) Rejected(model, reason string) { m.rejected.WithLabelValues(model, reason).Inc() }

// ConfigLoaded says whether the configuration was taken when it was last read.
func (m *Metrics) ConfigLoaded(ok bool) {
	if !ok {
		m.reloadOK.Set(0)
		return
	}
	m.reloadOK.Set(1)
	m.reloadTime.SetToCurrentTime()
}

// ModelMetrics is what the engine of one model reports to.
type ModelMetrics struct {
	m     *Metrics
	model string

	queued, running                        prometheus.Gauge
	used, reserved, cachedCells, total     prometheus.Gauge
	firstToken, interToken, duration, step prometheus.Observer
	decodeRows, prefillTokens              prometheus.Observer
	prompt, cached, completion             prometheus.Counter
	bareCalls, right, wrong                prometheus.Counter
	toPool, toStreams                      prometheus.Counter
	forcedRight, forcedWrong, appended     prometheus.Counter
}

// Model returns the observer of the engine that runs the model of that id. Its
// labels are looked up here, once, so that reporting a step costs no map.
func (m *Metrics) Model(id string) *ModelMetrics {
	return &ModelMetrics{
		m: m, model: id,
		queued: m.queued.WithLabelValues(id), running: m.running.WithLabelValues(id),
		used: m.cells.WithLabelValues(id, "used"), reserved: m.cells.WithLabelValues(id, "reserved"),
		cachedCells: m.cells.WithLabelValues(id, "cached"), total: m.cells.WithLabelValues(id, "total"),
		firstToken: m.firstToken.WithLabelValues(id), interToken: m.interToken.WithLabelValues(id),
		duration: m.duration.WithLabelValues(id), step: m.step.WithLabelValues(id),
		decodeRows: m.batch.WithLabelValues(id, "decode"), prefillTokens: m.batch.WithLabelValues(id, "prefill"),
		prompt: m.prompt.WithLabelValues(id), cached: m.cached.WithLabelValues(id), completion: m.completion.WithLabelValues(id),
		bareCalls: m.bareCalls.WithLabelValues(id),
		toPool:    m.layouts.WithLabelValues(id, "pool"), toStreams: m.layouts.WithLabelValues(id, "streams"),
		right: m.guessed.WithLabelValues(id, "right"), wrong: m.guessed.WithLabelValues(id, "wrong"),
		forcedRight: m.forced.WithLabelValues(id, "right"), forcedWrong: m.forced.WithLabelValues(id, "wrong"),
		appended: m.forced.WithLabelValues(id, "appended"),
	}
}

// BareCall counts a tool call that was taken from bare or fenced JSON.
func (o *ModelMetrics) BareCall() { o.bareCalls.Inc() }

// Queued sets the number of requests that wait.
func (o *ModelMetrics) Queued(n int) { o.queued.Set(float64(n)) }

// Running sets the number of requests of which a choice is computed.
func (o *ModelMetrics) Running(n int) { o.running.Set(float64(n)) }

// Step reports one step of the engine.
func (o *ModelMetrics) Step(decodeRows, prefillTokens int, d time.Duration) {
	o.decodeRows.Observe(float64(decodeRows))
	o.prefillTokens.Observe(float64(prefillTokens))
	o.step.Observe(d.Seconds())
}

// Guessed counts the guesses of one step, of which some were right.
func (o *ModelMetrics) Guessed(tokens, right int) {
	o.right.Add(float64(right))
	o.wrong.Add(float64(tokens - right))
}

// Layout counts that the cells were moved to streams, or to one pool.
func (o *ModelMetrics) Layout(streams bool) {
	if streams {
		o.toStreams.Inc()
		return
	}
	o.toPool.Inc()
}

// Forced counts tokens that a grammar foresaw: guessed in one step, of which some
// were right, or appended.
func (o *ModelMetrics) Forced(guessed, right, appended int) {
	o.forcedRight.Add(float64(right))
	o.forcedWrong.Add(float64(guessed - right))
	o.appended.Add(float64(appended))
}

// Cells sets how the cells of the KV cache are used.
func (o *ModelMetrics) Cells(used, reserved, cached, total int) {
	o.used.Set(float64(used))
	o.reserved.Set(float64(reserved))
	o.cachedCells.Set(float64(cached))
	o.total.Set(float64(total))
}

// Stored sets what prefixes outside of the KV cache take in a tier.
func (o *ModelMetrics) Stored(tier string, bytes int64, blocks int) {
	o.m.storeBytes.WithLabelValues(o.model, tier).Set(float64(bytes))
	o.m.storeBlocks.WithLabelValues(o.model, tier).Set(float64(blocks))
}

// Restored counts tokens that were loaded from a tier instead of being computed.
func (o *ModelMetrics) Restored(tier string, tokens int) {
	o.m.restored.WithLabelValues(o.model, tier).Add(float64(tokens))
}

// Dropped counts a block of a prefix that left a tier.
func (o *ModelMetrics) Dropped(tier, reason string) {
	o.m.storeDropped.WithLabelValues(o.model, tier, reason).Inc()
}

// FirstToken reports the time from submission to a request's first token.
func (o *ModelMetrics) FirstToken(d time.Duration) { o.firstToken.Observe(d.Seconds()) }

// InterToken reports the time between two tokens of a choice.
func (o *ModelMetrics) InterToken(d time.Duration) { o.interToken.Observe(d.Seconds()) }

// Done reports the end of a request and the tokens it took.
func (o *ModelMetrics) Done(outcome string, prompt, cached, completion int, d time.Duration) {
	o.m.requests.WithLabelValues(o.model, outcome).Inc()
	o.prompt.Add(float64(prompt))
	o.cached.Add(float64(cached))
	o.completion.Add(float64(completion))
	o.duration.Observe(d.Seconds())
}

// ToolCalled counts a call of a tool that a connector offers.
func (m *Metrics) ToolCalled(connector, tool, outcome string, d time.Duration) {
	m.toolCalls.WithLabelValues(connector, tool, outcome).Inc()
	m.toolDuration.WithLabelValues(connector, tool).Observe(d.Seconds())
}

// ToolCacheHit counts a result that was given again.
func (m *Metrics) ToolCacheHit(connector, tool string) {
	m.toolHits.WithLabelValues(connector, tool).Inc()
}

// ToolRevalidated counts a result that was given again after its service said that it
// still holds.
func (m *Metrics) ToolRevalidated(connector, tool string) {
	m.toolStillGood.WithLabelValues(connector, tool).Inc()
}

// BreakerOpen says whether a connector is being called.
func (m *Metrics) BreakerOpen(connector string, open bool) {
	v := 0.0
	if open {
		v = 1
	}
	m.toolBreaker.WithLabelValues(connector).Set(v)
}
