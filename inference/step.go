package inference

import "errors"

// This file holds what crosses the border between the scheduler
// (inference/engine, which declares the interfaces) and the fence
// (inference/llama, which satisfies them): flat data, no logits, no C types.

// Traits is what a loaded context can do, probed when it is created.
type Traits struct {
	Cells      int // places in the KV cache, all sequences together
	Sequences  int // sequence ids 0..Sequences-1 may be decoded
	Guesses    int // rows of guessed tokens that a batch may hold, beside one row a sequence
	Holders    int // further ids, Sequences..Sequences+Holders-1, may only hold cells
	Batch      int // most tokens in one Decode
	MicroBatch int // tokens that the backend computes at once
	Context    int // most positions of one sequence
	Vocabulary int
	// Unified says that all sequences share one pool of cells, so that SeqCp of
	// a range is metadata only. Otherwise each sequence has Cells/Sequences of
	// its own, and SeqCp copies a whole sequence.
	Unified bool
	// Share says that a copied prefix gives exactly the tokens that a computed
	// one gives. Where it is false no prefix may be shared.
	Share bool
	// TrimTail says that SeqRm may remove the end of a sequence.
	TrimTail bool
	// Streams is how many cells each sequence has where the cells are laid out in
	// a stream for each, which Relayout does; 0: it is not possible. All streams
	// together may hold more than Cells, which the scheduler must not use.
	Streams int
	// ScanCost is what it costs each token of a batch in one pool, in nanoseconds,
	// that another sequence holds a cell. ReadCost is what it costs a step in
	// streams that a sequence holds a cell of its own where it could share one.
	// CopyCost is what Relayout takes for each cell. All are 0 without Streams.
	ScanCost, ReadCost, CopyCost float64
	// Aside is how many cells the sequences may have of which a prompt is computed
	// beside the Decodes, those to be computed included; 0: it is not possible.
	Aside int
	// Adapters is how many LoRA adapters a Decode may compute with.
	Adapters int
	// Keep says that runs of cells can be saved, and loaded again with the tokens
	// that computed ones give.
	Keep bool
	// Window is how many tokens the layers with a sliding window see; 0: there are
	// none, or they see all.
	Window int
}

// SeqMove says what becomes of one sequence when the cells are laid out anew: To
// gets what From holds. Where all share one pool, its first Shared cells may be
// those of the new sequence With, which must be moved before and hold the same
// tokens there.
type SeqMove struct {
	From, To     int32
	With, Shared int32
}

// Batch is the input of one Decode: four slices of equal length, one element a
// token. Positions of a sequence are contiguous and follow what it holds.
type Batch struct {
	Token  []int32
	Pos    []int32
	Seq    []int32
	Output []int8 // 1: this token's row is wanted for sampling
}

// Len returns the number of tokens.
func (b *Batch) Len() int { return len(b.Token) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.Token, b.Pos, b.Seq, b.Output = b.Token[:0], b.Pos[:0], b.Seq[:0], b.Output[:0]
}

// Add appends a token.
func (b *Batch) Add(token, pos, seq int32, output bool) {
	var o int8
	if output {
		o = 1
	}
	b.Token, b.Pos = append(b.Token, token), append(b.Pos, pos)
	b.Seq, b.Output = append(b.Seq, seq), append(b.Output, o)
}

// What a Decode can answer besides success.
var (
	// ErrNoSlot: no room for the batch; the memory is as it was before.
	ErrNoSlot = errors.New("no free cells for the batch")
	// ErrAborted: stopped by the abort switch; micro-batches that were done
	// stay in the memory, so ask SeqPosMax of every sequence.
	ErrAborted = errors.New("decode aborted")
	// ErrBadBatch: the batch breaks a rule; nothing was done.
	ErrBadBatch = errors.New("bad batch")
	// ErrDecodeFatal: the backend failed; as with ErrAborted, ask SeqPosMax.
	ErrDecodeFatal = errors.New("decode failed")
)

// TriggerKind is how a lazy grammar is switched on.
type TriggerKind int

// The trigger kinds of llama.cpp's common library, by the same numbers.
const (
	TriggerToken TriggerKind = iota
	TriggerWord
	TriggerPattern
	TriggerPatternFull
)

// Trigger switches a lazy grammar on.
type Trigger struct {
	Kind  TriggerKind
	Value string
	Token int32 // for TriggerToken
}

// Thinking is how a thinking block is written. Inside of one a lazy grammar
// waits, whatever its triggers say.
type Thinking struct {
	Start string   // opens a block, as "<think>" does
	Ends  []string // each closes it
	// Open says that the prompt ends inside a block.
	Open bool
	// Budget bounds the tokens of a block, the marks not counted. When it is
	// spent, the sampler writes Ends[0]. Negative: no bound.
	Budget int
}

// Grammar is a GBNF grammar with what the chat template says about its use.
type Grammar struct {
	GBNF string // may be empty where Thinking is set: then it allows all
	// Client says that a client wrote GBNF: it is read and followed within bounds
	// of work and memory, and binds all of the answer but a thinking block in
	// which the prompt ends.
	Client   bool
	Lazy     bool
	Triggers []Trigger
	// Prefill is text that the prompt already holds and that the grammar has to
	// be advanced over (the template's generation prompt).
	Prefill string
	// Thinking, if not nil, is how the model marks that it thinks.
	Thinking *Thinking
}

// SamplerSpec is everything a sampler needs to know.
type SamplerSpec struct {
	Sampling
	// Seed overrides Sampling.Seed: the engine resolves it, one for each choice.
	Seed        uint32
	Grammar     *Grammar // nil: unconstrained
	Logprobs    bool
	TopLogprobs int
	// History is the end of the prompt, of Sampling.LookBack tokens or fewer:
	// penalties and DRY look back on it.
	History []int32
	// Foresee is how many tokens are guessed at most behind a drawn one, where
	// the grammar leaves no choice or a likely one: see Sampled.Likely.
	Foresee int
	// Scope keeps apart what samplers learn for that from each other's answers: only
	// those of the same scope share it.
	Scope uint64
	// Append has the sampler accept what the grammar leaves no choice about: see
	// Sampled.Appended. With Logprobs nothing is appended, for it has none.
	Append bool
}

// Sampler holds the sampling state of one choice: penalties' history, random
// numbers, grammar. It belongs to the engine's loop. Close frees its C memory;
// a second Close is an error.
type Sampler interface {
	Close() error
}

// SampleRow asks for a token: Index is the position in the last Batch, which
// had Output set there.
type SampleRow struct {
	Index   int
	Sampler Sampler
	// Guess: the token at Index is a guess of what the row before this one, of
	// the same sampler, draws. The row is skipped unless it drew that.
	Guess bool
}

// Sampled is the answer to a SampleRow. The token is already accepted by the
// sampler's grammar and history.
type Sampled struct {
	Token   int32
	Logprob float32        // if asked for
	Top     []TokenLogprob // if asked for; Bytes are not filled in
	// Appended follows Token: the sampler has accepted it, and it is to be computed
	// as it is. It is what the grammar leaves no choice about, and may be the end of
	// the answer where nothing else may come. Valid until the next Step, as is
	// Likely.
	Appended []int32
	// Likely is what likely follows that.
	Likely []int32
	// Skipped: the row held a guess that was wrong; nothing was drawn.
	Skipped bool
	// Err is set when this row's grammar or sampler failed: the others are fine.
	Err error
}
