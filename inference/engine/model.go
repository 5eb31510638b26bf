package engine

import "hearth/inference"

// Decoder computes. All methods are called from the one goroutine of the loop,
// which is locked to its OS thread.
type Decoder interface {
	Traits() inference.Traits
	// Adapt sets the LoRA adapters that the Decodes from now on compute with; none
	// at first. It is called only when they change.
	Adapt(set []inference.AdapterScale) error
	// Decode computes one batch of at most Traits.Batch tokens. The error is nil
	// or wraps one of inference.ErrNoSlot, ErrAborted, ErrBadBatch, ErrDecodeFatal.
	Decode(b *inference.Batch) error
	// Sample draws a token for each row of the last Decode, all rows at once,
	// into out (len(out) == len(rows)). A row's own failure is in out[i].Err.
	Sample(rows []inference.SampleRow, out []inference.Sampled) error
}

// Memory is the KV cache. A range is [p0, p1); p0 < 0 means 0, p1 < 0 the end.
type Memory interface {
	// SeqRemove frees the cells of seq in the range that no other sequence
	// holds. It is false where the memory cannot remove a part (see
	// Traits.TrimTail and SeqIntact); removing a whole sequence never fails.
	SeqRemove(seq, p0, p1 int32) bool
	// SeqCopy lets dst hold the cells of src in the range.
	SeqCopy(src, dst, p0, p1 int32)
	// SeqIntact reports whether seq holds all that going on at position n, of
	// those that it holds, needs. A memory with a sliding window may have given
	// up what the end of seq no longer sees, and n lie before that.
	SeqIntact(seq, n int32) bool
	// SeqPosMax returns the last position that seq holds, -1 if it is empty.
	SeqPosMax(seq int32) int32
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
	Samplers
	Vocabulary
}
