package engine

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"hearth/inference"
	"hearth/inference/prefixstore"
)

// Request asks for the continuation of a prompt. It must not be changed after
// it was submitted.
type Request struct {
	Caller   inference.Caller
	Priority inference.Priority
	// ID ties logs and traces together; the engine does not read it.
	ID string
	// Prompt holds at least one token; one place of the context must be left.
	Prompt []int32
	// Choices is how many continuations to make (1..inference.MaxChoices; 0 is
	// 1). They share one prefill; choice i samples with seed + i.
	Choices int
	// MaxTokens bounds the tokens of each choice; 0: up to the end of the context.
	MaxTokens int
	Sampling  inference.Sampling
	Grammar   *inference.Grammar
	// Forced overrides Config.Forced.Mode; empty: it does not.
	Forced inference.ForcedText
	// Stop strings end a choice and are not part of its text.
	Stop        []string
	Logprobs    bool
	TopLogprobs int // 0..inference.MaxTopLogprobs
	// Preserved control tokens are shown as text; the others are not.
	Preserved []int32
	// Adapters are the LoRA adapters to compute with, each at most once.
	Adapters []inference.AdapterScale
	// Deadline ends the request with ErrDeadline; zero: Config.Deadline.
	Deadline time.Time
}

// validate checks what a client may have got wrong. window is the number of
// tokens that one sequence can hold, adapters how many the backend has.
func (r *Request) validate(vocabulary, window, adapters int) error {
	if len(r.Prompt) == 0 {
		return inference.Invalid("prompt", "must hold at least one token")
	}
	for i, t := range r.Prompt {
		if t < 0 || int(t) >= vocabulary {
			return inference.Invalid("prompt", "token %d at position %d is not in the vocabulary (0..%d)", t, i, vocabulary-1)
		}
	}
	if r.Choices < 0 || r.Choices > inference.MaxChoices {
		return inference.Invalid("n", "must be between 1 and %d, got %d", inference.MaxChoices, r.Choices)
	}
	if r.MaxTokens < 0 {
		return inference.Invalid("max_tokens", "must be at least 1, or left out for the rest of the context, got %d", r.MaxTokens)
	}
	if r.Priority != inference.PriorityNormal && r.Priority != inference.PriorityLow {
		return inference.Invalid("priority", "must be %d (normal) or %d (low), got %d", inference.PriorityNormal, inference.PriorityLow, r.Priority)
	}
	if len(r.Stop) > inference.MaxStops {
		return inference.Invalid("stop", "may hold at most %d strings, got %d", inference.MaxStops, len(r.Stop))
	}
	for i, s := range r.Stop {
		if s == "" || len(s) > inference.MaxStopBytes {
			return inference.Invalid(fmt.Sprintf("stop[%d]", i), "must have 1 to %d bytes, has %d", inference.MaxStopBytes, len(s))
		}
	}
	if r.TopLogprobs < 0 || r.TopLogprobs > inference.MaxTopLogprobs {
		return inference.Invalid("top_logprobs", "must be between 0 and %d, got %d", inference.MaxTopLogprobs, r.TopLogprobs)
	}
	if r.TopLogprobs > 0 && !r.Logprobs {
		return inference.Invalid("top_logprobs", "needs logprobs to be true")
	}
	if err := r.Sampling.Validate(vocabulary); err != nil {
		return err
	}
	if err := r.Forced.Validate("forced_text"); err != nil {
		return err
	}
	if err := checkAdapters(r.Adapters, adapters); err != nil {
		return err
	}
	if len(r.Prompt) >= window {
		return &inference.OverflowError{Prompt: len(r.Prompt), Context: window}
	}
	if r.MaxTokens > window-len(r.Prompt) {
		return &inference.OverflowError{Prompt: len(r.Prompt), Max: r.MaxTokens, Context: window}
	}
	return nil
}

// request is a submitted Request. The loop owns it, except stream.
type request struct {
	*Request
	stream    *Stream
	scope     scope                    // of the prefixes that it may begin with
	adapters  []inference.AdapterScale // in the order that Adapt gets them
	order     uint64                   // of submission
	class     int                      // of the queue
	probe     bool                     // leaves no trace in cache and counters
	choices   []*choice
	open      int // choices that have not ended
	running   int // choices that have a sequence
	started   bool
	ended     bool
	cached    int // prompt tokens that the first choice did not compute
	submitted time.Time
	admitted  time.Time
	first     time.Time // of the first token; zero before
	outcome   string    // of the first choice that ended
	release   func()    // stops the deadline's timer and the watch on the context
}

// weight is the share of the request's principal.
func (r *request) weight() float64 {
	return min(max(cmp.Or(r.Caller.Weight, 1), inference.MinWeight), inference.MaxWeight)
}

// lowShare is how much of the prompt room a request has that may wait, of what it
// would have otherwise.
const lowShare = 1.0 / agingTurns

// share is how urgent the request's prompts are.
func (r *request) share() float64 {
	if r.class == classLow {
		return r.weight() * lowShare
	}
	return r.weight()
}

// choice is one continuation: the unit that is queued, admitted and computed.
type choice struct {
	req     *request
	index   int
	sampler inference.Sampler // nil once closed
	seq     *sequence         // nil unless admitted
	ended   bool
	lookup  lookup
	forced  forced
	stopped bool    // its stop string came, and it ends when nothing is ahead
	tokens  []int32 // the prompt, then the answer
	limit   int     // most tokens, prompt and answer
	text    assembler
	last    time.Time // of the last token

	stored    []*prefixstore.Block // what the store had for it when it was
	storedEnd int                  // and up to where it held the tokens
	storedAt  uint64               // of this version, and one
	storedFor int                  // and tokens had this length

	overtaken int     // times that others were admitted while this did not fit
	credit    int     // prompt tokens of others that were computed while this waited
	urgency   float64 // of the plan: smaller goes first
}

// remaining is how many tokens must be computed before the next is sampled.
func (c *choice) remaining() int { return len(c.tokens) - c.seq.held }

// decodes reports whether the next token can be drawn in the next step: all before
// it is computed, but for the last one and what was appended to it.
func (c *choice) decodes() bool { return c.remaining() <= 1+c.forced.appended }

// openEnded reports whether the promise of cells grows while c runs.
func (c *choice) openEnded() bool { return c.req.MaxTokens == 0 }

// reserve is the number of cells to promise at admission. The last token of an
// answer is never computed, so it needs no cell.
func (c *choice) reserve(block int) int {
	if c.openEnded() {
		return min(len(c.tokens)+block, c.limit-1)
	}
	return c.limit - 1
}

// makeSpace lets c take tokens for end cells, and the one behind them, without
// moving its tokens: a step allocates nothing.
func (c *choice) makeSpace(end int) {
	c.tokens = slices.Grow(c.tokens, max(end+2-len(c.tokens), 0))
}

// shows reports whether a control token is text for this request.
func (r *request) shows(token int32) bool { return slices.Contains(r.Preserved, token) }

// randomSeed returns a seed for a request that names none.
func randomSeed() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	return binary.LittleEndian.Uint32(b[:])
}

// repeatable reports whether the same request has to give the same tokens again
// when it runs alone.
func (r *request) repeatable() bool { return r.Sampling.Seed != nil && !r.probe }
