package main

import (
	"fmt"

	"hearth/internal/loadgen"
)

// talk is what conversations came to on a system, by turn, over all rounds.
type talk struct {
	Entry  string         `json:"scenario"`
	System string         `json:"system"`
	Turns  []loadgen.Turn `json:"turns"`
}

// talks adds up the turns of the entries that converse.
func talks(s *suite) []talk {
	var out []talk
	for i := range s.entries {
		e := &s.entries[i]
		if !e.Scenario.Converses() || len(e.Shown) == 1 {
			continue
		}
		for _, system := range e.systems(0) {
			t := talk{Entry: e.Name, System: system}
			for k := range s.runs {
				r := &s.runs[k]
				if r.Entry != e.Name || r.System != system {
					continue
				}
				for n, turn := range r.Summary.Turns {
					for len(t.Turns) <= n {
						t.Turns = append(t.Turns, loadgen.Turn{})
					}
					sum := &t.Turns[n]
					sum.Requests += turn.Requests
					sum.PromptTokens += turn.PromptTokens
					sum.CachedTokens += turn.CachedTokens
					sum.NewTokens += turn.NewTokens
					sum.Recomputed += turn.Recomputed
				}
			}
			if len(t.Turns) > 0 {
				out = append(out, t)
			}
		}
	}
	return out
}

// texts is how many answers of two Hearths differ.
type texts struct {
	Entry   string `json:"scenario"`
	With    string `json:"with"`
	Without string `json:"without"`
	Answers int    `json:"answers"`
	Differ  int    `json:"differ"`
}

// compareTexts compares, answer by answer, what Hearth wrote with what the
// variant wrote that must write the same.
func compareTexts(s *suite) []texts {
	var out []texts
	for i := range s.entries {
		e := &s.entries[i]
		if e.SameText == "" {
			continue
		}
		t := texts{Entry: e.Name, With: hearth, Without: e.SameText}
		for round := range s.settings.Rounds {
			with, without := s.answers(e.Name, hearth, round), s.answers(e.Name, e.SameText, round)
			for key, text := range with {
				if other, ok := without[key]; ok {
					t.Answers++
					if text != other {
						t.Differ++
					}
				}
			}
		}
		out = append(out, t)
	}
	return out
}

// answers returns what a system wrote in a round, by group, client and request.
func (s *suite) answers(entry, system string, round int) map[string]string {
	out := map[string]string{}
	for i := range s.runs {
		r := &s.runs[i]
		if r.Entry != entry || r.System != system || r.Round != round || r.Result == nil {
			continue
		}
		for k := range r.Result.Samples {
			a := &r.Result.Samples[k]
			if !a.Cut {
				text := a.Text
				for _, c := range a.Calls {
					text += "\x00" + c.Name + "\x00" + c.Arguments
				}
				out[fmt.Sprintf("%s/%d/%d", a.Group, a.Client, a.Index)] = text
			}
		}
	}
	return out
}
