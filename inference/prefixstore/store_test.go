package prefixstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth/internal/config"
)

const block = 4

func newStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// cells are what the tests keep of the last of the tokens: bytes that tell the
// whole prefix and scope they were computed of.
func cells(scope string, prefix []int32, last int) []byte {
	return fmt.Append(nil, scope, prefix, last)
}

// put stores all of tokens, as an engine does, and returns how many of them are
// stored in the end.
func put(t testing.TB, s *Store, scope string, tokens []int32) int {
	t.Helper()
	chain := s.Find(scope, tokens, nil)
	if n := len(chain); n > 0 && len(chain[n-1].tokens) < s.block {
		if chain[n-1].End() == len(tokens) {
			s.Use(chain)
			return len(tokens)
		}
		chain = chain[:n-1]
	}
	s.Use(chain)
	var last *Block
	pos := 0
	if len(chain) > 0 {
		last = chain[len(chain)-1]
		pos = last.End()
	}
	for pos < len(tokens) {
		n := min(s.block, len(tokens)-pos)
		data := cells(scope, tokens[:pos+n], n)
		b, err := s.Add(scope, last, tokens[pos:pos+n], len(data), func(buf []byte) (int, error) { return copy(buf, data), nil })
		if errors.Is(err, ErrFull) {
			return pos
		}
		if err != nil {
			t.Fatal(err)
		}
		last, pos = b, pos+n
	}
	return pos
}

// got checks that all blocks found are those of tokens, and returns how many tokens
// they hold.
func got(t testing.TB, s *Store, scope string, tokens []int32) int {
	t.Helper()
	chain := s.Find(scope, tokens, nil)
	s.Pin(chain)
	defer s.Unpin(chain)
	end := 0
	for _, b := range chain {
		if b.Start() != end {
			t.Fatalf("a block begins at %d behind one that ends at %d", b.Start(), end)
		}
		end = b.End()
		data := wait(t, s, b)
		if data == nil {
			return b.Start()
		}
		if want := cells(scope, tokens[:end], end-b.Start()); !bytes.Equal(data, want) {
			t.Fatalf("a block of %q holds %q, want %q", scope, data, want)
		}
	}
	return end
}

// wait returns the cells of a block, from its file if need be; nil: there are none.
func wait(t testing.TB, s *Store, b *Block) []byte {
	ready := make(chan struct{}, 1)
	s.OnReady(func() {
		select {
		case ready <- struct{}{}:
		default:
		}
	})
	for {
		data, later := s.Data(b)
		if !later {
			return data
		}
		select {
		case <-ready:
		case <-time.After(time.Minute):
			t.Fatal("a block that is read never comes")
		}
	}
}

func seq(n int) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

func TestPrefixesShareBlocks(t *testing.T) {
	s := newStore(t, Options{Config: Config{RAM: 1 << 20}, Block: block})
	a := seq(10)
	b := append(slices.Clone(a[:8]), 77, 78, 79)
	put(t, s, "x", a)
	put(t, s, "x", b)
	if s.Len() != 4 {
		t.Errorf("%d blocks, want two common ones and two ends", s.Len())
	}
	for _, try := range []struct {
		scope  string
		tokens []int32
		want   int
	}{
		{"x", a, 10},
		{"x", b, 11},
		{"x", a[:9], 8},
		{"x", a[:3], 0},
		{"x", append(slices.Clone(a), 5, 6, 7, 8), 10},
		{"x", append([]int32{9}, a...), 0},
		{"y", a, 0},
		{"", a, 0},
		{"x", nil, 0},
	} {
		if n := got(t, s, try.scope, try.tokens); n != try.want {
			t.Errorf("%q %v: %d tokens found, want %d", try.scope, try.tokens, n, try.want)
		}
	}
	// A longer one takes the place of the end that it goes on from.
	put(t, s, "x", seq(11))
	if n := got(t, s, "x", seq(11)); n != 11 || s.Len() != 4 {
		t.Errorf("%d tokens found, %d blocks", n, s.Len())
	}
	put(t, s, "x", seq(16))
	if n := got(t, s, "x", seq(16)); n != 16 || s.Len() != 5 {
		t.Errorf("%d tokens found, %d blocks", n, s.Len())
	}
}

func TestLeastUsedGoesFirstFromItsEnd(t *testing.T) {
	page := config.Size(os.Getpagesize())
	s := newStore(t, Options{Config: Config{RAM: 6 * page}, Block: block})
	first, second := seq(12), append(seq(4), 50, 51, 52, 53, 54, 55, 56, 57)
	put(t, s, "x", first)
	put(t, s, "x", second)
	s.Use(s.Find("x", first, nil))
	put(t, s, "y", seq(8)) // one more than there is room for
	if n := got(t, s, "x", second); n != 8 {
		t.Errorf("%d tokens of the older prefix are left, want all but its last block", n)
	}
	if n := got(t, s, "x", first); n != 12 {
		t.Errorf("%d tokens of the newer prefix are left", n)
	}
	chain := s.Find("x", first, nil)
	s.Pin(chain)
	if n := put(t, s, "z", seq(24)); n != 12 {
		t.Errorf("%d tokens found room beside what is in use, want 12", n)
	}
	if n := got(t, s, "x", first); n != 12 {
		t.Errorf("of a prefix in use %d tokens are left", n)
	}
	s.Drop(chain[0])
	if wait(t, s, chain[2]) == nil {
		t.Error("memory that is in use was freed")
	}
	s.Unpin(chain)
	if n := got(t, s, "x", first); n != 0 || wait(t, s, chain[2]) != nil {
		t.Errorf("%d tokens are left of what was dropped", n)
	}
	if _, err := s.Add("x", chain[0], seq(4), 8, nil); !errors.Is(err, ErrFull) {
		t.Errorf("behind a block that is gone: %v", err)
	}
	failed := errors.New("no")
	if _, err := s.Add("x", nil, seq(4), 8, func([]byte) (int, error) { return 0, failed }); !errors.Is(err, failed) || s.Bytes() > int64(6*page) {
		t.Errorf("a save that fails: %v", err)
	}
	if _, err := s.Add("x", nil, seq(4), 8, func([]byte) (int, error) { return 7, nil }); err == nil {
		t.Error("a save that writes too little was taken")
	}
}

// Where tokens turn off within a block, as much of it is found as they have in common.
func TestBeginningsOfBlocks(t *testing.T) {
	long := seq(40)
	other := func(same, n int) []int32 { // the first tokens of long, and then others
		return append(slices.Clone(long[:same]), slices.Repeat([]int32{-1}, n-same)...)
	}
	for name, c := range map[string]struct {
		put  [][]int32
		find []int32
		room int
		end  int
	}{
		"nothing is there":                     {nil, long, 99, 0},
		"all whole blocks":                     {[][]int32{long[:32]}, long[:32], 99, 32},
		"a part of the last":                   {[][]int32{long[:32]}, other(27, 40), 99, 27},
		"less than asked for":                  {[][]int32{long[:32]}, long[:23], 99, 23},
		"a part of the first":                  {[][]int32{long[:32]}, other(6, 40), 99, 6},
		"less than a quarter":                  {[][]int32{long[:32]}, other(17, 40), 99, 16},
		"a quarter":                            {[][]int32{long[:32]}, other(18, 40), 99, 18},
		"just room":                            {[][]int32{long[:32]}, other(27, 40), 32, 27},
		"no room":                              {[][]int32{long[:32]}, other(27, 40), 31, 24},
		"a part of an end":                     {[][]int32{long[:30]}, other(28, 40), 99, 28},
		"an end, whole":                        {[][]int32{long[:30]}, long, 99, 30},
		"more than an end":                     {[][]int32{other(27, 32), long[:26]}, long, 99, 27},
		"more than an end, and no room":        {[][]int32{other(27, 32), long[:26]}, long, 31, 26},
		"an end that is more":                  {[][]int32{other(25, 32), long[:26]}, long, 99, 26},
		"the newest of those that begin alike": {[][]int32{other(31, 32), other(30, 32)}, long, 99, 30},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, Options{Config: Config{RAM: 1 << 20}, Block: 8})
			for _, p := range c.put {
				if n := put(t, s, "x", p); n != len(p) {
					t.Fatalf("%d tokens of %d were stored", n, len(p))
				}
			}
			if n := most(t, s, "x", c.find, c.room); n != c.end {
				t.Errorf("%d tokens were found, want %d", n, c.end)
			}
			if n := most(t, s, "y", c.find, c.room); n != 0 {
				t.Errorf("%d tokens of another's were found", n)
			}
		})
	}
}

// most checks what FindMost finds of tokens, and returns how many they are.
func most(t testing.TB, s *Store, scope string, tokens []int32, room int) int {
	t.Helper()
	chain, end := s.FindMost(scope, tokens, room, nil)
	at := 0
	for i, b := range chain {
		last := i == len(chain)-1
		alike := min(end, b.End()) - b.Start()
		if b.Start() != at || !last && len(b.tokens) != s.block || b.gone || b.End() > max(room, end) ||
			alike <= 0 || !slices.Equal(b.tokens[:alike], tokens[at:at+alike]) {
			t.Fatalf("block %d of %d begins at %d and holds %d, of which %d are said to be of use", i, len(chain), b.Start(), b.tokens, alike)
		}
		at = b.End()
	}
	if whole := s.Find(scope, tokens, nil); at < end || len(whole) > 0 && whole[len(whole)-1].End() > end {
		t.Fatalf("up to %d tokens are said to be there, in blocks up to %d and %d", end, at, len(whole))
	}
	return end
}

// Whatever is put, used, pinned and dropped in any order: what is found is what
// was put, the bound holds, and nothing is lost while there is room.
func TestAnyOrder(t *testing.T) {
	page := int64(os.Getpagesize())
	rapid.Check(t, func(rt *rapid.T) {
		pages := rapid.Int64Range(0, 12).Draw(rt, "pages")
		s, err := New(Options{Config: Config{RAM: config.Size(pages * page)}, Block: rapid.IntRange(1, 5).Draw(rt, "block")})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		tokens := rapid.SliceOfN(rapid.Int32Range(0, 1), 0, 14)
		scope := rapid.SampledFrom([]string{"x", "y"})
		var pinned [][]*Block
		for range rapid.IntRange(1, 40).Draw(rt, "actions") {
			switch in, all := scope.Draw(rt, "scope"), tokens.Draw(rt, "tokens"); rapid.IntRange(0, 5).Draw(rt, "action") {
			case 0, 1:
				if n := put(rt2{t, rt}, s, in, all); len(pinned) == 0 && int64(len(all)) <= pages && n < len(all) {
					rt.Fatalf("%d tokens of %d were stored where nothing is in use", n, len(all))
				}
			case 2:
				got(rt2{t, rt}, s, in, all)
				most(rt2{t, rt}, s, in, all, rapid.IntRange(0, 16).Draw(rt, "room"))
			case 3:
				chain := s.Find(in, all, nil)
				s.Use(chain)
				s.Pin(chain)
				pinned = append(pinned, chain)
			case 4:
				if n := len(pinned); n > 0 {
					for _, b := range pinned[n-1] {
						if b.file == 0 && wait(rt2{t, rt}, s, b) == nil {
							rt.Fatal("memory that is in use was freed")
						}
					}
					s.Unpin(pinned[n-1])
					pinned = pinned[:n-1]
				}
			case 5:
				if chain := s.Find(in, all, nil); len(chain) > 0 {
					s.Drop(chain[rapid.IntRange(0, len(chain)-1).Draw(rt, "dropped")])
				}
			}
			check(rt, s, pages*page)
		}
	})
}

// rt2 reports through rapid.
type rt2 struct {
	testing.TB
	rt *rapid.T
}

func (r rt2) Fatalf(format string, args ...any) { r.rt.Fatalf(format, args...) }
func (r rt2) Fatal(args ...any)                 { r.rt.Fatal(args...) }

// check compares the books of s with each other.
func check(t *rapid.T, s *Store, limit int64) {
	used, children, order := int64(0), map[*Block]int{}, 0
	seen := map[*Block]bool{}
	for b := s.order.order[inRAM].newer; b != &s.order; b = b.order[inRAM].newer {
		order++
		if seen[b.parent] {
			t.Fatal("a block is older than one that goes on from it")
		}
		seen[b] = true
	}
	for key, b := range s.blocks {
		if b.data != nil {
			used += roundUp(len(b.data))
		}
		if b.parent != nil {
			children[b.parent]++
			if s.blocks[b.parent.key] != b.parent {
				t.Fatal("a block cannot be reached")
			}
		}
		if b.key != key || b.gone || seen[b] != (b.data != nil) || b.data == nil && b.file == 0 {
			t.Fatal("a block that is gone can be found")
		}
	}
	for _, b := range s.blocks {
		if b.children != children[b] {
			t.Fatalf("books say that %d blocks go on from one; counted %d", b.children, children[b])
		}
	}
	for _, b := range s.parts {
		if s.blocks[b.key] != b {
			t.Fatal("a block that is gone can be found by its beginning")
		}
	}
	if held := s.held[inRAM]; used != held.bytes || used > limit || order != held.blocks {
		t.Fatalf("books say %d bytes, counted %d of %d; %d blocks, %d in order", held.bytes, used, limit, held.blocks, order)
	}
}

// grown is a store of n blocks, of which a few are the beginning of all others.
func grown(t testing.TB, n int) (*Store, []int32) {
	s := newStore(t, Options{Config: Config{RAM: config.Size(n+16) * config.Size(os.Getpagesize())}, Block: 64})
	common := seq(4 * 64)
	for i := range n - 4 {
		tokens := append(slices.Clone(common), int32(i), 5, int32(i%3))
		put(t, s, "x", tokens[:len(tokens)-i%3])
	}
	if s.Len() != n {
		t.Fatalf("%d blocks, want %d", s.Len(), n)
	}
	return s, append(common, 7, 5, 1, 9, 9, 9)
}

func TestSearchAllocatesNothing(t *testing.T) {
	s, tokens := grown(t, 1000)
	chain := s.Find("x", tokens, nil)
	if n := testing.AllocsPerRun(100, func() { chain = s.Find("x", tokens, chain[:0]) }); n != 0 {
		t.Errorf("a search allocates %v times", n)
	}
	if len(chain) != 5 {
		t.Errorf("%d blocks found", len(chain))
	}
	tokens = append(slices.Clone(tokens[:3*64+20]), tokens...)
	if n := testing.AllocsPerRun(100, func() { chain, _ = s.FindMost("x", tokens, 1<<20, chain[:0]) }); n != 0 {
		t.Errorf("a search for the most allocates %v times", n)
	}
	if len(chain) != 4 {
		t.Errorf("%d blocks found with the most tokens", len(chain))
	}
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("blocks=%d", n), func(b *testing.B) {
			s, tokens := grown(b, n)
			var chain []*Block
			b.ReportAllocs()
			for b.Loop() {
				chain = s.Find("x", tokens, chain[:0])
			}
		})
	}
}
