package engine

import (
	"fmt"
	"strings"
	"testing"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
)

// system is a shared beginning of 200 tokens.
var system = strings.Repeat("be kind. ", 22) + "ok"

// computedTokens counts the tokens of all decodes in a trace.
func computedTokens(b *enginetest.Backend) int {
	n := 0
	for _, c := range b.Calls() {
		if c.Op == "decode" && c.Err == nil {
			n += c.Batch.Len()
		}
	}
	return n
}

// layouts are the two kinds of cache.
var layouts = map[string]enginetest.Options{
	"unified": {Cells: 4000},
	"split":   {Cells: 8 * 500, Split: true},
}

func TestCachedTokensAreTheTrace(t *testing.T) {
	for name, o := range layouts {
		t.Run(name, func(t *testing.T) {
			e, b := start(t, o, Config{})
			cached := 0
			for i := range 5 {
				before := computedTokens(b)
				a := read(t, submit(t, e, ask(system+fmt.Sprint(" question ", i), 10)))
				// The last token of an answer is not computed.
				computed := computedTokens(b) - before - (a.usage.CompletionTokens - 1)
				if want := a.usage.PromptTokens - computed; a.usage.CachedTokens != want {
					t.Errorf("request %d: %d of %d prompt tokens computed, usage says %d cached", i, computed, a.usage.PromptTokens, a.usage.CachedTokens)
				}
				cached += a.usage.CachedTokens
			}
			if want := 4 * len(system+" question "); cached != want {
				t.Errorf("%d tokens cached in all, want %d", cached, want)
			}
			copies := 0
			for _, c := range b.Calls() {
				if c.Op == "copy" {
					copies++
				}
			}
			if copies != 4 {
				t.Errorf("%d copies, want one for each request but the first", copies)
			}
		})
	}
}

func TestNextTurnComputesOnlyWhatIsNew(t *testing.T) {
	for name, o := range layouts {
		t.Run(name, func(t *testing.T) {
			e, b := start(t, o, Config{})
			talk := "hello there, this is how the conversation begins. "
			for turn := range 4 {
				before := computedTokens(b)
				r := ask(talk, 20)
				a := read(t, submit(t, e, r))
				computed := computedTokens(b) - before
				if turn > 0 {
					// The new text, the token that the turn before did not compute,
					// and this answer but its last token.
					if want := len("\nand then? ") + 1 + 19; computed != want {
						t.Errorf("turn %d computed %d tokens, want %d", turn, computed, want)
					}
					if want := len(talk) - len("\nand then? ") - 1; a.usage.CachedTokens != want {
						t.Errorf("turn %d: %d tokens cached, want %d", turn, a.usage.CachedTokens, want)
					}
				}
				talk += a.text[0] + "\nand then? "
				if n := e.Stats().Prefixes; n != 1 {
					t.Errorf("turn %d left %d prefixes, want one", turn, n)
				}
			}
		})
	}
}

func TestRepeatedPromptComputesItsLastToken(t *testing.T) {
	e, b := start(t, enginetest.Options{}, Config{})
	first := read(t, submit(t, e, ask(system, 5)))
	before := computedTokens(b)
	again := read(t, submit(t, e, ask(system, 5)))
	if again.text[0] != first.text[0] || again.usage.CachedTokens != len(system)-1 {
		t.Errorf("got %+v after %+v", again, first)
	}
	if n := computedTokens(b) - before; n != 5 {
		t.Errorf("%d tokens computed, want the last of the prompt and four of the answer", n)
	}
}

func TestFollowersWaitForTheLeader(t *testing.T) {
	for name, o := range layouts {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, o, Config{})
			var streams []*Stream
			for i := range 8 {
				streams = append(streams, h.put(ask(system+fmt.Sprint(" question ", i), 10)))
			}
			h.turn()
			if h.l.running != 8 || len(h.l.parts) != 1 {
				t.Fatalf("%d run and %d compute; want eight and their leader", h.l.running, len(h.l.parts))
			}
			h.settle()
			for i, s := range streams {
				a := read(t, s)
				if a.text[0] != expected(h.b, ask(system+fmt.Sprint(" question ", i), 10), 0) {
					t.Errorf("request %d: %q", i, a.text[0])
				}
				if want := len(system + " question "); i > 0 && a.usage.CachedTokens != want || i == 0 && a.usage.CachedTokens != 0 {
					t.Errorf("request %d: %d tokens cached, want %d", i, a.usage.CachedTokens, want)
				}
			}
			h.shut()
		})
	}
}

func TestFollowerTakesOverWhenTheLeaderGoes(t *testing.T) {
	for name, o := range layouts {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, o, Config{Prefix: PrefixConfig{MinShare: 1}})
			leader := h.put(ask(system+" the leader's own part", 10))
			short := h.put(ask(system[:100]+"!", 10))
			followers := []*Stream{h.put(ask(system+"A", 10)), h.put(ask(system+"B", 10))}
			h.turn() // 64 tokens of the leader
			leader.Close()
			h.turn()
			computing := 0
			for _, p := range h.l.parts {
				if p.n > 1 {
					computing++
				}
			}
			if computing != 1 {
				t.Errorf("%d compute after the leader went, want one", computing)
			}
			h.settle()
			total := 0
			for c, n := range h.computed {
				if c.req.stream != leader {
					total += n
				}
			}
			// 64 were there. The rest of the system prompt is computed once.
			if want := (len(system) - 64) + 1 + 1 + 1; total != want {
				t.Errorf("the followers computed %d prompt tokens, want %d", total, want)
			}
			for i, s := range append(followers, short) {
				a := read(t, s)
				if a.err != nil || a.usage.CachedTokens < 64 {
					t.Errorf("follower %d: %+v", i, a)
				}
			}
			h.shut()
		})
	}
}

func TestTenantsShareNothing(t *testing.T) {
	for name, o := range layouts {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, o, Config{})
			streams := map[string]*Stream{}
			for _, tenant := range []string{"red", "blue"} {
				r := ask(system, 5)
				r.Caller.Tenant = tenant
				streams[tenant] = h.put(r)
			}
			h.settle()
			for tenant, s := range streams {
				if a := read(t, s); a.usage.CachedTokens != 0 {
					t.Errorf("%s got %d tokens of another tenant", tenant, a.usage.CachedTokens)
				}
			}
			h.shut()
		})
	}
}

func TestNoSharingWhereItIsNotExact(t *testing.T) {
	for _, o := range []enginetest.Options{{NoShare: true}, {NoTrim: true}} {
		e, b := start(t, o, Config{})
		r := ask(system, 5)
		r.Choices = 3
		for range 2 {
			if a := read(t, submit(t, e, r)); a.usage.CachedTokens != 0 {
				t.Errorf("%d tokens cached", a.usage.CachedTokens)
			}
		}
		for _, c := range b.Calls() {
			if c.Op == "copy" {
				t.Error("a prefix was copied")
			}
		}
	}
}

// A prefix whose window was given up is not shared, one that ends where its
// sequence does is.
func TestWindowIsSharedWhereItIsIntact(t *testing.T) {
	for name, o := range layouts {
		t.Run(name, func(t *testing.T) {
			o.Window = 40
			e, b := start(t, o, Config{})
			first := ask(system+strings.Repeat("and more of it ", 6), 5)
			a := read(t, submit(t, e, first))
			fork := ask(system+"something else", 5) // its fork lies before the window of the first
			if got := read(t, submit(t, e, fork)); got.usage.CachedTokens != 0 || got.text[0] != expected(b, fork, 0) {
				t.Errorf("a fork: %d tokens cached, %q", got.usage.CachedTokens, got.text[0])
			}
			on := ask(string(b.Text(first.Prompt))+a.text[0]+" and on", 5)
			if got := read(t, submit(t, e, on)); got.usage.CachedTokens < len(first.Prompt) || got.text[0] != expected(b, on, 0) {
				t.Errorf("a conversation that goes on: %d of %d tokens cached, %q", got.usage.CachedTokens, len(first.Prompt), got.text[0])
			}
		})
	}
}

func TestChoicesShareOnePrefill(t *testing.T) {
	for name, o := range layouts {
		t.Run(name, func(t *testing.T) {
			e, b := start(t, o, Config{Sequences: 3})
			r := ask("short", 4)
			r.Choices = 5 // more than may run at once
			a := read(t, submit(t, e, r))
			for i := range 5 {
				if a.text[i] != expected(b, r, i) || a.finish[i] != inference.FinishLength {
					t.Errorf("choice %d: %q", i, a.text[i])
				}
			}
			if a.usage.CachedTokens != 0 || a.usage.CompletionTokens != 20 {
				t.Errorf("%+v", a.usage)
			}
			// One prefill, the last prompt token of each further choice that found
			// the prompt in the cache, and three computed tokens of each answer.
			if n, most := computedTokens(b), 2*5+3+5*3; n > most {
				t.Errorf("%d tokens computed, want at most %d", n, most)
			}
		})
	}
}

func TestIdlePrefixesAreBounded(t *testing.T) {
	t.Run("cells", func(t *testing.T) {
		e, _ := start(t, enginetest.Options{Cells: 4000}, Config{Prefix: PrefixConfig{Cells: 700}})
		for i := range 6 {
			read(t, submit(t, e, ask(unique(string(rune('a'+i)), 300), 1)))
			if s := e.Stats(); s.CellsCached > 700 {
				t.Errorf("%d cells cached after %d", s.CellsCached, i)
			}
		}
		if s := e.Stats(); s.Prefixes != 2 {
			t.Errorf("%d prefixes kept, want the two that fit", s.Prefixes)
		}
	})
	t.Run("short ones make way", func(t *testing.T) {
		e, _ := start(t, enginetest.Options{Cells: 4000}, Config{})
		for i := range 6 {
			read(t, submit(t, e, ask(unique(string(rune('a'+i)), 100), 1)))
			if s := e.Stats(); s.Prefixes != 1 {
				t.Errorf("%d prefixes kept after %d", s.Prefixes, i)
			}
		}
	})
	t.Run("the shared one stays longest", func(t *testing.T) {
		e, _ := start(t, enginetest.Options{Cells: 4000}, Config{Prefix: PrefixConfig{Cells: 700}})
		read(t, submit(t, e, ask(system+unique("x", 100), 1)))
		read(t, submit(t, e, ask(system+unique("y", 100), 1)))
		for i := range 5 {
			read(t, submit(t, e, ask(unique(string(rune('a'+i)), 300), 1)))
		}
		if a := read(t, submit(t, e, ask(system+"z", 1))); a.usage.CachedTokens != len(system) {
			t.Errorf("%d tokens cached", a.usage.CachedTokens)
		}
	})
	t.Run("unused ones expire", func(t *testing.T) {
		e, _ := start(t, enginetest.Options{Cells: 4000}, Config{Prefix: PrefixConfig{IdleTokens: 100}})
		read(t, submit(t, e, ask(unique("a", 300), 1)))
		read(t, submit(t, e, ask("b", 150)))
		if a := read(t, submit(t, e, ask(unique("a", 300), 1))); a.usage.CachedTokens != 0 {
			t.Errorf("%d tokens cached", a.usage.CachedTokens)
		}
	})
	t.Run("what nobody shared expires first", func(t *testing.T) {
		e, _ := start(t, enginetest.Options{Cells: 4000}, Config{Prefix: PrefixConfig{IdleTokens: 100}})
		read(t, submit(t, e, ask(system+unique("x", 100), 1)))
		read(t, submit(t, e, ask(system+unique("y", 100), 1)))
		if s := e.Stats(); s.Prefixes != 2 || s.CellsCached != len(system)+200 {
			t.Errorf("before: %d prefixes, %d cells", s.Prefixes, s.CellsCached)
		}
		read(t, submit(t, e, ask("b", 150)))
		if s := e.Stats(); s.Prefixes != 2 || s.CellsCached != len(system)+150 {
			t.Errorf("%d prefixes and %d cells kept, want the shared beginning and the last request", s.Prefixes, s.CellsCached)
		}
		if a := read(t, submit(t, e, ask(system+"z", 1))); a.usage.CachedTokens != len(system) {
			t.Errorf("%d tokens cached", a.usage.CachedTokens)
		}
	})
	t.Run("of a short one, under load, only what was shared stays", func(t *testing.T) {
		h := newHarness(t, enginetest.Options{Cells: 4000}, Config{Prefix: PrefixConfig{MinKeep: 4000}})
		defer h.shut()
		long := h.put(ask("w", 300))
		x, y := h.put(ask(system+unique("x", 100), 2)), h.put(ask(system+unique("y", 100), 9))
		for !ended(x) || !ended(y) {
			h.turn()
		}
		if s := h.e.Stats(); s.Prefixes != 1 || s.CellsCached != len(system) {
			t.Errorf("%d prefixes of %d cells kept", s.Prefixes, s.CellsCached)
		}
		long.Close()
		h.settle()
	})
	t.Run("a reservation takes their cells", func(t *testing.T) {
		e, _ := start(t, enginetest.Options{Cells: 600}, Config{Prefix: PrefixConfig{Cells: 600}})
		read(t, submit(t, e, ask(unique("a", 400), 1)))
		if s := e.Stats(); s.CellsCached != 400 {
			t.Fatalf("%+v", s)
		}
		if a := read(t, submit(t, e, ask("b", 550))); a.err != nil {
			t.Error(a.err)
		}
	})
	t.Run("none when switched off", func(t *testing.T) {
		e, _ := start(t, enginetest.Options{Cells: 4000}, Config{Prefix: PrefixConfig{Off: true}})
		read(t, submit(t, e, ask(system, 1)))
		if s := e.Stats(); s.Prefixes != 0 || s.CellsCached != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestIdlePrefixMovesToAHolder(t *testing.T) {
	e, b := start(t, enginetest.Options{Cells: 4000, Sequences: 1, Holders: 2}, Config{Prefix: PrefixConfig{Cells: 4000}})
	for _, letter := range []string{"a", "b", "c", "d"} {
		read(t, submit(t, e, ask(unique(letter, 300), 2)))
	}
	if s := e.Stats(); s.Prefixes != 3 {
		t.Errorf("%d prefixes kept with one sequence and two holders", s.Prefixes)
	}
	if a := read(t, submit(t, e, ask(unique("b", 300)+"!", 2))); a.usage.CachedTokens != 300 || a.text[0] != expected(b, ask(unique("b", 300)+"!", 2), 0) {
		t.Errorf("%+v", a)
	}
	if a := read(t, submit(t, e, ask(unique("a", 300), 2))); a.usage.CachedTokens != 0 {
		t.Errorf("the coldest was kept: %+v", a.usage)
	}
}

func TestSplitKeepsPrefixesInIdleSequences(t *testing.T) {
	e, _ := start(t, enginetest.Options{Cells: 4 * 500, Sequences: 4, Split: true}, Config{})
	for _, letter := range []string{"a", "b", "c", "d", "e"} {
		read(t, submit(t, e, ask(unique(letter, 300), 2)))
	}
	if s := e.Stats(); s.Prefixes != 4 {
		t.Errorf("%d prefixes in four sequences", s.Prefixes)
	}
	for _, c := range []struct {
		letter string
		cached int
	}{{"b", 300}, {"a", 0}} {
		if a := read(t, submit(t, e, ask(unique(c.letter, 300)+"!", 2))); a.usage.CachedTokens != c.cached {
			t.Errorf("%s: %d tokens cached, want %d", c.letter, a.usage.CachedTokens, c.cached)
		}
	}
}

func TestUrgentFollowerPullsItsLeader(t *testing.T) {
	h := newHarness(t, enginetest.Options{Cells: 4000, Batch: 32}, Config{})
	h.put(ask(system+unique("x", 1000), 2)) // long, so its turn would come late
	h.turn()
	for _, letter := range []string{"p", "q", "r"} {
		h.put(ask(unique(letter, 400), 2))
	}
	short := h.put(ask(system+"!", 2)) // needs the leader's first 200 tokens only
	turns := 0
	for ; !ended(short); turns++ {
		h.turn()
	}
	if turns > 12 {
		t.Errorf("the follower waited %d steps for 168 tokens of its leader", turns)
	}
	h.settle()
	h.shut()
}

func TestSharedIdleCellsCountAgainstTheRoom(t *testing.T) {
	// The idle prefix of 60 cells cannot be dropped once a running request shares
	// it: 30 for the first, 60 and 20 for the second do not fit into 100.
	h := newHarness(t, enginetest.Options{Cells: 100}, Config{Prefix: PrefixConfig{MinShare: 1, Cells: 100}})
	h.put(ask(unique("k", 60), 1))
	h.settle()
	h.put(ask("0123456789", 21))
	h.turn()
	second := h.put(ask(unique("k", 60)+"!", 20))
	h.turn()
	if h.l.running != 1 {
		t.Errorf("%d run", h.l.running)
	}
	h.settle()
	if a := read(t, second); a.err != nil {
		t.Error(a.err)
	}
	h.shut()
}

func TestCoveredPrefixIsDropped(t *testing.T) {
	e, _ := start(t, enginetest.Options{Cells: 4000, Sequences: 1, Holders: 5}, Config{Prefix: PrefixConfig{Cells: 4000}})
	for _, prompt := range []string{unique("a", 300), unique("b", 300), unique("a", 300) + "longer"} {
		// One token, so that the prefix is the prompt.
		read(t, submit(t, e, ask(prompt, 1)))
	}
	if s := e.Stats(); s.Prefixes != 2 {
		t.Errorf("%d prefixes kept; the first is the beginning of the third", s.Prefixes)
	}
}

func TestSharedPrefixExpiresLater(t *testing.T) {
	e, _ := start(t, enginetest.Options{Cells: 4000}, Config{Prefix: PrefixConfig{IdleTokens: 100}})
	for _, c := range []struct {
		decoded int
		cached  int
	}{{1, 0}, {1, len(system)}, {150, len(system)}, {390, len(system)}, {450, 0}} {
		if c.decoded > 1 {
			read(t, submit(t, e, ask("others", c.decoded)))
		}
		if a := read(t, submit(t, e, ask(system+"!", 1))); a.usage.CachedTokens != c.cached {
			t.Errorf("after %d tokens: %d tokens cached, want %d", c.decoded, a.usage.CachedTokens, c.cached)
		}
	}
}

// TestSeedAloneStartsFromAnEmptyCache holds what makes a seed repeatable: where
// cells lie changes the last bits of a sum.
func TestSeedAloneStartsFromAnEmptyCache(t *testing.T) {
	for name, o := range layouts {
		t.Run(name, func(t *testing.T) {
			e, _ := start(t, o, Config{})
			read(t, submit(t, e, ask(system, 10)))
			if a := read(t, submit(t, e, ask(system, 10))); a.usage.CachedTokens == 0 {
				t.Fatal("nothing was kept, so that nothing is tested here")
			}
			seed := uint32(7)
			r := ask(system, 10)
			r.Sampling.Seed = &seed
			if a := read(t, submit(t, e, r)); a.usage.CachedTokens != 0 {
				t.Errorf("%d tokens came from the cache", a.usage.CachedTokens)
			}
			if a := read(t, submit(t, e, ask(system, 10))); a.usage.CachedTokens == 0 {
				t.Error("what a request with a seed computed is of no use to others")
			}
		})
	}
}
