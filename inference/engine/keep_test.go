package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hearth/inference"
	"hearth/inference/engine/enginetest"
	"hearth/inference/prefixstore"
	"hearth/internal/config"
)

// counted is a store's observer.
type counted struct {
	mu       sync.Mutex
	restored int
	dropped  map[string]int
}

func (c *counted) Stored(string, int64, int) {}

func (c *counted) Restored(_ string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restored += n
}

func (c *counted) Dropped(_, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped[reason]++
}

func (c *counted) tokens() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.restored
}

func newStore(t testing.TB, bytes int) (*prefixstore.Store, *counted) {
	t.Helper()
	seen := &counted{dropped: map[string]int{}}
	s, err := prefixstore.New(prefixstore.Options{Block: 16, Observer: seen, Config: prefixstore.Config{RAM: config.Size(bytes)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, seen
}

// talk is one conversation: its text so far.
type talk struct{ text string }

// say asks for the next turn and checks the answer.
func (k *talk) say(t *testing.T, h *harness, line string) answer {
	t.Helper()
	k.text += line
	r := ask(k.text, 20)
	s := h.put(r)
	h.settle()
	a := read(t, s)
	if want := expected(h.b, r, 0); a.text[0] != want {
		t.Fatalf("%q, want %q", a.text[0], want)
	}
	k.text += a.text[0]
	return a
}

// Conversations that take turns, more than the cache holds: each turn computes
// what is new in it, whether its prefix was in the cache or not.
func TestConversationsComeBackFromTheStore(t *testing.T) {
	store, seen := newStore(t, 1<<20)
	h := newHarness(t, enginetest.Options{Cells: 700, Sequences: 2, Holders: 8, Keep: true}, Config{Store: store})
	talks := make([]talk, 6)
	for turn := range 4 {
		for i := range talks {
			k := &talks[i]
			before := len(k.text)
			a := k.say(t, h, fmt.Sprintf("%s I am number %d and this is turn %d of what I say. ", strings.Repeat("x", 60*(1-min(turn, 1))), i, turn))
			// The last token of an answer is not computed, and a few at the end of
			// what was stored are not worth it.
			if turn > 0 && a.usage.CachedTokens < before-1-minTail {
				t.Errorf("turn %d of %d: %d tokens of %d cached", turn, i, a.usage.CachedTokens, before)
			}
		}
	}
	if seen.restored == 0 {
		t.Error("nothing was restored: the cache is too large for this test")
	}
	h.shut()
}

// Several that begin with the same stored prefix load it once.
func TestStoredPrefixIsLoadedOnce(t *testing.T) {
	store, seen := newStore(t, 1<<20)
	h := newHarness(t, enginetest.Options{Cells: 4000, Keep: true}, Config{Store: store})
	h.put(ask(system+" first", 5))
	h.settle()
	for _, s := range h.l.seqs {
		if s != nil {
			h.l.evict(s)
		}
	}
	var streams []*Stream
	for i := range 8 {
		streams = append(streams, h.put(ask(system+fmt.Sprint(" question ", i), 5)))
	}
	h.settle()
	for i, s := range streams {
		a := read(t, s)
		if least := len(system + " "); a.err != nil || a.usage.CachedTokens < least {
			t.Errorf("request %d: %v, %d tokens cached, want %d", i, a.err, a.usage.CachedTokens, least)
		}
	}
	if want := len(system + " "); seen.restored != want {
		t.Errorf("%d tokens were restored, want %d", seen.restored, want)
	}
	h.shut()
}

// Prompts that turn off within a stored block begin with what they have in common
// with it, from memory or from its file.
func TestPartOfAStoredBlock(t *testing.T) {
	first := system + strings.Repeat("a", 100)
	for _, c := range []struct {
		name         string
		same, tokens int // of the next prompt: with the first, and in all
		restored     int
		window       bool
	}{
		{name: "the end of a block", same: 96, tokens: 150, restored: 96},
		{name: "a part of the next", same: 107, tokens: 150, restored: 107},
		{name: "too little of the next", same: 98, tokens: 150, restored: 96},
		{name: "the block ends behind the prompt", same: 100, tokens: 109, restored: 100},
		{name: "and behind the answer", same: 100, tokens: 102, restored: 96},
		{name: "the same prompt but for its end", same: 123, tokens: 124, restored: 123},
		{name: "a sliding window", same: 107, tokens: 150, restored: 96, window: true},
	} {
		for _, disk := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, disk=%t", c.name, disk), func(t *testing.T) {
				store, seen := newStore(t, 1<<20)
				if disk {
					store, seen = onDisk(t, t.TempDir())
					defer store.Close()
				}
				o := enginetest.Options{Cells: 4000, Keep: true}
				if c.window {
					o.Window = 512 // nothing is given up
				}
				h := newHarness(t, o, Config{Store: store})
				h.put(ask(first, 5))
				h.settle()
				for _, s := range h.l.seqs {
					if s != nil {
						h.l.evict(s)
					}
				}
				r := ask(first[:c.same]+strings.Repeat("b", c.tokens-c.same), 5)
				s := h.put(r)
				h.settle()
				a := read(t, s)
				if want := expected(h.b, r, 0); a.text[0] != want {
					t.Errorf("%q, want %q", a.text[0], want)
				}
				if a.usage.CachedTokens != c.restored || seen.tokens() != c.restored {
					t.Errorf("%d tokens cached and %d restored, want %d", a.usage.CachedTokens, seen.tokens(), c.restored)
				}
				h.shut()
			})
		}
	}
}

// What leaves the cache is found by nobody else.
func TestStoredPrefixIsTheTenants(t *testing.T) {
	store, seen := newStore(t, 1<<20)
	h := newHarness(t, enginetest.Options{Cells: 4000, Keep: true, Adapters: 1}, Config{Store: store})
	put := func(tenant string, adapters ...inference.AdapterScale) int {
		r := ask(system+" and more", 5)
		r.Caller.Tenant, r.Adapters = tenant, adapters
		s := h.put(r)
		h.settle()
		for _, s := range h.l.seqs {
			if s != nil {
				h.l.evict(s)
			}
		}
		return read(t, s).usage.CachedTokens
	}
	adapted := inference.AdapterScale{Adapter: 0, Scale: 1}
	for _, try := range []struct {
		tenant   string
		adapters []inference.AdapterScale
		cached   bool
	}{
		{"red", nil, false},
		{"blue", nil, false},
		{"red", []inference.AdapterScale{adapted}, false},
		{"red", nil, true},
		{"red", []inference.AdapterScale{adapted}, true},
		{"blue", nil, true},
		{"red\x00", nil, false},
	} {
		if n := put(try.tenant, try.adapters...); n > 0 != try.cached {
			t.Errorf("%q with %v: %d tokens cached", try.tenant, try.adapters, n)
		}
	}
	if seen.restored == 0 {
		t.Error("nothing was restored")
	}
	h.shut()
}

// Who was preempted goes on with what was stored, and computes no token of it
// again.
func TestPreemptedResumesFromTheStore(t *testing.T) {
	for _, keep := range []bool{false, true} {
		store, seen := newStore(t, 1<<20)
		h := newHarness(t, enginetest.Options{Cells: 300, Sequences: 4, Keep: keep}, Config{Reserve: 16, Store: store})
		var streams []*Stream
		var asked []*Request
		for i := range 3 {
			r := ask(fmt.Sprint(i, " tells a long story. "), 0)
			streams, asked = append(streams, h.put(r)), append(asked, r)
		}
		h.settle()
		for i, s := range streams {
			if a := read(t, s); a.err != nil || a.text[0] != expected(h.b, asked[i], 0) {
				t.Errorf("request %d: %v", i, a.err)
			}
		}
		if h.l.preempted == 0 {
			t.Fatal("nobody was preempted")
		}
		if keep != (seen.restored > 0) {
			t.Errorf("keep %t: %d tokens were restored", keep, seen.restored)
		}
		h.shut()
	}
}

// A request with a seed that runs alone computes all, so that it gives the same
// tokens again whatever was stored.
func TestSeededAloneLoadsNothing(t *testing.T) {
	store, seen := newStore(t, 1<<20)
	h := newHarness(t, enginetest.Options{Cells: 4000, Keep: true}, Config{Store: store})
	seed := uint32(7)
	for range 3 {
		r := ask(system+" and more", 5)
		r.Sampling.Seed = &seed
		s := h.put(r)
		h.settle()
		if a := read(t, s); a.usage.CachedTokens != 0 {
			t.Errorf("%d tokens cached", a.usage.CachedTokens)
		}
	}
	if seen.restored != 0 || store.Len() == 0 {
		t.Errorf("%d tokens restored, %d blocks stored", seen.restored, store.Len())
	}
	h.shut()
}

// What cannot be loaded is computed, and not tried again.
func TestFailedLoadIsComputed(t *testing.T) {
	store, seen := newStore(t, 1<<20)
	left := 3
	h := newHarness(t, enginetest.Options{Cells: 4000, Keep: true, OnLoad: func() error {
		if left--; left < 0 {
			return errors.New("no")
		}
		return nil
	}}, Config{Store: store})
	for i := range 2 {
		r := ask(system+" and more", 5)
		s := h.put(r)
		h.settle()
		a := read(t, s)
		if a.text[0] != expected(h.b, r, 0) || i == 1 && a.usage.CachedTokens != 3*16 {
			t.Errorf("%q with %d tokens cached", a.text[0], a.usage.CachedTokens)
		}
		if i == 0 {
			h.l.evict(h.l.seqs[0])
		}
	}
	if seen.dropped[prefixstore.Refused] == 0 {
		t.Error("what could not be loaded was not dropped")
	}
	h.shut()
}

// onDisk makes a store with files in dir.
func onDisk(t testing.TB, dir string) (*prefixstore.Store, *counted) {
	t.Helper()
	seen := &counted{dropped: map[string]int{}}
	s, err := prefixstore.New(prefixstore.Options{Block: 16, Observer: seen, Config: prefixstore.Config{RAM: 1 << 20, Disk: 1 << 20, Dir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	return s, seen
}

// A prefix outlives the engine, whether it ends well or is killed when nothing was
// to do: what begins alike computes the rest.
func TestPrefixesOutliveTheEngine(t *testing.T) {
	for _, killed := range []bool{false, true} {
		dir := t.TempDir()
		var text string
		for start := range 3 {
			store, seen := onDisk(t, dir)
			b := enginetest.New(enginetest.Options{Cells: 4000, Keep: true})
			e, err := New(b, Config{Store: store}, nil)
			if err != nil {
				t.Fatal(err)
			}
			a := read(t, submit(t, e, ask(system+" and a question", 5)))
			if start == 0 {
				text = a.text[0]
			}
			want := 0
			if start > 0 {
				want = len(system+" and a question") - 1 // its logits are needed
			}
			if a.text[0] != text || a.usage.CachedTokens != want || seen.tokens() != want {
				t.Errorf("start %d: %q after %q, %d tokens cached and %d restored, want %d", start, a.text[0], text, a.usage.CachedTokens, seen.tokens(), want)
			}
			if killed {
				// The files are there while the engine still runs.
				waitFor(t, func() bool { return len(list(t, dir)) >= len(system)/16 })
			}
			if err := errors.Join(e.Close(), store.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func list(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.kv"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// waitFor gives other goroutines time until done.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("it never came")
		}
	}
}

// While a file is read the others go on.
func TestReadingHoldsNobody(t *testing.T) {
	dir := t.TempDir()
	store, _ := onDisk(t, dir)
	h := newHarness(t, enginetest.Options{Cells: 4000, Keep: true}, Config{Store: store})
	h.put(ask(system, 5))
	h.settle()
	h.shut()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	// A file that nobody has written yet: its reader waits for it.
	names := list(t, dir)
	store, seen := onDisk(t, dir)
	defer store.Close()
	data := map[string][]byte{}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err == nil {
			err = errors.Join(os.Remove(n), syscall.Mkfifo(n, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
		data[n] = b
	}
	h = newHarness(t, enginetest.Options{Cells: 4000, Keep: true}, Config{Store: store})
	waits := h.put(ask(system+" and a question", 5))
	other := h.put(ask("somebody else", 50))
	for !ended(other) {
		h.turn()
	}
	if ended(waits) {
		t.Fatal("nothing was waited for")
	}
	var writers sync.WaitGroup
	for n, b := range data {
		writers.Go(func() {
			if err := os.WriteFile(n, b, 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, func() bool { h.turn(); return ended(waits) })
	if a := read(t, waits); a.err != nil || a.usage.CachedTokens != len(system) || seen.tokens() != a.usage.CachedTokens {
		t.Errorf("%v, %d tokens cached", a.err, a.usage.CachedTokens)
	}
	h.settle()
	h.shut()
	for n := range data { // one that nobody reads still waits to be opened
		f, err := os.OpenFile(n, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	writers.Wait()
}

// What has to leave the cache at once, and is more than a step copies, is counted.
func TestWhatAStepCannotSaveIsCounted(t *testing.T) {
	store, seen := newStore(t, 1<<20)
	h := newHarness(t, enginetest.Options{Cells: 2000, Keep: true}, Config{Store: store})
	h.put(ask(strings.Repeat("abcdefgh", 12), 5)) // 100 cells: six blocks of 16, and a tail that is not worth one
	h.settle()
	var s *sequence
	for _, other := range h.l.seqs {
		if other != nil {
			s = other
		}
	}
	h.l.saved = h.l.saveMost
	h.l.evict(s)
	if store.Len() != 0 || seen.dropped[prefixstore.Unsaved] != 6 {
		t.Errorf("%d cells were evicted: %d blocks are stored, and %v dropped", s.held, store.Len(), seen.dropped)
	}
	h.shut()
}
