package llama

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"hearth/internal/testkit"
)

// runs are the borders of the runs that tests save a sequence in.
func runs(n, length int32) []int32 {
	var at []int32
	for p := int32(0); p < n; p += length {
		at = append(at, p)
	}
	return append(at, n)
}

// saveAll saves positions 0 to n of seq in runs of a length.
func saveAll(t *testing.T, c *Context, seq, n, length int32) (at []int32, saved [][]byte) {
	t.Helper()
	at = runs(n, length)
	for i, p := range at[:len(at)-1] {
		buf := make([]byte, c.RunBytes(int(at[i+1]-p)))
		k, err := c.SaveRun(seq, p, at[i+1], buf)
		if err != nil || k != len(buf) {
			t.Fatalf("saved %d bytes of %d: %v", k, len(buf), err)
		}
		saved = append(saved, buf)
	}
	return at, saved
}

func loadAll(t *testing.T, c *Context, seq int32, at []int32, saved [][]byte) {
	t.Helper()
	for i, data := range saved {
		if err := c.loadRun(seq, at[i], at[i+1], data); err != nil {
			t.Fatal(err)
		}
	}
}

// Cells that were saved and loaded give the tokens of computed ones, whatever
// kind they are, wherever they come to lie, and in a context made anew.
func TestLoadedCellsAreTheComputedOnes(t *testing.T) {
	m := sharedModel(t)
	for _, o := range []ContextOptions{
		{Cells: 512, Sequences: 3, Unified: true, Threads: 1},
		{Cells: 512, Sequences: 3, Unified: true, Threads: 1, KVType: "q8_0"},
		{Cells: 512, Sequences: 3, Unified: true, Threads: 1, KVType: "q4_0"},
		{Cells: 512, Sequences: 3, Unified: true, Threads: 1, FlashAttention: "off"},
	} {
		c := newContext(t, m, o)
		if !c.Traits().Keep || c.WhyNotKept() != "" {
			t.Fatalf("%+v keeps nothing: %s", o, c.WhyNotKept())
		}
		ids := tokenize(t, m, "The lighthouse keeper wrote in his book every night, and what he wrote was this: the wind came from the")
		n := int32(len(ids))
		other := tokenize(t, m, "Once upon a time there were three bears who lived together in a house of their own, in a wood.")
		// Two texts whose cells lie between each other's.
		for p := int32(0); p < 20; p += 4 {
			prompt(t, c, 0, p, ids[p:p+4])
			prompt(t, c, 1, p, other[p:p+4])
		}
		prompt(t, c, 0, 20, ids[20:])
		goOn := func(c *Context, seq int32) []int32 {
			t.Helper()
			spec := greedySpec()
			s, err := m.newSampler(&spec, false)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { must(t, s.Close()) }()
			if !c.SeqRemove(seq, n-1, -1) {
				t.Fatal("the last token cannot be removed")
			}
			return generate(t, c, s, seq, n, prompt(t, c, seq, n-1, ids[n-1:]), 10)
		}
		at, saved := saveAll(t, c, 0, n, 7)
		holder := int32(o.Sequences)
		c.SeqCopy(0, holder, 0, n)
		_, again := saveAll(t, c, holder, n, 7)
		for i := range saved {
			if !slices.Equal(saved[i], again[i]) {
				t.Errorf("%+v: run %d of a holder differs", o, i)
			}
		}
		loadAll(t, c, 2, at, saved)
		_, again = saveAll(t, c, 2, n, 7)
		for i := range saved {
			if !slices.Equal(saved[i], again[i]) {
				t.Errorf("%+v: run %d is another after it was loaded", o, i)
			}
		}
		c.SeqRemove(2, -1, -1)
		c.SeqRemove(holder, -1, -1)
		want := goOn(c, 0)
		c.SeqRemove(0, -1, -1)
		loadAll(t, c, 2, at, saved) // into the holes beside the other text
		equalTokens(t, m, "loaded beside others", goOn(c, 2), want)
		c.SeqRemove(1, -1, -1)
		c.SeqRemove(2, -1, -1)
		loadAll(t, c, 0, at[:4], saved[:3])
		prompt(t, c, 0, at[3], ids[at[3]:])
		equalTokens(t, m, "the rest computed", goOn(c, 0), want)

		if o.KVType != "" {
			continue // where cells lie decides the last bits, which quantization makes more of
		}
		anew := newContext(t, m, o)
		loadAll(t, anew, 1, at, saved)
		equalTokens(t, m, "loaded into another context", goOn(anew, 1), want)
	}
}

// What is not a run that belongs there is refused, and nothing has changed.
func TestWrongRunsAreRefused(t *testing.T) {
	m := sharedModel(t)
	c := newContext(t, m, ContextOptions{Cells: 128, Sequences: 2, Unified: true, Threads: 1})
	ids := tokenize(t, m, "The wind came from the north and brought the smell of snow.")
	n := int32(len(ids))
	prompt(t, c, 0, 0, ids)
	at, saved := saveAll(t, c, 0, n, 4)
	buf := make([]byte, c.RunBytes(4))
	for name, err := range map[string]error{
		"a sequence that is not there": second(c.SaveRun(500, 0, 4, buf)),
		"a negative position":          second(c.SaveRun(0, -1, 3, buf)),
		"no cells":                     second(c.SaveRun(0, 3, 3, buf)),
		"beyond the end":               second(c.SaveRun(0, n-2, n+2, buf)),
		"beyond the context":           second(c.SaveRun(0, 0, 1<<20, buf)),
		"no buffer":                    second(c.SaveRun(0, 0, 4, nil)),
		"a small buffer":               second(c.SaveRun(0, 0, 5, buf)),
		"an empty sequence":            second(c.SaveRun(1, 0, 4, buf)),
		"loading into a hole":          c.loadRun(1, 4, 8, saved[1]),
		"loading over others":          c.loadRun(0, 0, 4, saved[0]),
		"another length":               c.loadRun(1, 0, 5, saved[0]),
		"fewer bytes":                  c.loadRun(1, 0, 4, saved[0][:len(saved[0])-1]),
		"no bytes":                     c.loadRun(1, 0, 4, nil),
		"other positions":              c.loadRun(1, 0, 4, saved[1]),
	} {
		if !errors.Is(err, errRun) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Every byte before the rows, and some of theirs.
	for i := 0; i < len(saved[0]); i += 1 + i/64 {
		bad := slices.Clone(saved[0])
		bad[i] ^= 0x41
		if err := c.loadRun(1, 0, 4, bad); err != nil && (!errors.Is(err, errRun) || c.SeqPosMax(1) != -1) {
			t.Fatalf("byte %d changed: %v, and the sequence ends at %d", i, err, c.SeqPosMax(1))
		}
		c.SeqRemove(1, -1, -1)
	}
	full := newContext(t, m, ContextOptions{Cells: 256, Sequences: 2, Unified: true, Threads: 1})
	var long []int32
	for len(long) < full.Traits().Cells-2 {
		long = append(long, ids[1])
	}
	prompt(t, full, 0, 0, long)
	if err := full.loadRun(1, 0, 4, saved[0]); !errors.Is(err, errRun) || full.SeqPosMax(1) != -1 || full.SeqPosMax(0) != int32(len(long))-1 {
		t.Errorf("a full cache: %v; the sequences end at %d and %d", err, full.SeqPosMax(0), full.SeqPosMax(1))
	}
	full.SeqRemove(0, -1, -1)
	loadAll(t, full, 1, at, saved)
	if full.SeqPosMax(1) != n-1 {
		t.Errorf("after the refusals a run ends at %d", full.SeqPosMax(1))
	}
	split := newContext(t, m, ContextOptions{Cells: 256, Sequences: 2, Threads: 1})
	if split.Traits().Keep || split.WhyNotKept() == "" || split.RunBytes(4) != 0 || !errors.Is(split.loadRun(0, 0, 4, saved[0]), errRun) {
		t.Error("a split cache keeps runs")
	}
	all := newContext(t, m, ContextOptions{Cells: 256, Sequences: 256, Unified: true, Threads: 1})
	if all.Traits().Keep || all.WhyNotKept() == "" {
		t.Error("without a free id runs are kept")
	}
}

func second(_ int, err error) error { return err }

// loadRun loads one run.
func (c *Context) loadRun(seq, p0, p1 int32, data []byte) error {
	return second(c.LoadRuns(seq, p0, []int32{p1}, [][]byte{data}))
}

// In layers with a sliding window a run is whole or refused, and what was loaded
// goes on like what was computed, also where its window has moved on.
func TestRunsOfAWindow(t *testing.T) {
	initBackends(t)
	const n, length = 150, 16 // the window has 32
	refused := 0
	for _, name := range []string{"gemma2-dense", "gemma3-dense", "gpt-oss-moe", "cohere2-dense", "olmo2-dense"} {
		t.Run(name, func(t *testing.T) {
			m, err := Load(filepath.Join(testkit.TinyModels(t), name+".gguf"), ModelOptions{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { must(t, m.Close()) }()
			c, err := m.NewContext(ContextOptions{Cells: 384, Sequences: 4, Batch: 64, Threads: 1, Unified: true})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { must(t, c.Close()) }()
			if !c.Traits().Keep || c.Traits().Window == 0 {
				t.Fatalf("the traits are %+v: %s", c.Traits(), c.WhyNotKept())
			}
			vocabulary := m.Info().Vocabulary
			long, tail := unlike(1, n, vocabulary), unlike(2, 9, vocabulary)
			goOn := func(seq, from int32) []int32 {
				t.Helper()
				spec := greedySpec()
				s, err := m.newSampler(&spec, false)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { must(t, s.Close()) }()
				return generate(t, c, s, seq, from+int32(len(tail)), prompt(t, c, seq, from, tail), 12)
			}
			prompt(t, c, 0, 0, long)
			at, saved := saveAll(t, c, 0, n, length)
			want := goOn(0, n)
			c.SeqRemove(0, -1, -1)
			prompt(t, c, 1, 0, unlike(3, 100, vocabulary))
			loadAll(t, c, 2, at, saved)
			if !c.SeqIntact(2, n) {
				t.Error("the end of what was loaded is not intact")
			}
			equalTokens(t, m, "loaded", goOn(2, n), want)
			loadAll(t, c, 3, at[:4], saved[:3])
			if !c.SeqIntact(3, at[3]) {
				t.Error("a part is not intact")
			}
			prompt(t, c, 3, at[3], long[at[3]:])
			equalTokens(t, m, "the rest computed", goOn(3, n), want)
			c.SeqRemove(3, -1, -1)
			c.SeqRemove(1, -1, -1)
			prompt(t, c, 1, 0, unlike(4, 180, vocabulary)) // takes what nobody sees
			for p := int32(0); p+length <= n; p += length {
				buf := make([]byte, c.RunBytes(length))
				if _, err := c.SaveRun(2, p, p+length, buf); err != nil {
					refused++
				}
			}
		})
	}
	if refused == 0 {
		t.Error("every run was whole: a missing part is not put to the test")
	}
}
