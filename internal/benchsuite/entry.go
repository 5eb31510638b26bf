package main

import (
	"fmt"
	"slices"
	"strings"

	"hearth/internal/loadgen"
)

// The systems that every entry compares.
const (
	hearth = "hearth"
	plain  = "llama-server"
	tuned  = "llama-server, tuned"
	// batchedBench is no server: what the compute alone would allow.
	batchedBench = "llama-batched-bench"
)

// entry is a scenario with what is compared in it: a part of the report.
type entry struct {
	// Name is what -only says; the scenario's name where it is empty.
	Name string `json:"name"`
	// Title of the report; the scenario's where it is empty.
	Title    string           `json:"title"`
	Scenario loadgen.Scenario `json:"scenario"`
	// Sequences and Context, in cells, that all systems get; 0: the suite's.
	Sequences int `json:"sequences,omitempty"`
	Context   int `json:"context,omitempty"`
	// ToolTemplate gives llama-server a chat template that writes tools as Hearth
	// does, where the model's own has no place for them.
	ToolTemplate bool `json:"tool_template,omitempty"`
	// Equal are flags that every llama-server gets, so that it is bounded as Hearth is.
	Equal []string `json:"equal,omitempty"`
	// Tuned are flags that llama-server gets on top: what was found to serve it
	// best here.
	Tuned []string `json:"tuned,omitempty"`
	// Untuned leaves the tuned llama-server out.
	Untuned bool `json:"untuned,omitempty"`
	// Variants are Hearths of another configuration, measured beside the one that
	// comes as it is.
	Variants []variant `json:"variants,omitempty"`
	// SameText names a variant that must write what Hearth writes, word for word.
	SameText string `json:"same_text,omitempty"`
	// Phases are further scenarios that each server runs after the first.
	Phases []phase `json:"phases,omitempty"`
	// Ceiling measures llama-batched-bench at the same lengths, too.
	Ceiling bool `json:"ceiling,omitempty"`
	// Shown are the figures of the report; the first is the one that -floor judges.
	Shown []metric `json:"-"`
	Goals []goal   `json:"goals"`
	// Seconds is about what one run takes with a model of 100 MB on two cores.
	Seconds float64 `json:"-"`
}

// variant is a Hearth with a configuration of its own.
type variant struct {
	Name string `json:"name"`
	// Config is YAML that goes into its configuration file; DATA in it stands for
	// a folder that lives as long as a run, restarts included.
	Config string `json:"config"`
}

// phase is a further scenario of a run.
type phase struct {
	Name     string           `json:"name"`
	Scenario loadgen.Scenario `json:"scenario"`
	// Restart ends the server before, and starts it again with the same files.
	Restart bool `json:"restart,omitempty"`
}

// goal is a bound on a figure: on its ratio to another system's in the same
// round, or on the figure itself.
type goal struct {
	Metric string `json:"metric"`
	// Of is the system whose figure it is; empty: Hearth as it comes.
	Of string `json:"of,omitempty"`
	// Against is the other system; empty: the bound is on the figure.
	Against string  `json:"against,omitempty"`
	Bound   float64 `json:"bound"`
	More    bool    `json:"at_least"` // else at most
}

func (g *goal) met(v float64) bool { return g.More && v >= g.Bound || !g.More && v <= g.Bound }

// systems returns what the entry compares, in the order of a round: A B C, then
// C B A, so that a machine that slows down or warms up favours nobody.
func (e *entry) systems(round int) []string {
	out := []string{hearth}
	for _, v := range e.Variants {
		out = append(out, v.Name)
	}
	out = append(out, plain)
	if !e.Untuned {
		out = append(out, tuned)
	}
	if round%2 == 1 {
		slices.Reverse(out)
	}
	return out
}

// config returns the YAML of a system of this entry that is a Hearth; false for
// another system.
func (e *entry) config(system string) (string, bool) {
	if system == hearth {
		return "", true
	}
	for _, v := range e.Variants {
		if v.Name == system {
			return v.Config, true
		}
	}
	return "", false
}

// entries returns all entries in the order of the report.
func entries() ([]entry, error) {
	out := catalog()
	for i := range out {
		e := &out[i]
		s, err := loadgen.Find(e.Scenario.Name)
		if err != nil {
			return nil, err
		}
		e.Scenario = s
		if e.Name == "" {
			e.Name = s.Name
		}
		if e.Title == "" {
			e.Title = s.Title
		}
	}
	return out, nil
}

// choose returns the entries that a list of names, divided by commas, says; all
// for an empty one.
func choose(names string) ([]entry, error) {
	all, err := entries()
	if err != nil || names == "" {
		return all, err
	}
	var out []entry
	for name := range strings.SplitSeq(names, ",") {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(all, func(e entry) bool { return e.Name == name })
		if i < 0 {
			var known []string
			for _, e := range all {
				known = append(known, e.Name)
			}
			return nil, fmt.Errorf("-only: no scenario %q: choose of %s", name, strings.Join(known, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// floor replaces the goals of an entry by one: the first figure of the Hearth that
// its first goal is about no worse than bound times that of llama-server as it comes.
func (e *entry) floor(bound float64) {
	first := e.Shown[0]
	e.Goals = []goal{{Metric: first.name, Of: e.Goals[0].Of, Against: plain, Bound: bound, More: true}}
	if !first.more {
		e.Goals[0].Bound, e.Goals[0].More = 1/bound, false
	}
}

// quick makes an entry tiny.
func (e *entry) quick() {
	e.Sequences, e.Context = 0, 0
	e.Scenario = tiny(e.Scenario)
	for i := range e.Phases {
		e.Phases[i].Scenario = tiny(e.Phases[i].Scenario)
	}
}

func tiny(s loadgen.Scenario) loadgen.Scenario {
	for i := range s.Groups {
		g := &s.Groups[i]
		g.Clients = min(g.Clients, 2)
		g.Requests = min(g.Requests, max(g.Conversations*2, 1))
		g.MaxTokens = min(g.MaxTokens, 8)
		g.PromptWords = min(g.PromptWords, 60)
		g.SharedSystemWords = min(g.SharedSystemWords, 60)
		g.TurnWords = min(g.TurnWords, 10)
		g.Tools = min(g.Tools, 2)
		g.Texts = min(g.Texts, 3)
	}
	return s
}
