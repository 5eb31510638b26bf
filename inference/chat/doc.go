// Package chat turns conversations into prompts and the model's text into
// answers. A [Model] implements [inference.Model] over the scheduler (package
// engine) and over what a loaded model knows about its vocabulary and its chat
// template, which the interface [LanguageModel] names.
//
// It owns the rules for requests (ranges, tools, schemas), the rendering of
// tools for templates that have no place for them, the grammars that enforce
// tool_choice and response_format, and the translation of generated text into
// content, reasoning and tool calls. It does not own the sampling of tokens, the
// cache or any limit on concurrency: those are the engine's.
//
// Two families of templates exist. A template with tools writes and reads them
// in the form its model was trained on; llama.cpp's common library does both. A
// template without tools gets them in the system prompt, with a call written as
//
//	<tool_call>{"name": "…", "arguments": {…}}</tool_call>
//
// and this package reads that back. Either way a call that cannot be parsed
// reaches the client as text.
//
// A constraint that cannot be enforced is refused as an
// [*inference.InvalidError]; none is dropped. For that reason the schema of a
// response_format may use only keywords that a grammar can hold a model to,
// while the schemas of tools, which promise nothing, may use any.
//
// Concurrency: a Model is safe for concurrent use. Rendering, tokenization and
// parsing run on the goroutine that calls Chat or Stream.Next, never on the
// engine's loop. Text is parsed again as it grows; the time spent on that is
// bounded to a small share of the time a stream takes.
package chat
