// Package openai serves the OpenAI dialect over HTTP: chat completions, text
// completions, models, and the tokenizer's calls.
//
// It owns the dialect alone: how a body becomes an [inference.ChatRequest] or
// [inference.CompletionRequest], how events become JSON or server-sent events,
// and how an error looks. It renders no prompt, samples nothing, and decides no
// status by itself: errors of the request go through [inference.Classify]; only
// what HTTP alone knows (a body too large, no such path) is answered here. Of a
// chat or completion that never reaches a model it tells [Config].Refused.
//
// # What is strict
//
// A body is one JSON object in valid UTF-8. Every field that has an effect is
// checked for its type and named in the error ("messages[2].content"); a key
// that appears twice is an error. A field that constrains the answer in a way
// that is not enforced here (guided_regex, guided_grammar, min_tokens and their
// like) is an error too, never ignored. Other fields that are unknown, and those
// of OpenAI's that have no effect on a local model (user, metadata, store, …),
// are accepted and listed in the log at debug level, because
// clients send many of them.
//
// # Choices that OpenAI leaves open
//
// Without max_tokens an answer may run to the end of the context; -1 says the
// same. A seed may be any 64-bit integer. An empty model name means the first
// model that is served. stream_options.include_usage adds one last chunk with
// empty choices. An error before the first token has its own HTTP status; one
// in the middle of a stream comes as data: {"error": …} and ends the stream
// without [DONE].
//
// # Concurrency
//
// An [API] is safe for concurrent use and starts no goroutine: the handler's own
// pulls events and writes them. Every write has a deadline, a client that is
// gone or does not read ends its request, and a comment is written when nothing
// else was for PingInterval.
package openai
