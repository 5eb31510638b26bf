package router

import (
	"context"
	"time"

	"hearth/inference"
)

// Record is what is written of a call, once before it (Intent) and once after it.
type Record struct {
	Call          string // id of the call: both records of it have the same
	RequestID     string
	Caller        inference.Caller
	Via           string // the door
	Tool          string // its full name
	Definition    string // hash of the tool's definition
	ArgumentsHash string // of the canonical arguments
	Rule          string // what allowed the call
	Approval      string // the approval that was used; empty: none
	Outcome       string // "ok", "tool_error", or the code of the error
	Cached        bool   // the result was given without a call
	ResultBytes   int    // before it was cut
	Withheld      bool   // its structured content was left out: redacted, it breaks the tool's schema
	Duration      time.Duration
}

// Journal keeps records. Both methods are safe for concurrent use.
type Journal interface {
	// Intent returns when the record will outlast the machine's losing power, or
	// says that it will not: then the tool does not run.
	Intent(ctx context.Context, r *Record) error
	Outcome(r *Record)
}

// Observer hears of calls, for metrics. Its methods are safe for concurrent use
// and do not block.
type Observer interface {
	ToolCalled(connector, tool, outcome string, d time.Duration)
	ToolCacheHit(connector, tool string)
	ToolRevalidated(connector, tool string)
	BreakerOpen(connector string, open bool)
}

type noJournal struct{}

func (noJournal) Intent(context.Context, *Record) error { return nil }
func (noJournal) Outcome(*Record)                       {}

type noObserver struct{}

func (noObserver) ToolCalled(_, _, _ string, _ time.Duration) {}
func (noObserver) ToolCacheHit(_, _ string)                   {}
func (noObserver) ToolRevalidated(_, _ string)                {}
func (noObserver) BreakerOpen(string, bool)                   {}
