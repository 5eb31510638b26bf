package engine

import "time"

// Observer is told what the engine does, to count it. Its methods must return
// at once and be safe for concurrent use.
type Observer interface {
	// Queued is the number of requests that wait for admission.
	Queued(n int)
	// Running is the number of requests of which at least one choice is being
	// computed; probes are not counted.
	Running(n int)
	// Step reports one batch: rows that decode, prompt tokens, and the time for
	// computing and sampling; or one chunk that was computed aside, without rows.
	Step(decodeRows, prefillTokens int, d time.Duration)
	// Guessed reports the guesses of one step in one choice, and how many of them
	// were right.
	Guessed(tokens, right int)
	// Forced reports tokens that a grammar foresaw: guessed in one step, how many of
	// those were right, or appended without a draw.
	Forced(guessed, right, appended int)
	// Cells reports the cache: cells held by running requests, cells promised to
	// them and not filled yet, cells of finished prefixes, and all there are.
	Cells(used, reserved, cached, total int)
	// Layout reports that the cells were moved: to a stream for each sequence, or
	// back to one pool.
	Layout(streams bool)
	// FirstToken is the time from submission to a request's first token.
	FirstToken(d time.Duration)
	// InterToken is the time between two tokens of a choice.
	InterToken(d time.Duration)
	// Done reports the end of a request. The outcome is "stop", "length",
	// "cancelled", "deadline" or "error"; prompt, cached and completion are
	// tokens; d is from submission.
	Done(outcome string, prompt, cached, completion int, d time.Duration)
}

type nobody struct{}

func (nobody) Queued(int)                                {}
func (nobody) Running(int)                               {}
func (nobody) Step(int, int, time.Duration)              {}
func (nobody) Guessed(int, int)                          {}
func (nobody) Forced(int, int, int)                      {}
func (nobody) Cells(int, int, int, int)                  {}
func (nobody) Layout(bool)                               {}
func (nobody) FirstToken(time.Duration)                  {}
func (nobody) InterToken(time.Duration)                  {}
func (nobody) Done(string, int, int, int, time.Duration) {}
