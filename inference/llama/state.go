package llama

/*
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// errRun is what a run that cannot be saved or loaded is refused with.
var errRun = errors.New("llama: the run cannot be saved or loaded")

// RunBytes returns how many bytes a run of n cells takes; 0 where Traits.Keep is
// false.
func (c *Context) RunBytes(n int) int {
	if !c.traits.Keep {
		return 0
	}
	return int(c.runBytes[0]) + n*int(c.runBytes[1])
}

// checkRun refuses what llama.cpp would abort on.
func (c *Context) checkRun(seq, p0, p1 int32) error {
	switch {
	case c.closed.Load():
		return ErrClosed
	case !c.traits.Keep:
		return fmt.Errorf("%w: %s", errRun, c.WhyNotKept())
	case !c.held(seq):
		return fmt.Errorf("%w: there is no sequence %d", errRun, seq)
	case c.ahead:
		return fmt.Errorf("%w: a batch is being computed", errRun)
	case p0 < 0 || p1 <= p0 || int(p1) > c.traits.Context:
		return fmt.Errorf("%w: positions %d to %d are outside the context (0..%d)", errRun, p0, p1, c.traits.Context)
	}
	return nil
}

// SaveRun writes the cells of seq at the positions [p0, p1) into buf, which has
// room for RunBytes, and returns how many bytes that are. It refuses a run of
// which seq does not hold all, also in the layers with a sliding window. What it
// writes is of use to contexts of the same model file, made with the same options
// by the same build, with the same adapters.
func (c *Context) SaveRun(seq, p0, p1 int32, buf []byte) (int, error) {
	if err := c.checkRun(seq, p0, p1); err != nil {
		return 0, fmt.Errorf("save cells: %w", err)
	}
	if p1 > c.SeqPosMax(seq)+1 {
		return 0, fmt.Errorf("save cells: %w: sequence %d ends before position %d", errRun, seq, p1)
	}
	if len(buf) == 0 {
		return 0, fmt.Errorf("save cells: %w: there is no room", errRun)
	}
	var cerr *C.char
	n := C.hearth_state_save(c.h, C.int32_t(seq), C.int32_t(p0), C.int32_t(p1), (*C.uint8_t)(unsafe.SliceData(buf)), C.int64_t(len(buf)), &cerr)
	if n < 0 {
		return 0, fmt.Errorf("save cells %d to %d of sequence %d: %w: %w", p0, p1, seq, errRun, takeError(&cerr))
	}
	return int(n), nil
}

// LoadRuns adds the cells that SaveRun wrote to seq, which ends at p0: data[i] those up
// to ends[i]. It returns how many runs it added, and why not the next one, as for want
// of free cells. The rows themselves are taken as they are: who keeps them must know
// that they are unchanged.
func (c *Context) LoadRuns(seq, p0 int32, ends []int32, data [][]byte) (n int, err error) {
	if len(ends) != len(data) {
		return 0, fmt.Errorf("load cells: %w: %d runs with %d ends", errRun, len(data), len(ends))
	}
	// Those that are sound follow each other without pause.
	sound, at := 0, p0
	for sound < len(data) {
		if err = c.checkLoad(seq, at, ends[sound], data[sound]); err != nil {
			break
		}
		at = ends[sound]
		sound++
	}
	for i, run := range data[:sound] {
		var cerr *C.char
		if C.hearth_state_load(c.h, C.int32_t(seq), C.int32_t(p0), C.int32_t(ends[i]), (*C.uint8_t)(unsafe.SliceData(run)), C.int64_t(len(run)), flag(i+1 < sound), &cerr) != 0 {
			return i, fmt.Errorf("load cells %d to %d of sequence %d: %w: %w", p0, ends[i], seq, errRun, takeError(&cerr))
		}
		p0 = ends[i]
	}
	return sound, err
}

func (c *Context) checkLoad(seq, p0, p1 int32, data []byte) error {
	if err := c.checkRun(seq, p0, p1); err != nil {
		return fmt.Errorf("load cells: %w", err)
	}
	if want := c.RunBytes(int(p1 - p0)); len(data) != want {
		return fmt.Errorf("load cells: %w: %d cells take %d bytes, and these are %d", errRun, p1-p0, want, len(data))
	}
	return nil
}

// WhyNotKept says why Traits.Keep is false, and is empty where it is true.
func (c *Context) WhyNotKept() string {
	switch {
	case c.traits.Keep:
		return ""
	case c.WhyNotShared() != "":
		return "prefixes are not shared: " + c.WhyNotShared()
	case !c.traits.Unified:
		return "each sequence has cells of its own (engine.kv_layout is split), and a part of them cannot be saved"
	case c.traits.Sequences+c.traits.Holders >= maxSequences:
		return fmt.Sprintf("all %d sequences are computed (engine.sequences), and one is needed for cells that come and go", maxSequences)
	}
	return "saved cells did not give the tokens of computed ones when this was tried"
}
