package main

import "fmt"

// notes says where the systems did not do the same work or were disturbed, so
// that a reader need not take the equality on trust.
func notes(s *suite) []string {
	var out []string
	type key struct {
		scenario string
		round    int
	}
	prompts := map[key]map[string]int{}
	short, coalesced := map[string]int{}, map[string]int{}
	for _, r := range s.runs {
		k := key{r.Scenario, r.Round}
		if prompts[k] == nil {
			prompts[k] = map[string]int{}
		}
		prompts[k][r.System] = r.Summary.PromptTokens
		if r.Scenario != "json-schema" { // where the grammar may end an answer early
			short[r.System] += r.Summary.Short
		}
		coalesced[r.System] += r.Summary.Coalesced
	}
	equal := true
	for _, scenario := range s.scenarios {
		for round := range s.settings.Rounds {
			p := prompts[key{scenario.Name, round}]
			if p[hearth] != p[plain] || p[hearth] != p[tuned] {
				equal = false
				out = append(out, fmt.Sprintf("Round %d, %s: prompts had %d tokens on %s, %d on %s, %d on %s.",
					round+1, scenario.Name, p[hearth], hearth, p[plain], plain, p[tuned], tuned))
			}
		}
	}
	if equal {
		out = append(out, "Every system counted the same number of prompt tokens in every run.")
	}
	for _, r := range s.runs {
		if r.Noise.Others > tooNoisy || r.Noise.Steal > tooNoisy {
			out = append(out, fmt.Sprintf("Round %d, %s on %s: other processes used %.1f CPUs and the host took %.1f, so this run says little.",
				r.Round+1, r.Scenario, r.System, r.Noise.Others, r.Noise.Steal))
		}
	}
	for _, r := range s.runs {
		if r.Killed {
			out = append(out, fmt.Sprintf("Round %d, %s on %s: it did not end when it was told to and was killed, after the measurement.",
				r.Round+1, r.Scenario, r.System))
		}
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
