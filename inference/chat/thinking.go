package chat

import (
	"strings"

	"hearth/inference"
)

// thinking returns how the template marks that its model thinks, nil if it does
// not say.
func (o *applyOutput) thinking() *inference.Thinking {
	if o.ThinkingStart == "" || len(o.ThinkingEnds) == 0 {
		return nil
	}
	for _, end := range o.ThinkingEnds {
		if end == "" {
			return nil
		}
	}
	t := &inference.Thinking{Start: o.ThinkingStart, Ends: o.ThinkingEnds, Budget: -1}
	if i := strings.LastIndex(o.GenerationPrompt, o.ThinkingStart); i >= 0 {
		t.Open = true
		for _, end := range o.ThinkingEnds {
			t.Open = t.Open && !strings.Contains(o.GenerationPrompt[i:], strings.TrimSpace(end))
		}
	}
	return t
}

// boundThinking lets the sampler of p keep to the budget of r, and keeps a lazy
// grammar from starting inside a thought. A request for no reasoning has a budget
// of zero: some templates open a block whatever they are told.
func (m *Model) boundThinking(r *inference.ChatRequest, p *prepared) error {
	budget := -1
	if b := r.ReasoningBudget; b != nil && *b != -1 {
		if *b < 0 || *b > inference.MaxReasoningBudget {
			return inference.Invalid("reasoning_budget_tokens", "must be between 0 and %d, or -1 for no bound, got %d", inference.MaxReasoningBudget, *b)
		}
		if p.thinking == nil {
			return inference.Invalid("reasoning_budget_tokens", "cannot be kept: the chat template of %s marks no thinking; leave it out, and set max_tokens", m.info.ID)
		}
		budget = *b
	}
	if p.thinking == nil {
		return nil
	}
	if r.NoReasoning {
		budget = 0
	}
	p.thinking.Budget = budget
	switch {
	case p.grammar != nil:
		p.grammar.Thinking = p.thinking
	case budget >= 0:
		p.grammar = &inference.Grammar{Thinking: p.thinking}
	}
	return nil
}
