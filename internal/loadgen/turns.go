package loadgen

// Turn is one turn of all conversations of a run.
type Turn struct {
	Requests     int `json:"requests"`
	PromptTokens int `json:"prompt_tokens"`
	CachedTokens int `json:"cached_tokens"` // of the prompts, as the server said
	// NewTokens are those by which the prompts grew since the turn before: the
	// answer to it and what was said then. In the first turn, all.
	NewTokens int `json:"new_tokens"`
	// Recomputed are tokens that were computed although the turn before had
	// them in its prompt.
	Recomputed int `json:"recomputed"`
}

// turns reduces the conversations of a run to their turns, the first first;
// nothing for a run without conversations.
func turns(r *Result) []Turn {
	type key struct {
		group                string
		client, conversation int
		turn                 int
	}
	groups := map[string]Group{}
	for _, g := range r.Scenario.Groups {
		if g.Conversations > 0 {
			groups[g.Name] = g
		}
	}
	prompts := map[key]int{}
	at := func(s *Sample) key {
		g := groups[s.Group]
		conversation, turn := g.turn(s.Index)
		return key{s.Group, s.Client, conversation, turn}
	}
	for i := range r.Samples {
		if _, talks := groups[r.Samples[i].Group]; talks {
			prompts[at(&r.Samples[i])] = r.Samples[i].PromptTokens
		}
	}
	var out []Turn
	for i := range r.Samples {
		s := &r.Samples[i]
		if _, talks := groups[s.Group]; !talks || s.Cut {
			continue
		}
		k := at(s)
		for len(out) <= k.turn {
			out = append(out, Turn{})
		}
		before := k
		before.turn--
		fresh := s.PromptTokens - prompts[before]
		t := &out[k.turn]
		t.Requests++
		t.PromptTokens += s.PromptTokens
		t.CachedTokens += s.CachedTokens
		t.NewTokens += fresh
		t.Recomputed += max(s.PromptTokens-s.CachedTokens-fresh, 0)
	}
	return out
}
