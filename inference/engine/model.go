package engine

import (
	"time"

	"hearth/inference"
)

// Decoder computes. All methods but Hold are called from the one goroutine of the
// loop.
type Decoder interface {
	Traits() inference.Traits
	// Adapt sets the LoRA adapters that the Steps from now on compute with; none
	// at first. It is called only when they change.
	Adapt(set []inference.AdapterScale) error
	// Step computes b, a batch of at most Traits.Batch tokens, and draws a token
	// for each of rows from it, all at once, into out (len(out) == len(rows)). A
	// row's own failure is in out[i].Err. The error is nil or wraps one of
	// inference.ErrNoSlot, ErrAborted, ErrBadBatch, ErrDecodeFatal; nothing was
	// drawn then.
	//
	// With more, Step may go ahead: if every row drew well and none ended its
	// generation, the drawn tokens are the next batch, one for each of rows in
	// their order, and it is being computed when Step returns true. The next call
	// must then be a Step whose b is nil, which draws from that batch.
	Step(b *inference.Batch, rows []inference.SampleRow, out []inference.Sampled, more bool) (ahead bool, err error)
	// Hold keeps Step from going ahead while it is on. Any goroutine may call it.
	Hold(on bool)
}

// Memory is the KV cache. A range is [p0, p1); p0 < 0 means 0, p1 < 0 the end.
// Nothing is asked of it while a Step has gone ahead.
type Memory interface {
	// SeqRemove frees the cells of seq in the range that no other sequence
	// holds. It is false where the memory cannot remove a part (see
	// Traits.TrimTail and SeqIntact); removing a whole sequence never fails.
	SeqRemove(seq, p0, p1 int32) bool
	// SeqCopy lets dst hold the cells of src in the range.
	SeqCopy(src, dst, p0, p1 int32)
	// SeqSwap exchanges what a and b hold, while the cells lie in streams that
	// Relayout made. Where it is false they may have lost cells.
	SeqSwap(a, b int32) bool
	// SeqIntact reports whether seq holds all that going on at position n, of
	// those that it holds, needs. A memory with a sliding window may have given
	// up what the end of seq no longer sees, and n lie before that.
	SeqIntact(seq, n int32) bool
	// Relayout lays the cells out in one pool or, as Traits.Streams allows, in a
	// stream for each sequence. What no move names is lost. An error leaves
	// everything as it was.
	Relayout(unified bool, moves []inference.SeqMove) error
	// SeqPosMax returns the last position that seq holds, -1 if it is empty.
	SeqPosMax(seq int32) int32
}

// Keeper saves cells and loads them again. It is asked only where Traits.Keep is
// true, and not while a Step has gone ahead.
type Keeper interface {
	// RunBytes is how many bytes a run of n cells takes.
	RunBytes(n int) int
	// SaveRun writes the cells of seq at the positions [p0, p1) into buf, which has
	// room for RunBytes, and returns how many bytes that are. It fails where the
	// memory has given up some of them.
	SaveRun(seq, p0, p1 int32, buf []byte) (int, error)
	// LoadRuns adds cells that SaveRun wrote to the end of seq, which is p0, one run
	// behind the other: data[i] is of those up to ends[i]. It returns how many it added,
	// and why not the next one.
	LoadRuns(seq, p0 int32, ends []int32, data [][]byte) (n int, err error)
}

// Aside computes prompts beside the Steps, a slice of time at a time. It is asked
// only where Traits.Aside is not 0, and not while a Step has gone ahead.
type Aside interface {
	// BeginAside takes on b, at most Traits.MicroBatch tokens that go on from the
	// ends of their sequences, without rows. What those hold and b together are at
	// most Traits.Aside cells, where the first Shared cells of From in a share need
	// not be held again if With, which comes before it in b, holds the same tokens
	// there; there are no shares where Traits.Window is not 0. They are computed with
	// the adapters that are set now.
	BeginAside(b *inference.Batch, shares []inference.SeqMove) error
	// AdvanceAside computes for about d, and reports whether all is computed.
	AdvanceAside(d time.Duration) (done bool, err error)
	// EndAside ends what BeginAside began. If all is computed, the cells join the
	// sequences that moves names: To, which ends where From ended then. What is not
	// named is lost, and so is everything before all is computed. After an error
	// sequences of moves may have lost cells.
	EndAside(moves []inference.SeqMove) error
}

// Samplers makes samplers. NewSampler may be called from any goroutine.
type Samplers interface {
	// NewSampler refuses an impossible grammar with an *inference.InvalidError.
	NewSampler(spec *inference.SamplerSpec) (inference.Sampler, error)
}

// Vocabulary tells the text of tokens. Safe for concurrent use.
type Vocabulary interface {
	// Piece returns the bytes of a token, which may be a part of a UTF-8
	// character. Control tokens are empty unless special is true. The slice
	// must not be changed.
	Piece(token int32, special bool) []byte
	// EndOfGeneration reports whether the model ends its turn with token.
	EndOfGeneration(token int32) bool
}

// Backend is what the engine needs of a model's context.
type Backend interface {
	Decoder
	Memory
	Keeper
	Aside
	Samplers
	Vocabulary
}
