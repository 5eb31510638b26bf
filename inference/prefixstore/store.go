package prefixstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// ErrFull is what Add returns where a block has no room, because those that are
// there are in use.
var ErrFull = errors.New("prefixstore: no room for the block")

// The tiers, as they are reported.
const (
	RAM = "ram"
)

// Why a block was dropped, as it is reported.
const (
	Evicted  = "evicted"  // others were used later
	Replaced = "replaced" // a longer block holds it all
	Refused  = "refused"  // it could not be loaded
)

// Observer is told what the store does, to count it. Its methods must return at
// once, be safe for concurrent use, and not call the store.
type Observer interface {
	// Stored is how many bytes a tier holds, and in how many blocks.
	Stored(tier string, bytes int64, blocks int)
	// Restored counts tokens that came from a tier instead of being computed.
	Restored(tier string, tokens int)
	// Dropped counts a block that left a tier.
	Dropped(tier, reason string)
}

type nobody struct{}

func (nobody) Stored(string, int64, int) {}
func (nobody) Restored(string, int)      {}
func (nobody) Dropped(string, string)    {}

// Options say how a store is made.
type Options struct {
	Config
	Block    int      // tokens of a block; at least 1
	Observer Observer // may be nil
}

// digest names a block: a hash over the scope and all tokens up to its end.
type digest [sha256.Size]byte

// Block is a run of tokens of a prefix, with their cells.
type Block struct {
	parent   *Block // nil: it begins at position 0
	at, key  digest // of what it goes on from, and its own
	tokens   []int32
	start    int
	data     []byte // a slab
	children int
	shorts   []uint32 // how many shorter blocks hang here, by their length; nil: none
	pins     int
	gone     bool
	// Neighbours in the order of use; of the sentinel, the first and the last.
	newer, older *Block
}

// Start is the position of the block's first token.
func (b *Block) Start() int { return b.start }

// End is the position behind its last token.
func (b *Block) End() int { return b.start + len(b.tokens) }

// Store keeps blocks.
type Store struct {
	block int
	limit int64
	obs   Observer

	mu      sync.Mutex
	blocks  map[digest]*Block
	roots   map[digest][]uint32 // by scope: shorter blocks at position 0, by length
	order   Block               // sentinel of the order of use
	used    int64
	version uint64
	scratch []byte // of hashing
}

// New makes a store, which Close empties.
func New(o Options) (*Store, error) {
	if o.Block < 1 {
		return nil, fmt.Errorf("make the store of prefixes: blocks of %d tokens", o.Block)
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	s := &Store{
		block: o.Block, limit: int64(o.RAM), obs: o.Observer,
		blocks: map[digest]*Block{}, roots: map[digest][]uint32{},
	}
	s.order.newer, s.order.older = &s.order, &s.order
	return s, nil
}

// Close frees all memory. Nobody may use a block any more.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.blocks {
		b.gone, b.pins = true, 0
		s.release(b)
	}
	clear(s.blocks)
	clear(s.roots)
	s.order.newer, s.order.older = &s.order, &s.order
	s.used = 0
	s.version++
	s.obs.Stored(RAM, 0, 0)
	return nil
}

// BlockTokens is how many tokens a block holds, but for the last of a prefix.
func (s *Store) BlockTokens() int { return s.block }

// Version changes whenever a search may find something else.
func (s *Store) Version() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// Bytes is how much memory the blocks take.
func (s *Store) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// Len is how many blocks there are.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blocks)
}

// root is the digest that the blocks of a scope begin with.
func root(scope string) digest { return sha256.Sum256([]byte(scope)) }

// child is the digest of a block of tokens behind the one of that digest.
func (s *Store) child(parent digest, tokens []int32) digest {
	buf := append(s.scratch[:0], parent[:]...)
	for _, t := range tokens {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(t))
	}
	s.scratch = buf
	return sha256.Sum256(buf)
}

// Find appends to chain the blocks that hold the beginning of tokens, in their
// order, and returns it. What it costs depends on the number of tokens and not on
// how many blocks there are.
func (s *Store) Find(scope string, tokens []int32, chain []*Block) []*Block {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := root(scope)
	shorts := s.roots[at]
	var parent *Block
	for {
		var next *Block
		if len(tokens) >= s.block {
			next = s.get(s.child(at, tokens[:s.block]), parent, tokens[:s.block])
		}
		if next == nil {
			// The end of a prefix may lie here: the longest that fits.
			for n := min(len(shorts), len(tokens)+1) - 1; n > 0 && next == nil; n-- {
				if shorts[n] > 0 {
					next = s.get(s.child(at, tokens[:n]), parent, tokens[:n])
				}
			}
			if next != nil {
				chain = append(chain, next)
			}
			return chain
		}
		chain = append(chain, next)
		at, shorts, parent, tokens = next.key, next.shorts, next, tokens[s.block:]
	}
}

// get finds a block by its digest; a digest alone proves nothing.
func (s *Store) get(key digest, parent *Block, tokens []int32) *Block {
	b := s.blocks[key]
	if b == nil || b.parent != parent || !slices.Equal(b.tokens, tokens) {
		return nil
	}
	return b
}

// Use notes that the blocks of a chain, in the order of Find, are of use now.
func (s *Store) Use(chain []*Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range slices.Backward(chain) {
		s.touch(b)
	}
}

// touch makes b the newest. Those before it in its prefix must be touched later.
func (s *Store) touch(b *Block) {
	if b.gone {
		return
	}
	if b.newer != nil {
		b.newer.older, b.older.newer = b.older, b.newer
	}
	b.older, b.newer = s.order.older, &s.order
	b.older.newer, s.order.older = b, b
}

// Pin keeps the blocks until Unpin.
func (s *Store) Pin(chain []*Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range chain {
		b.pins++
	}
}

// Unpin undoes Pin.
func (s *Store) Unpin(chain []*Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range chain {
		b.pins--
		s.release(b)
	}
}

// Data returns the cells of a block that is pinned.
func (s *Store) Data(b *Block) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.data
}

// Restored counts a block that was loaded.
func (s *Store) Restored(b *Block) { s.obs.Restored(RAM, len(b.tokens)) }

// Add keeps tokens, a block or, at the end of a prefix, a shorter one, behind
// parent, which is nil at position 0. size is how many bytes its cells take, and
// save writes them. The caller has searched: what is there already is returned as
// it is. Shorter blocks whose tokens tokens begins with are replaced.
func (s *Store) Add(scope string, parent *Block, tokens []int32, size int, save func(buf []byte) (int, error)) (*Block, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, start := root(scope), 0
	if parent != nil {
		at, start = parent.key, parent.End()
		if parent.gone || len(parent.tokens) != s.block {
			return nil, fmt.Errorf("keep a block behind one that ends a prefix or is gone: %w", ErrFull)
		}
	}
	key := s.child(at, tokens)
	if b := s.get(key, parent, tokens); b != nil {
		return b, nil
	}
	if parent != nil {
		parent.pins++
		defer func() { parent.pins--; s.release(parent) }()
	}
	if !s.makeRoom(roundUp(size)) || s.blocks[key] != nil || parent != nil && parent.gone {
		return nil, ErrFull
	}
	slab, err := newSlab(size)
	if err != nil {
		return nil, err
	}
	n, err := save(slab)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes of cells instead of %d", n, size)
	}
	if err != nil {
		freeSlab(slab)
		return nil, err
	}
	b := &Block{parent: parent, at: at, key: key, tokens: slices.Clone(tokens), start: start, data: slab}
	s.insert(b)
	s.replaceShorter(b)
	for up := b; up != nil; up = up.parent {
		s.touch(up)
	}
	s.report()
	return b, nil
}

// insert puts b into the tree.
func (s *Store) insert(b *Block) {
	s.blocks[b.key] = b
	s.used += roundUp(len(b.data))
	s.version++
	if b.parent != nil {
		b.parent.children++
	}
	if n := len(b.tokens); n < s.block {
		shorts := s.shortsAt(b.parent, b.at)
		if shorts == nil {
			shorts = make([]uint32, s.block)
			s.setShorts(b.parent, b.at, shorts)
		}
		shorts[n]++
	}
}

func (s *Store) shortsAt(parent *Block, at digest) []uint32 {
	if parent != nil {
		return parent.shorts
	}
	return s.roots[at]
}

func (s *Store) setShorts(parent *Block, at digest, shorts []uint32) {
	if parent != nil {
		parent.shorts = shorts
		return
	}
	s.roots[at] = shorts
}

// replaceShorter drops the ends of prefixes that b goes on from.
func (s *Store) replaceShorter(b *Block) {
	shorts := s.shortsAt(b.parent, b.at)
	for n := 1; n < min(len(shorts), len(b.tokens)); n++ {
		if shorts[n] == 0 {
			continue
		}
		if old := s.get(s.child(b.at, b.tokens[:n]), b.parent, b.tokens[:n]); old != nil && old.pins == 0 {
			s.remove(old, Replaced)
		}
	}
}

// Drop removes a block that is of no use, and those that go on from it.
func (s *Store) Drop(b *Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(b, Refused)
	s.report()
}

// drop removes b and all below it, whoever has them pinned.
func (s *Store) drop(b *Block, reason string) {
	if b.gone {
		return
	}
	if b.children > 0 {
		// Rare, so the tree keeps no lists for it.
		for _, c := range s.blocks {
			if c.parent == b {
				s.drop(c, reason)
			}
		}
	}
	s.remove(b, reason)
}

// makeRoom drops what was used longest ago until n more bytes fit. In the order of
// use a block comes before the one that it goes on from.
func (s *Store) makeRoom(n int64) bool {
	if n > s.limit {
		return false
	}
	for b := s.order.newer; s.used+n > s.limit; {
		if b == &s.order {
			return false
		}
		next := b.newer
		if b.pins == 0 && b.children == 0 {
			s.remove(b, Evicted)
		}
		b = next
	}
	return true
}

// remove takes b, which nothing goes on from, out of the tree.
func (s *Store) remove(b *Block, reason string) {
	delete(s.blocks, b.key)
	b.newer.older, b.older.newer = b.older, b.newer
	b.newer, b.older, b.gone = nil, nil, true
	s.used -= roundUp(len(b.data))
	s.version++
	if b.parent != nil {
		b.parent.children--
	}
	if n := len(b.tokens); n < s.block {
		shorts := s.shortsAt(b.parent, b.at)
		if shorts[n]--; b.parent == nil && !slices.ContainsFunc(shorts, func(n uint32) bool { return n > 0 }) {
			delete(s.roots, b.at)
		}
	}
	s.release(b)
	s.obs.Dropped(RAM, reason)
}

// release frees the memory of a block that is gone, when nobody uses it.
func (s *Store) release(b *Block) {
	if b.gone && b.pins == 0 {
		freeSlab(b.data)
		b.data = nil
	}
}

func (s *Store) report() { s.obs.Stored(RAM, s.used, len(s.blocks)) }
