// Package example runs the worked examples of the folder examples: it prepares what
// the example is about, serves a model with the example's configuration, asks it,
// prints its calls, their results and its answers, and ends all that it started.
//
// What an example is about is in its own package: a [Setup]. The values in it are of
// one run: they come from a seed, which a test gives and a person does not.
//
// It knows Hearth as every client does, by its API. A run belongs to one goroutine.
package example
