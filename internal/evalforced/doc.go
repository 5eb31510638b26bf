// Command evalforced measures whether documents are as right when the text that
// their JSON schema leaves no choice about is appended without drawing it as when
// every token is drawn (make eval-forced). A prompt states facts, the schema says
// where they belong, and each value of the answer either is the stated one or is
// not: 200 prompts, three schemas (long keys; enumerations and numbers; nested
// lists), greedy, for each model once with forced_text off and once with append.
//
// It prints a table of right values, of whole documents that are right, and of
// tokens, and a verdict for each model: append is no worse if it has at least as
// many right values. With -v each wrong value is shown. Eight prompts are asked at
// a time, each on a goroutine; it ends the servers that it started.
package main
