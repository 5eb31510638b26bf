package main

import (
	"fmt"
	"slices"
)

// notes says where the systems did not do the same work or were disturbed, so
// that a reader need not take the equality on trust.
func notes(s *suite) []string {
	out := promptNotes(s)
	short, coalesced, documents := map[string]int{}, map[string]int{}, map[string]int{}
	var systems []string
	for i := range s.runs {
		r := &s.runs[i]
		if !slices.Contains(systems, r.System) {
			systems = append(systems, r.System)
		}
		short[r.System] += r.Summary.Short
		coalesced[r.System] += r.Summary.Coalesced
		documents[r.Entry+r.System] += r.Summary.Documents
		at := fmt.Sprintf("Round %d, %s on %s: ", r.Round+1, r.Entry, r.System)
		if r.Failed != "" {
			out = append(out, at+"it FAILED and has no figures: "+r.Failed)
			continue
		}
		if r.Noise.Others > tooNoisy || r.Noise.Steal > tooNoisy {
			out = append(out, fmt.Sprintf("%sother processes used %.1f CPUs and the host took %.1f, so this run says little.", at, r.Noise.Others, r.Noise.Steal))
		}
		if r.Killed {
			out = append(out, at+"it did not end when it was told to and was killed, after the measurement.")
		}
	}
	for i := range s.entries {
		e := &s.entries[i]
		if !e.Scenario.Documents() {
			continue
		}
		for _, system := range e.systems(0) {
			if n := s.answered(e.Name, system); n > 0 {
				out = append(out, fmt.Sprintf("%s on %s: %d of %d answers were whole documents or calls; %.0f tokens an answer.",
					e.Name, system, documents[e.Name+system], n, s.meanAnswer(e.Name, system)))
			}
		}
	}
	for _, t := range compareTexts(s) {
		out = append(out, fmt.Sprintf("%s: %d of %d answers differ between %s and %s. Near ties of the two best tokens may fall differently in batches of other sizes.",
			t.Entry, t.Differ, t.Answers, t.With, t.Without))
	}
	for _, system := range systems {
		if short[system] > 0 {
			out = append(out, fmt.Sprintf("%s: %d answers ended before the number of tokens asked for.", system, short[system]))
		}
		if coalesced[system] > 0 {
			out = append(out, fmt.Sprintf("%s: %d tokens came together with another in one event; ITL is the time between events.", system, coalesced[system]))
		}
	}
	return out
}

// promptNotes compares the numbers of prompt tokens. Those of conversations may
// differ: a turn sends what this server answered before.
func promptNotes(s *suite) []string {
	var out []string
	equal := true
	for i := range s.entries {
		e := &s.entries[i]
		for round := range s.settings.Rounds {
			first, at := -1, ""
			for k := range s.runs {
				r := &s.runs[k]
				if r.Entry != e.Name || r.Round != round || r.Failed != "" {
					continue
				}
				n := r.Summary.PromptTokens
				if len(r.Summary.Turns) > 0 {
					n = r.Summary.Turns[0].PromptTokens
				}
				switch {
				case first < 0:
					first, at = n, r.System
				case n != first:
					equal = false
					out = append(out, fmt.Sprintf("Round %d, %s: prompts had %d tokens on %s, %d on %s.", round+1, e.Name, first, at, n, r.System))
				}
			}
		}
	}
	if equal {
		out = append(out, "Every system counted the same number of prompt tokens in every run.")
	}
	if slices.ContainsFunc(s.entries, func(e entry) bool { return e.Scenario.Converses() }) {
		out = append(out, "Of conversations that is said of their first turns: later ones send back what the very server answered, which may differ from server to server.")
	}
	return out
}

// answered counts the requests of an entry that a system answered.
func (s *suite) answered(entry, system string) int {
	n := 0
	for i := range s.runs {
		if r := &s.runs[i]; r.Entry == entry && r.System == system {
			n += r.Summary.Requests
		}
	}
	return n
}

func (s *suite) meanAnswer(entry, system string) float64 {
	tokens := 0
	for i := range s.runs {
		if r := &s.runs[i]; r.Entry == entry && r.System == system {
			tokens += r.Summary.Tokens
		}
	}
	return float64(tokens) / float64(max(s.answered(entry, system), 1))
}
