package llama

import (
	"errors"
	"fmt"
)

// memoryKind is what a model keeps of the tokens that it read.
type memoryKind struct {
	recurrent bool // a state that every token changes
	hybrid    bool // such a state beside attention
	window    int  // attention of some layers reaches so many tokens back; 0: all
}

// unshared says why such a memory shares no prefixes, or that it could.
// windowOnly is ContextOptions.WindowOnly.
func (k memoryKind) unshared(windowOnly bool) string {
	switch {
	case k.recurrent:
		return "the model has a recurrent state, which cannot be copied up to a position"
	case k.hybrid:
		return "the model is a hybrid with a recurrent state, which cannot be copied up to a position"
	case k.window > 0 && windowOnly:
		return fmt.Sprintf("the model has a sliding window of %d tokens and keeps no more than that, because engine.swa_full is off", k.window)
	}
	return ""
}

// oneAtATime are the architectures of which llama.cpp aborts the process when it
// computes several sequences.
var oneAtATime = map[string]bool{"plamo2": true}

// sequencesOf returns how many of the wanted sequences a context can have.
func sequencesOf(architecture string, wanted int) int {
	if oneAtATime[architecture] {
		return min(wanted, 1)
	}
	return wanted
}

// checkArchitecture refuses what llama.cpp computes, but not the same way twice.
func checkArchitecture(architecture string) error {
	if architecture == "cogvlm" {
		return errors.New("what a model of the architecture cogvlm answers depends on what was computed before, so it is not served")
	}
	return nil
}

// WhyNotShared says why Traits.Share or Traits.TrimTail is false, and is empty
// where both are true.
func (c *Context) WhyNotShared() string {
	if c.traits.Share && c.traits.TrimTail {
		return ""
	}
	if why := c.m.memory.unshared(c.windowOnly); why != "" {
		return why
	}
	if !c.traits.Unified && c.traits.Sequences == 1 {
		return "there is one sequence, and in a cache that is split nothing to share with"
	}
	return "a copied prefix did not give the tokens of a computed one when this was tried"
}
