package llama

/*
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"hearth/inference"
)

// drawRows is what crosses to C of the rows of one step, kept between steps.
type drawRows struct {
	call   uint64
	row    []int32 // place in the caller's slices
	index  []int32
	handle []*C.hearth_sampler
	drawn  C.hearth_drawn // what came back
}

// checkRow refuses a row that C would abort on.
func (c *Context) checkRow(r *inference.SampleRow) (*Sampler, error) {
	s, ok := r.Sampler.(*Sampler)
	switch {
	case !ok || s == nil:
		return nil, fmt.Errorf("%w: it has no sampler of this model", errRow)
	case s.m != c.m:
		return nil, fmt.Errorf("%w: its sampler belongs to another model", errRow)
	case s.closed.Load():
		return nil, fmt.Errorf("%w: its sampler is closed", errRow)
	case r.Guess && (len(c.draw.handle) == 0 || c.draw.handle[len(c.draw.handle)-1] != s.h):
		return nil, fmt.Errorf("%w: a guess does not follow a row of its sampler", errRow)
	case !r.Guess && s.by == c && s.call == c.draw.call:
		return nil, fmt.Errorf("%w: its sampler is used by another row of the same step", errRow)
	case r.Index < 0 || r.Index >= len(c.rows) || c.rows[r.Index] == 0:
		return nil, fmt.Errorf("%w: token %d of the batch has no output", errRow, r.Index)
	}
	return s, nil
}

// Step computes b, and draws a token for each of rows from it, in parallel where
// that is quicker. A row's own failure is in out[i].Err. The error is of the batch,
// from which nothing was drawn then; it wraps one of inference.ErrNoSlot,
// ErrAborted, ErrBadBatch, ErrDecodeFatal, or ErrClosed. At most Traits.Sequences
// tokens of b, and Traits.Guesses more, may ask for an output row.
//
// With more, Step may go ahead: if every row drew well, none ended its
// generation and Hold is off, the drawn tokens are the next batch, one for each
// of rows in their order, and it is being computed when Step returns true. The
// next call must then be a Step whose b is nil, which draws from that batch.
func (c *Context) Step(b *inference.Batch, rows []inference.SampleRow, out []inference.Sampled, more bool) (ahead bool, err error) {
	switch {
	case c.closed.Load():
		return false, fmt.Errorf("decode: %w", ErrClosed)
	case len(rows) != len(out):
		return false, fmt.Errorf("decode: %w: %d rows and %d places for the answers", inference.ErrBadBatch, len(rows), len(out))
	case c.ahead != (b == nil):
		return false, fmt.Errorf("decode: %w: another batch is being computed: %t", inference.ErrBadBatch, c.ahead)
	}
	if b != nil {
		c.rows = c.rows[:0]
		if err := c.checkBatch(b); err != nil {
			return false, fmt.Errorf("decode: %w: %w", inference.ErrBadBatch, err)
		}
		c.rows = append(c.rows, b.Output...)
	}
	return c.step(b, rows, out, more)
}

// Hold keeps Steps from going ahead while it is on: somebody wants the context.
// Any goroutine may call it at any time.
func (c *Context) Hold(on bool) {
	var v uint32
	if on {
		v = 1
	}
	c.hold.Store(v)
}

func (c *Context) step(b *inference.Batch, rows []inference.SampleRow, out []inference.Sampled, more bool) (bool, error) {
	d := &c.draw
	d.call++
	d.row, d.index, d.handle = d.row[:0], d.index[:0], d.handle[:0]
	for i := range rows {
		out[i] = inference.Sampled{}
		s, err := c.checkRow(&rows[i])
		if err != nil {
			out[i].Err = err
			more = false
			continue
		}
		s.by, s.call = c, d.call
		d.row, d.index, d.handle = append(d.row, int32(i)), append(d.index, int32(rows[i].Index)), append(d.handle, s.h)
	}
	var batch inference.Batch
	if b != nil {
		batch = *b
	}
	if err := c.compute(&batch, more); err != nil {
		c.rows = c.rows[:0]
		return false, err
	}
	c.read(rows, out)
	if c.ahead {
		c.rows = c.rows[:0]
		for range rows {
			c.rows = append(c.rows, 1)
		}
	}
	return c.ahead, nil
}

// compute has the compute thread do a step, and parks the goroutine until it is
// done.
func (c *Context) compute(b *inference.Batch, more bool) error {
	d := &c.draw
	C.hearth_step_start(c.h, C.int32_t(len(b.Token)), (*C.int32_t)(unsafe.SliceData(b.Token)), (*C.int32_t)(unsafe.SliceData(b.Pos)),
		(*C.int32_t)(unsafe.SliceData(b.Seq)), (*C.int8_t)(unsafe.SliceData(b.Output)),
		C.int32_t(len(d.index)), (*C.int32_t)(unsafe.SliceData(d.index)), (**C.hearth_sampler)(unsafe.SliceData(d.handle)), flag(more))
	// Parked here, the goroutine holds no thread inside C. If the read fails, the
	// next line waits.
	_, _ = c.done.Read(c.signal[:])
	rc := C.hearth_step_result(c.h, &c.draw.drawn)
	c.ahead = c.draw.drawn.ahead != 0
	if rc != 0 {
		return c.decodeError(int(rc))
	}
	return nil
}

func (c *Context) decodeError(rc int) error {
	return fmt.Errorf("decode: %w", decodeFailure(rc, C.GoString(C.hearth_context_error(c.h))))
}

// decodeFailure is what a code of llama_decode means.
func decodeFailure(rc int, why string) error {
	switch {
	case rc == 1:
		return inference.ErrNoSlot
	case rc == 2:
		return inference.ErrAborted
	case rc == -1:
		return fmt.Errorf("%w: %s", inference.ErrBadBatch, why)
	default:
		return fmt.Errorf("%w (code %d): %s", inference.ErrDecodeFatal, rc, why)
	}
}

// read takes over what was drawn.
func (c *Context) read(rows []inference.SampleRow, out []inference.Sampled) {
	n, drawn := len(c.draw.row), &c.draw.drawn
	if n == 0 {
		return
	}
	tokens, status := unsafe.Slice(drawn.token, n), unsafe.Slice(drawn.status, n)
	for k, i := range c.draw.row {
		o, s := &out[i], rows[i].Sampler.(*Sampler)
		switch {
		case drawn.failed != 0:
			o.Err = fmt.Errorf("sample: %w: the backend gave no logits", inference.ErrDecodeFatal)
			continue
		case status[k] == C.HEARTH_ROW_GRAMMAR:
			o.Err = inference.Invalid("grammar", "%s", C.GoString(C.hearth_sampler_error(s.h)))
			continue
		case status[k] == C.HEARTH_ROW_SKIPPED:
			o.Skipped = true
			continue
		case status[k] != 0:
			o.Err = fmt.Errorf("sample: %s", C.GoString(C.hearth_sampler_error(s.h)))
			continue
		}
		o.Token = int32(tokens[k])
		if sure, likely := unsafe.Slice(drawn.n_sure, n)[k], unsafe.Slice(drawn.n_likely, n)[k]; sure+likely > 0 {
			next := unsafe.Slice((*int32)(drawn.next), n*C.HEARTH_MAX_FORESEEN)[k*C.HEARTH_MAX_FORESEEN:]
			o.Appended, o.Likely = next[:sure], next[sure:sure+likely]
		}
		if !s.logprobs {
			continue
		}
		o.Logprob = float32(unsafe.Slice(drawn.logprob, n)[k])
		if s.top == 0 {
			continue
		}
		o.Top = make([]inference.TokenLogprob, unsafe.Slice(drawn.top_n, n)[k])
		top := unsafe.Slice(drawn.top_token, n*inference.MaxTopLogprobs)[k*inference.MaxTopLogprobs:]
		logprob := unsafe.Slice(drawn.top_logprob, n*inference.MaxTopLogprobs)[k*inference.MaxTopLogprobs:]
		for j := range o.Top {
			o.Top[j] = inference.TokenLogprob{Token: int32(top[j]), Logprob: float32(logprob[j])}
		}
	}
}

// A row of what was drawn has as many places as a request may ask for.
var _ = [1]struct{}{}[inference.MaxTopLogprobs-C.HEARTH_MAX_TOP]
