package llama

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
)

// TestRelayout moves running sequences from one pool to streams and back: each
// goes on as if nothing had happened.
func TestRelayout(t *testing.T) {
	const n = 6
	m := sharedModel(t)
	for _, kv := range []string{"f16", "q8_0"} {
		t.Run(kv, func(t *testing.T) {
			o := ContextOptions{Cells: 1024, Sequences: 4, Unified: true, Streams: true, Threads: 1, KVType: kv, FlashAttention: "on"}
			c := newContext(t, m, o)
			goOn := func(seq, from int32, tokens []int32) []int32 {
				t.Helper()
				return greedyFrom(t, m, c, seq, from, tokens, n)
			}
			// Two prompts that begin alike, and one that does not.
			begin := tokenize(t, m, story)
			prompts := [][]int32{
				slices.Concat(begin, tokenize(t, m, " In winter")),
				slices.Concat(begin, tokenize(t, m, " Every night")),
				tokenize(t, m, "The recipe for bread begins with flour, water, salt and"),
			}
			// half leaves the last token of generate uncomputed, as generate does.
			var first, second [][]int32
			for i, p := range prompts {
				a := goOn(int32(i), 0, p)
				first = append(first, a)
				second = append(second, goOn(int32(i), int32(len(p)+n-1), a[n-1:]))
				c.SeqRemove(int32(i), -1, -1)
			}

			goOn(0, 0, prompts[0])
			c.SeqRemove(0, int32(len(prompts[0])+n-1), -1)
			c.SeqCopy(0, 1, 0, int32(len(begin)))
			equalTokens(t, m, "shared in one pool", goOn(1, int32(len(begin)), prompts[1][len(begin):]), first[1])
			c.SeqCopy(1, 9, 0, -1) // a holder
			c.SeqRemove(1, -1, -1)

			run := func(seq int32) []byte {
				t.Helper()
				buf := make([]byte, c.RunBytes(40))
				got, err := c.SaveRun(seq, 5, 45, buf)
				must(t, err)
				return buf[:got]
			}
			saved := run(9)

			must(t, c.Relayout(false, []inference.SeqMove{{From: 9, To: 0}, {From: 0, To: 3}}))
			if !bytes.Equal(run(0), saved) {
				t.Error("a run saved in streams differs from the same run saved in one pool")
			}
			// In a stream, the same cells loaded in two runs behind computed ones.
			rest := make([]byte, c.RunBytes(len(prompts[1])+n-1-45))
			_, err := c.SaveRun(0, 45, int32(len(prompts[1])+n-1), rest)
			must(t, err)
			prompt(t, c, 2, 0, prompts[1][:5])
			must(t, c.loadRun(2, 5, 45, saved))
			must(t, c.loadRun(2, 45, int32(len(prompts[1])+n-1), rest))
			equalTokens(t, m, "loaded into a stream", goOn(2, int32(len(prompts[1])+n-1), first[1][n-1:]), second[1])
			if err := c.loadRun(2, c.SeqPosMax(2)+1, c.SeqPosMax(2)+41, saved); !errors.Is(err, errRun) {
				t.Errorf("a run of other positions was loaded: %v", err)
			}
			// The same two at once, and then with a third that does not belong there.
			end := int32(len(prompts[1]) + n - 1)
			for _, more := range [][][]byte{nil, {saved}} {
				c.SeqRemove(2, -1, -1)
				prompt(t, c, 2, 0, prompts[1][:5])
				ends := []int32{45, end, end + 40}[:2+len(more)]
				k, err := c.LoadRuns(2, 5, ends, append([][]byte{saved, rest}, more...))
				if k != 2 || len(more) == 0 != (err == nil) || len(more) > 0 && !errors.Is(err, errRun) || c.SeqPosMax(2) != end-1 {
					t.Errorf("%d runs of %d were loaded, and the sequence ends at %d, want %d: %v", k, len(ends), c.SeqPosMax(2), end-1, err)
				}
				equalTokens(t, m, "loaded into a stream at once", goOn(2, end, first[1][n-1:]), second[1])
			}
			c.SeqRemove(2, -1, -1)
			if c.Traits().Unified || c.SeqPosMax(1) >= 0 || c.SeqPosMax(9) >= 0 {
				t.Fatalf("traits %+v, sequence 1 ends at %d and 9 at %d", c.Traits(), c.SeqPosMax(1), c.SeqPosMax(9))
			}
			equalTokens(t, m, "computed in streams", goOn(1, 0, prompts[2]), first[2])
			equalTokens(t, m, "moved to a stream", goOn(0, int32(len(prompts[1])+n-1), first[1][n-1:]), second[1])
			c.SeqCopy(0, 2, 0, int32(len(begin)))
			equalTokens(t, m, "copied in streams", goOn(2, int32(len(begin)), prompts[0][len(begin):]), first[0])

			shared := int32(len(begin))
			must(t, c.Relayout(true, []inference.SeqMove{{From: 2, To: 2}, {From: 0, To: 1, With: 2, Shared: shared}, {From: 1, To: 0}, {From: 3, To: 11, With: 2, Shared: int32(len(prompts[0]) + n - 1)}}))
			equalTokens(t, m, "moved back", goOn(0, int32(len(prompts[2])+n-1), first[2][n-1:]), second[2])
			equalTokens(t, m, "moved back, others share with it", goOn(2, int32(len(prompts[0])+n-1), first[0][n-1:]), second[0])
			c.SeqRemove(2, -1, -1)
			c.SeqCopy(11, 2, 0, -1)
			equalTokens(t, m, "all shared", goOn(2, int32(len(prompts[0])+n-1), first[0][n-1:]), second[0])
			c.SeqRemove(1, shared, -1)
			equalTokens(t, m, "moved back sharing", goOn(1, shared, prompts[1][shared:]), first[1])
			must(t, c.Relayout(false, nil))
			for id := range int32(c.Traits().Sequences) {
				if c.SeqPosMax(id) >= 0 {
					t.Errorf("sequence %d was not moved and holds cells", id)
				}
			}
		})
	}
}

// TestRelayoutRefuses holds that what cannot be moved changes nothing.
func TestRelayoutRefuses(t *testing.T) {
	m := sharedModel(t)
	tokens := tokenize(t, m, story)
	held := int32(len(tokens))
	c := newContext(t, m, ContextOptions{Cells: 512, Sequences: 2, Unified: true, Streams: true, Threads: 1})
	prompt(t, c, 0, 0, tokens)
	for name, moves := range map[string][]inference.SeqMove{
		"empty":         {{From: 1, To: 1}},
		"no such id":    {{From: 0, To: -1}},
		"a holder":      {{From: 0, To: 2}},
		"twice":         {{From: 0, To: 1}, {From: 0, To: 1}},
		"shared":        {{From: 0, To: 1}, {From: 0, To: 0, With: 1, Shared: 3}},
		"far id":        {{From: 300, To: 0}},
		"negative part": {{From: 0, To: 0, Shared: -1}},
	} {
		if err := c.Relayout(false, moves); !errors.Is(err, inference.ErrBadBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Relayout(true, nil); err == nil || !strings.Contains(err.Error(), "one way") {
		t.Errorf("to where they are: %v", err)
	}
	if got := c.SeqPosMax(0); got != held-1 || !c.Traits().Unified {
		t.Errorf("the sequence ends at %d, want %d; traits %+v", got, held-1, c.Traits())
	}
	must(t, c.Relayout(false, []inference.SeqMove{{From: 0, To: 1}}))
	for name, moves := range map[string][]inference.SeqMove{
		"more than there is": {{From: 1, To: 1}, {From: 1, To: 0, With: 1, Shared: held + 1}},
		"with a later one":   {{From: 1, To: 1, With: 0, Shared: 4}, {From: 1, To: 0}},
	} {
		if err := c.Relayout(true, moves); !errors.Is(err, inference.ErrBadBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := c.SeqPosMax(1); got != held-1 {
		t.Errorf("the sequence ends at %d, want %d", got, held-1)
	}
}

// TestNoRelayout: where cells cannot be copied from tensor to tensor, or streams
// were not asked for.
func TestNoRelayout(t *testing.T) {
	m := sharedModel(t)
	for name, o := range map[string]ContextOptions{
		"not asked for":      {Cells: 512, Sequences: 2, Unified: true},
		"one sequence":       {Cells: 512, Sequences: 1, Unified: true, Streams: true},
		"split":              {Cells: 512, Sequences: 2, Streams: true},
		"no flash attention": {Cells: 512, Sequences: 2, Unified: true, Streams: true, FlashAttention: "off"},
	} {
		o.Threads = 1
		c := newContext(t, m, o)
		if c.Traits().Streams != 0 || c.Relayout(!o.Unified, nil) == nil {
			t.Errorf("%s: %+v", name, c.Traits())
		}
	}
}

func TestStreamCells(t *testing.T) {
	for _, c := range []struct {
		name       string
		o          ContextOptions
		train      int
		each, free int64
		want       int
	}{
		{"all", ContextOptions{Cells: 16384, Sequences: 8, Unified: true}, 0, 1, 1 << 40, 16384},
		{"no more than the model can use", ContextOptions{Cells: 16384, Sequences: 8, Unified: true}, 2000, 1, 1 << 40, 2048},
		{"no more than there is memory", ContextOptions{Cells: 16384, Sequences: 8, Unified: true}, 0, 1000, 8 * 5000 * 1000, 4864},
		{"less than a fair part", ContextOptions{Cells: 16384, Sequences: 8, Unified: true}, 0, 1000, 8 * 2000 * 1000, 0},
		{"split", ContextOptions{Cells: 16384, Sequences: 8}, 0, 1, 1 << 40, 0},
		{"alone", ContextOptions{Cells: 16384, Sequences: 1, Unified: true}, 0, 1, 1 << 40, 0},
		{"not known", ContextOptions{Cells: 16384, Sequences: 8, Unified: true}, 0, 0, 1 << 40, 0},
	} {
		if got := streamCells(c.o, c.train, c.each, c.free); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestStreamsGiveBack: the memory of a sequence that is removed goes back, or each
// stream would take for ever what its longest sequence took.
func TestStreamsGiveBack(t *testing.T) {
	const each, spare = 23040, 8 << 20
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 8192, Sequences: 4, Unified: true, Streams: true, Threads: 2})
	must(t, c.Relayout(false, nil))
	tokens := tokenize(t, m, strings.Repeat(story, 4))
	prompt(t, c, 0, 0, tokens)
	full := residentMemory(t)
	for id := range int32(3) {
		c.SeqCopy(id, id+1, 0, -1)
		c.SeqRemove(id, -1, -1)
	}
	if grown := residentMemory(t) - full; grown > spare {
		t.Errorf("%d bytes more after a sequence of %d went through four streams", grown, len(tokens)*each)
	}
}

// TestSeqSwap: two streams change places, one of them empty or not, and go on as if
// nothing had happened; so does a third that lies beside them.
func TestSeqSwap(t *testing.T) {
	const n = 6
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 1024, Sequences: 4, Unified: true, Streams: true, Threads: 1, FlashAttention: "on"})
	goOn := func(seq, from int32, tokens []int32) []int32 {
		t.Helper()
		return greedyFrom(t, m, c, seq, from, tokens, n)
	}
	prompts := [][]int32{tokenize(t, m, story), tokenize(t, m, "The recipe for bread begins with flour, water, salt and"), tokenize(t, m, story[:60])}
	var want [][]int32
	for _, p := range prompts {
		want = append(want, goOn(0, 0, p))
		c.SeqRemove(0, -1, -1)
	}
	if c.SeqSwap(0, 1) {
		t.Error("two sequences of a pool were exchanged")
	}
	must(t, c.Relayout(false, nil))
	for i, p := range prompts {
		prompt(t, c, int32(i), 0, p[:len(p)-1])
	}
	for _, pair := range [][2]int32{{1, 1}, {-1, 0}, {0, 4}} {
		if c.SeqSwap(pair[0], pair[1]) {
			t.Errorf("%d and %d were exchanged", pair[0], pair[1])
		}
	}
	at := [4]int{0, 1, 2, -1} // the prompt that lies in each
	for _, pair := range [][2]int32{{0, 1}, {0, 2}, {3, 0}, {1, 3}, {2, 1}} {
		if !c.SeqSwap(pair[0], pair[1]) {
			t.Fatalf("%d and %d were not exchanged", pair[0], pair[1])
		}
		at[pair[0]], at[pair[1]] = at[pair[1]], at[pair[0]]
		for seq, i := range at {
			held := int32(-1)
			if i >= 0 {
				held = int32(len(prompts[i])) - 2
			}
			if got := c.SeqPosMax(int32(seq)); got != held {
				t.Fatalf("after %v sequence %d ends at %d, not %d", pair, seq, got, held)
			}
		}
	}
	for seq, i := range at {
		if i >= 0 {
			last := len(prompts[i]) - 1
			equalTokens(t, m, "after changing places", goOn(int32(seq), int32(last), prompts[i][last:]), want[i])
		}
	}
}
