package llama

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
)

const capital = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"

// story is a prompt of more than a hundred tokens.
var story = strings.Repeat("Once upon a time there was a small lighthouse on a rock far out at sea. ", 8)

func TestGreedyIsRepeatable(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 512, Sequences: 2, Unified: true, Threads: 2})
	tokens := tokenize(t, m, capital)
	first := complete(t, c, 0, tokens, 16, greedySpec())
	equalTokens(t, m, "second run", complete(t, c, 0, tokens, 16, greedySpec()), first)
	equalTokens(t, m, "other sequence", complete(t, c, 1, tokens, 16, greedySpec()), first)
	if !strings.Contains(text(m, first), "Paris") {
		t.Errorf("the answer is %q", text(m, first))
	}
}

func TestTraits(t *testing.T) {
	m := sharedModel(t)
	for _, o := range []ContextOptions{
		{Cells: 512, Sequences: 4, Unified: true},
		{Cells: 512, Sequences: 1, Unified: true},
		{Cells: 1024, Sequences: 4},
		{Cells: 512, Sequences: 2, Unified: true, KVType: "q8_0", FlashAttention: "on"},
		{Cells: 512, Sequences: 2, Unified: true, KVType: "q4_0"},
		{Cells: 512, Sequences: 2, Unified: true, FlashAttention: "off"},
		{Cells: 512, Sequences: 2, Unified: true, Batch: 8},
		{Cells: 512, Sequences: 2, Unified: true, Threads: 2, ThreadsBatch: 1},
	} {
		c := newContext(t, m, o)
		got := c.Traits()
		if !got.Share && (o.Unified || o.Sequences > 1) || !got.TrimTail || got.Unified != o.Unified || got.Keep != o.Unified || got.Sequences != o.Sequences ||
			got.Vocabulary != 49152 || got.Cells != o.Cells || got.MicroBatch > got.Batch {
			t.Errorf("%+v has the traits %+v", o, got)
		}
		if want := 255 - o.Sequences; o.Unified && got.Holders != want || !o.Unified && got.Holders != 0 {
			t.Errorf("%+v has %d holders", o, got.Holders)
		}
		for s := range int32(got.Sequences + got.Holders) {
			if c.SeqPosMax(s) != -1 {
				t.Errorf("%+v: sequence %d is not empty after the probes", o, s)
			}
		}
	}
}

func TestDecodeRefusesBadBatches(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 2, Batch: 8, Unified: true})
	add := func(rows ...[4]int32) inference.Batch {
		var b inference.Batch
		for _, r := range rows {
			b.Add(r[0], r[1], r[2], r[3] != 0)
		}
		return b
	}
	long := inference.Batch{}
	for i := range int32(9) {
		long.Add(1, i, 0, false)
	}
	ragged := add([4]int32{1, 0, 0, 1})
	ragged.Pos = append(ragged.Pos, 1)
	for _, bad := range []struct {
		name string
		b    inference.Batch
		want string
	}{
		{"empty", inference.Batch{}, "empty"},
		{"ragged", ragged, "differ in length"},
		{"too long", long, "9 tokens, and a batch holds 8"},
		{"token below", add([4]int32{-1, 0, 0, 1}), "vocabulary"},
		{"token above", add([4]int32{49152, 0, 0, 1}), "vocabulary"},
		{"sequence below", add([4]int32{1, 0, -1, 1}), "sequence -1"},
		{"sequence above", add([4]int32{1, 0, 2, 1}), "sequence 2"},
		{"sequence 256", add([4]int32{1, 0, 256, 1}), "sequence 256"},
		{"negative position", add([4]int32{1, -1, 0, 1}), "position -1"},
		{"position past the context", add([4]int32{1, 256, 0, 1}), "outside the context"},
		{"gap inside", add([4]int32{1, 0, 0, 0}, [4]int32{1, 2, 0, 1}), "does not follow"},
		{"position twice", add([4]int32{1, 0, 0, 0}, [4]int32{1, 0, 0, 1}), "does not follow"},
		{"too many rows", add([4]int32{1, 0, 0, 1}, [4]int32{1, 1, 0, 1}, [4]int32{1, 2, 0, 1}), "output row"},
		{"gap to what it holds", add([4]int32{1, 5, 1, 1}), ""}, // found by llama.cpp
	} {
		t.Run(bad.name, func(t *testing.T) {
			b := add([4]int32{1, 0, 1, 0})
			must(t, c.Decode(&b))
			err := c.Decode(&bad.b)
			if !errors.Is(err, inference.ErrBadBatch) || !strings.Contains(err.Error(), bad.want) {
				t.Errorf("got %v", err)
			}
			if got := c.SeqPosMax(1); got != 0 {
				t.Errorf("afterwards sequence 1 ends at %d", got)
			}
			if c.SeqPosMax(0) != -1 {
				t.Error("afterwards sequence 0 is not empty")
			}
			c.SeqRemove(1, -1, -1)
		})
	}
}

func TestDecodeWithoutRoom(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 2, Batch: 256, Unified: true})
	var b inference.Batch
	for i := range int32(250) {
		b.Add(100, i, 0, false)
	}
	must(t, c.Decode(&b))
	b.Reset()
	for i := range int32(10) {
		b.Add(100, i, 1, i == 9)
	}
	if err := c.Decode(&b); !errors.Is(err, inference.ErrNoSlot) {
		t.Fatalf("got %v", err)
	}
	if c.SeqPosMax(0) != 249 || c.SeqPosMax(1) != -1 {
		t.Errorf("afterwards the sequences end at %d and %d", c.SeqPosMax(0), c.SeqPosMax(1))
	}
	if !c.SeqRemove(0, 200, -1) {
		t.Fatal("the tail cannot be removed")
	}
	must(t, c.Decode(&b))
}

func TestAbort(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 2048, Sequences: 1, Batch: 1024, MicroBatch: 64, Unified: true})
	var b inference.Batch
	for i := range int32(1024) {
		b.Add(100+i, i, 0, i == 1023)
	}
	done := make(chan error)
	go func() { done <- c.Decode(&b) }()
	var err error
	for running := true; running; {
		select {
		case err = <-done:
			running = false
		default:
			c.Abort()
			runtime.Gosched()
		}
	}
	if !errors.Is(err, inference.ErrAborted) {
		t.Fatalf("got %v", err)
	}
	end := c.SeqPosMax(0)
	if end >= 1023 || (end+1)%64 != 0 {
		t.Errorf("the sequence ends at %d, want whole micro-batches", end)
	}
	if err := c.Sample([]inference.SampleRow{{Index: 1023}}, make([]inference.Sampled, 1)); err != nil {
		t.Error(err)
	}
	// what is there can be continued, and the switch is off again
	next := inference.Batch{}
	next.Add(100+end+1, end+1, 0, true)
	must(t, c.Decode(&next))
}

func TestDecodeCodes(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 256, Sequences: 1})
	all := []error{inference.ErrNoSlot, inference.ErrAborted, inference.ErrBadBatch, inference.ErrDecodeFatal}
	for code, want := range map[int]error{
		1: inference.ErrNoSlot, 2: inference.ErrAborted, -1: inference.ErrBadBatch,
		-2: inference.ErrDecodeFatal, -3: inference.ErrDecodeFatal, 3: inference.ErrDecodeFatal, -1000: inference.ErrDecodeFatal,
	} {
		for _, e := range all {
			if err := c.decodeError(code); errors.Is(err, e) != (e == want) {
				t.Errorf("code %d is %v", code, err)
			}
		}
	}
}

// A prefix that was copied gives the tokens that a computed one gives, in every
// kind of memory that says so.
func TestSharedPrefixGivesTheSameTokens(t *testing.T) {
	m := sharedModel(t)
	prefix := tokenize(t, m, story)
	tails := []string{"\nThe keeper said:", "\nQuestion: where was it? Answer:"}
	for name, o := range map[string]ContextOptions{
		"unified": {Cells: 4096, Sequences: 3, Unified: true},
		"split":   {Cells: 6144, Sequences: 3},
		"q8_0":    {Cells: 4096, Sequences: 3, Unified: true, KVType: "q8_0"},
		"q4_0":    {Cells: 4096, Sequences: 3, Unified: true, KVType: "q4_0"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContext(t, m, o)
			if !c.Traits().Share {
				t.Fatal("it does not share")
			}
			const n = 12
			want := make([][]int32, len(tails))
			for i, tail := range tails {
				// computed in the same two pieces, so that only the copy differs
				ids, err := m.Tokenize(tail, inference.TokenizeOptions{})
				must(t, err)
				s := newSampler(t, m, greedySpec(), false)
				prompt(t, c, 0, 0, prefix)
				index := prompt(t, c, 0, int32(len(prefix)), ids)
				want[i] = generate(t, c, s, 0, int32(len(prefix)+len(ids)), index, n)
				c.SeqRemove(0, -1, -1)
			}
			prompt(t, c, 0, 0, append(slices.Clone(prefix), 1, 2, 3))
			holder := int32(1)
			if c.Traits().Holders > 0 {
				holder = int32(c.Traits().Sequences + c.Traits().Holders - 1)
				c.SeqCopy(0, holder, 0, int32(len(prefix)))
				c.SeqRemove(0, -1, -1)
			}
			for i, tail := range tails {
				src := holder
				if c.Traits().Holders == 0 {
					src = 0
				}
				c.SeqCopy(src, 2, 0, int32(len(prefix)))
				if got := c.SeqPosMax(2); got != int32(len(prefix))-1 {
					t.Fatalf("the copy ends at %d, want %d", got, len(prefix)-1)
				}
				ids, err := m.Tokenize(tail, inference.TokenizeOptions{})
				must(t, err)
				s := newSampler(t, m, greedySpec(), false)
				index := prompt(t, c, 2, int32(len(prefix)), ids)
				got := generate(t, c, s, 2, int32(len(prefix)+len(ids)), index, n)
				equalTokens(t, m, tail, got, want[i])
				c.SeqRemove(2, -1, -1)
			}
		})
	}
}

func TestSequenceOperationsRefuse(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 512, Sequences: 2})
	prompt(t, c, 0, 0, tokenize(t, m, capital))
	for _, seq := range []int32{-1, 2, 255, 256, 1 << 30} {
		if c.SeqRemove(seq, -1, -1) || c.SeqPosMax(seq) != -1 {
			t.Errorf("sequence %d exists", seq)
		}
		c.SeqCopy(0, seq, 0, 3)
		c.SeqCopy(seq, 0, 0, 3)
	}
	end := c.SeqPosMax(0)
	c.SeqCopy(0, 0, 0, 3)
	if c.SeqPosMax(0) != end || end < 5 {
		t.Errorf("sequence 0 ends at %d, before at %d", c.SeqPosMax(0), end)
	}
	c.SeqCopy(0, 1, 2, 4) // a part, between streams
	if got := c.SeqPosMax(1); got != 3 {
		t.Errorf("the copy ends at %d", got)
	}
}

func TestDecodeAndSampleDoNotAllocate(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 512, Sequences: 2, Unified: true})
	tokens := tokenize(t, m, capital)
	index := prompt(t, c, 0, 0, tokens)
	rows := []inference.SampleRow{{Index: index, Sampler: newSampler(t, m, greedySpec(), false)}}
	out := make([]inference.Sampled, 1)
	pos := int32(len(tokens))
	var b inference.Batch
	b.Add(0, 0, 0, true)
	must(t, c.Sample(rows, out))
	rows[0].Index = 0
	allocs := testing.AllocsPerRun(20, func() {
		b.Token[0], b.Pos[0] = out[0].Token, pos
		pos++
		if c.Decode(&b) != nil || c.Sample(rows, out) != nil || out[0].Err != nil {
			t.Error("a step failed")
		}
	})
	if allocs != 0 {
		t.Errorf("a step allocates %g times", allocs)
	}
}

func BenchmarkStep8(b *testing.B) {
	m := sharedModel(b)
	for _, kind := range []struct {
		name string
		spec inference.SamplerSpec
	}{{"greedy", greedySpec()}, {"default", inference.SamplerSpec{Sampling: inference.DefaultSampling(), Seed: 1}}} {
		b.Run(kind.name, func(b *testing.B) {
			const n = 8
			c := newContext(b, m, ContextOptions{Cells: 8192, Sequences: n, Unified: true, Threads: 2})
			tokens := tokenize(b, m, capital)
			rows, out := make([]inference.SampleRow, n), make([]inference.Sampled, n)
			var batch inference.Batch
			start := int32(len(tokens)) - 1
			for i := range rows {
				prompt(b, c, int32(i), 0, tokens[:start])
				rows[i] = inference.SampleRow{Index: i, Sampler: newSampler(b, m, kind.spec, false)}
				out[i].Token = tokens[start]
			}
			pos := start
			for b.Loop() {
				if pos == start+256 {
					for i := range rows {
						c.SeqRemove(int32(i), start, -1)
					}
					pos = start
				}
				batch.Reset()
				for i := range rows {
					batch.Add(out[i].Token, pos, int32(i), true)
				}
				pos++
				if err := c.Decode(&batch); err != nil {
					b.Fatal(err)
				}
				if err := c.Sample(rows, out); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

// BenchmarkSample8 draws 8 rows again and again from one decode: what sampling
// alone costs, by the kind of sampling.
func BenchmarkSample8(b *testing.B) {
	m := sharedModel(b)
	c := newContext(b, m, ContextOptions{Cells: 512, Sequences: 8, Unified: true, Threads: 2})
	index := prompt(b, c, 0, 0, tokenize(b, m, capital))
	all := specs()
	for _, name := range []string{"greedy", "defaults", "repeat", "all off", "top-p"} {
		for _, reference := range []bool{false, true} {
			label := name
			if reference {
				label += "/chain"
			}
			b.Run(label, func(b *testing.B) {
				rows, out := make([]inference.SampleRow, 8), make([]inference.Sampled, 8)
				for i := range rows {
					rows[i] = inference.SampleRow{Index: index, Sampler: newSampler(b, m, all[name], reference)}
				}
				for b.Loop() {
					if err := c.Sample(rows, out); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
