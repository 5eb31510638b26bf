// Package telemetry is how a running server is seen from outside: the log
// (zerolog) and the metrics (Prometheus).
//
// It owns the registry, the names of all metrics and the log's form. It starts
// no goroutine and never sees a prompt. What it needs of the engine is the
// shape of [ModelMetrics]' methods: the engine declares the interface.
//
// Concurrency: everything is safe for concurrent use.
package telemetry
