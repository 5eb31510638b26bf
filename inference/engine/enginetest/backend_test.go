package enginetest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"hearth/inference"
)

// batch makes a batch of one sequence from position pos on.
func batch(seq, pos int32, tokens ...int32) *inference.Batch {
	var b inference.Batch
	for i, t := range tokens {
		b.Add(t, pos+int32(i), seq, i == len(tokens)-1)
	}
	return &b
}

func spec() *inference.SamplerSpec { return &inference.SamplerSpec{} }

func TestBrokenRulesPanic(t *testing.T) {
	for want, breaks := range map[string]func(*Backend){
		"goes on at position 0": func(b *Backend) { _ = b.Decode(batch(0, 3, 'a')) },
		"goes on at position 2": func(b *Backend) { _ = b.Decode(batch(0, 0, 'a', 'b')); _ = b.Decode(batch(0, 1, 'c')) },
		"cannot be decoded":     func(b *Backend) { _ = b.Decode(batch(2, 0, 'a')) },
		"a batch of 9":          func(b *Backend) { _ = b.Decode(batch(0, 0, make([]int32, 9)...)) },
		"a batch of 0":          func(b *Backend) { _ = b.Decode(&inference.Batch{}) },
		"not in the vocabulary": func(b *Backend) { _ = b.Decode(batch(0, 0, Vocabulary)) },
		"differ in length":      func(b *Backend) { _ = b.Decode(&inference.Batch{Token: []int32{1}}) },
		"was not wanted":        func(b *Backend) { sampleRow(b, 0) },
		"closed or not of this": func(b *Backend) { sampleRow(b, 1) },
		"which is not empty":    func(b *Backend) { _ = b.Decode(batch(1, 0, 'a')); b.SeqCopy(0, 1, 0, -1) },
		"prefixes begin at 0":   func(b *Backend) { b.SeqCopy(0, 1, 2, 3) },
		"sequence 7 of 3":       func(b *Backend) { b.SeqRemove(7, -1, -1) },
		"out of the middle":     func(b *Backend) { _ = b.Decode(batch(0, 0, 'a', 'b')); b.SeqRemove(0, 0, 1) },
		"cells that were given up": func(b *Backend) {
			b.o.Window, b.o.Context = 2, 8
			_ = b.Decode(batch(0, 0, 'a', 'b', 'c', 'd'))
			_ = b.Decode(batch(0, 4, 'e'))
			b.SeqCopy(0, 1, 0, 2)
			_ = b.Decode(batch(1, 2, 'x'))
		},
		"two goroutines use": func(b *Backend) {
			b.o.OnDecode = func(*inference.Batch) error { b.SeqPosMax(0); return nil }
			_ = b.Decode(batch(0, 0, 'a'))
		},
		"beyond the context of 4": func(b *Backend) { _ = b.Decode(batch(0, 0, 1, 2, 3, 4, 5)) },
	} {
		t.Run(want, func(t *testing.T) {
			defer func() {
				if p, _ := recover().(string); !strings.Contains(p, want) {
					t.Errorf("panicked with %q", p)
				}
			}()
			breaks(New(Options{Cells: 32, Sequences: 2, Holders: 1, Batch: 8, Context: 4}))
		})
	}
}

// sampleRow decodes two tokens and samples one with a sampler that is closed.
func sampleRow(b *Backend, index int) {
	_ = b.Decode(batch(0, 0, 'a', 'b'))
	s, err := b.NewSampler(spec())
	if err != nil {
		panic(err)
	}
	if index == 1 {
		_ = s.Close()
	}
	_ = b.Sample([]inference.SampleRow{{Index: index, Sampler: s}}, make([]inference.Sampled, 1))
}

func TestFullCacheHasNoSlot(t *testing.T) {
	for _, split := range []bool{false, true} {
		b := New(Options{Cells: 8, Sequences: 2, Split: split, Context: 8})
		if err := b.Decode(batch(0, 0, 1, 2, 3, 4)); err != nil {
			t.Fatal(err)
		}
		b.SeqCopy(0, 1, 0, -1)
		used := 4
		if split {
			used = 8
		}
		if b.Used() != used {
			t.Errorf("split %v: %d cells used, want %d", split, b.Used(), used)
		}
		if !split {
			if err := b.Decode(batch(1, 4, 5, 6, 7)); err != nil {
				t.Fatal(err)
			}
			if err := b.Decode(batch(0, 4, 5, 6)); !errors.Is(err, inference.ErrNoSlot) || b.NoSlots() != 1 {
				t.Errorf("a full cache: %v", err)
			}
		}
	}
}

func TestWindowGivesUp(t *testing.T) {
	b := New(Options{Sequences: 3, Window: 4})
	decode := func(seq, pos int32, tokens string) {
		t.Helper()
		if err := b.Decode(batch(seq, pos, Tokens(tokens)...)); err != nil {
			t.Fatal(err)
		}
	}
	decode(0, 0, "abc")
	b.SeqCopy(0, 1, 0, 3) // held by two: stays
	decode(0, 3, "defgh")
	decode(0, 8, "i")
	decode(2, 0, "abcdefgh")
	if !b.SeqIntact(2, 1) {
		t.Error("cells are given up before another batch needs them")
	}
	decode(2, 8, "i")
	for _, c := range []struct {
		seq, n int32
		want   bool
	}{
		{0, 9, true},
		{0, 8, false},
		{0, 3, true},
		{0, 5, false},
		{1, 3, true},
		{2, 9, true},
		{2, 8, true},
		{2, 7, false},
		{2, 3, false},
		{2, 0, true},
	} {
		if got := b.SeqIntact(c.seq, c.n); got != c.want {
			t.Errorf("sequence %d at %d: intact %v, want %v", c.seq, c.n, got, c.want)
		}
	}
	if b.SeqRemove(0, 5, -1) || !b.SeqRemove(0, 3, -1) || !b.SeqRemove(2, 0, -1) {
		t.Error("a tail is removed exactly where going on is possible")
	}
	decode(0, 3, "x")
}

func TestReferenceIsWhatSampleGives(t *testing.T) {
	b := New(Options{})
	warm := &inference.SamplerSpec{Seed: 7}
	warm.Temperature = 1
	s, err := b.NewSampler(warm)
	if err != nil {
		t.Fatal(err)
	}
	tokens := Tokens("hello")
	want := b.Reference(tokens, *warm, 10)
	var got []int32
	in := batch(0, 0, tokens...)
	for pos := int32(len(tokens)); len(got) < 10; pos++ {
		if err := b.Decode(in); err != nil {
			t.Fatal(err)
		}
		var out [1]inference.Sampled
		if err := b.Sample([]inference.SampleRow{{Index: in.Len() - 1, Sampler: s}}, out[:]); err != nil {
			t.Fatal(err)
		}
		got = append(got, out[0].Token)
		in = batch(0, pos, out[0].Token)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestReplyAndSpecialTokens(t *testing.T) {
	b := New(Options{Reply: func(p string) string { return "re: " + p }})
	prompt := append(Tokens("hi"), Control)
	got := b.Reference(prompt, *spec(), 100)
	if text := b.Text(got); text != "re: hi<|c0|><|eog|>" {
		t.Errorf("got %q", text)
	}
	if b.Piece(Control, false) != nil || !b.EndOfGeneration(EOG) || b.EndOfGeneration('a') {
		t.Error("special tokens are shown, or the end is not known")
	}
}
