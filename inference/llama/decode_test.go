package llama

import "testing"

const capital = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"

func TestGreedyIsRepeatable(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 512, Sequences: 2, Unified: true})
	tokens := tokenize(t, m, capital)
	first := complete(t, c, 0, tokens, 16, greedySpec())
	equalTokens(t, m, "second run", complete(t, c, 0, tokens, 16, greedySpec()), first)
	equalTokens(t, m, "other sequence", complete(t, c, 1, tokens, 16, greedySpec()), first)
	t.Logf("%+v %q", c.Traits(), text(m, first))
}
