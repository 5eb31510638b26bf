// Package residency knows which models are loaded. It loads each configured
// model in the background, one after the other in the configured order, and
// hands out leases on those that are ready.
//
// It owns the life of a model from loading to closing. It does not know how a
// model is loaded: a [Loader] is injected. A model is closed only when its last
// lease is back, for a lease may be in the middle of a call into C.
//
// Concurrency: all methods are safe for concurrent use. One goroutine loads;
// it ends with Close.
package residency
