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
	RAM  = "ram"
	Disk = "disk"
)

// Why a block was dropped, as it is reported.
const (
	Evicted  = "evicted"  // others were used later
	Replaced = "replaced" // a longer block holds it all
	Refused  = "refused"  // it could not be loaded
	Damaged  = "damaged"  // its file was not as it was written
	Stale    = "stale"    // its file was of another model, build or setting
	Behind   = "behind"   // too much waited to be written
	Failed   = "failed"   // it could not be written
	Unsaved  = "unsaved"  // it never came: too much had to leave the cache at once
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
	// Binding is all that cells depend on: model, adapters, build, settings. Files
	// with another one are deleted.
	Binding string
	// Trouble, if set, is told what is wrong with files. It must not call the store.
	Trouble func(error)
}

// digest names a block: a hash over the scope and all tokens up to its end.
type digest [sha256.Size]byte

// Block is a run of tokens of a prefix, with their cells.
type Block struct {
	parent   *Block // nil: it begins at position 0
	at, key  digest // of what it goes on from, and its own
	scope    digest
	tokens   []int32
	start    int
	size     int    // of its cells, in bytes
	data     []byte // a slab; nil: not in RAM
	file     int64  // bytes on disk; 0: not there
	children int
	filed    int      // of the children, those with a file
	shorts   []uint32 // how many shorter blocks hang here, by their length; nil: none
	pins     int
	gone     bool
	queued   bool // to be written
	fetching bool // to be read
	unread   bool // there was no room to read it
	read     bool // what is in RAM came from the file, and was not loaded yet

	order [tiers]links // of use, where it is in the tier
}

// links are the neighbours in an order of use; of its sentinel, the oldest and the
// newest.
type links struct{ newer, older *Block }

// The tiers as numbers.
const (
	inRAM = iota
	onDisk
	tiers
)

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
	parts   map[digest]*Block   // by the beginning of their tokens, see FindMost
	roots   map[digest][]uint32 // by scope: shorter blocks at position 0, by length
	order   Block               // sentinel of the orders of use
	held    [tiers]holding
	version uint64
	scratch []byte // of hashing
	disk    *disk  // nil: there is none
}

// holding is what a tier has.
type holding struct {
	bytes  int64
	blocks int
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
		blocks: map[digest]*Block{}, parts: map[digest]*Block{}, roots: map[digest][]uint32{},
	}
	for t := range s.order.order {
		s.order.order[t] = links{&s.order, &s.order}
	}
	if o.Disk > 0 {
		if err := s.openDisk(&o); err != nil {
			return nil, fmt.Errorf("keep prefixes in %s: %w", o.Dir, err)
		}
	}
	return s, nil
}

// Close writes what still is to be written, for a bounded time, and frees all
// memory. Nobody may use a block any more.
func (s *Store) Close() error {
	err := s.closeDisk()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.blocks {
		b.gone, b.pins = true, 0
		s.release(b)
	}
	clear(s.blocks)
	clear(s.parts)
	clear(s.roots)
	for t := range s.order.order {
		s.order.order[t] = links{&s.order, &s.order}
		s.held[t] = holding{}
	}
	s.version++
	s.report()
	return err
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
	return s.held[inRAM].bytes
}

// Len is how many blocks there are, in any tier.
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

// Use notes that the blocks of a chain, in the order of Find, are of use now.
func (s *Store) Use(chain []*Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range slices.Backward(chain) {
		s.touch(b)
	}
}

// touch makes b the newest of its tiers. Those before it in its prefix must be
// touched later.
func (s *Store) touch(b *Block) {
	for t := range b.order {
		if b.order[t].newer != nil {
			s.unlink(b, t)
			s.link(b, t)
		}
	}
}

// link makes b the newest of tier t.
func (s *Store) link(b *Block, t int) {
	b.order[t] = links{newer: &s.order, older: s.order.order[t].older}
	b.order[t].older.order[t].newer = b
	s.order.order[t].older = b
}

func (s *Store) unlink(b *Block, t int) {
	l := &b.order[t]
	l.newer.order[t].older, l.older.order[t].newer = l.older, l.newer
	*l = links{}
}

// enter and leave keep the books of what tier t holds.
func (s *Store) enter(b *Block, t int, bytes int64) {
	s.link(b, t)
	s.held[t].bytes += bytes
	s.held[t].blocks++
	if t == onDisk && b.parent != nil {
		b.parent.filed++
	}
}

func (s *Store) leave(b *Block, t int, bytes int64, reason string) {
	s.unlink(b, t)
	s.held[t].bytes -= bytes
	s.held[t].blocks--
	if t == onDisk && b.parent != nil {
		b.parent.filed--
	}
	s.obs.Dropped([tiers]string{RAM, Disk}[t], reason)
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

// Data returns the cells of a block that is pinned. If they are in a file, it is
// read: wait is true until then. Without cells and waiting there are none to be had.
func (s *Store) Data(b *Block) (cells []byte, wait bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case b.data != nil:
		return b.data, false
	case b.gone || b.file == 0 || b.unread:
		b.unread = false
		return nil, false
	}
	s.fetch(b)
	return nil, true
}

// Restored counts a block that was loaded, and so many of its tokens used.
func (s *Store) Restored(b *Block, tokens int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tier := RAM
	if b.read {
		b.read, tier = false, Disk
	}
	s.obs.Restored(tier, tokens)
}

// Lost counts blocks that should have come and did not, as there was no time to copy
// them.
func (s *Store) Lost(blocks int) {
	for range blocks {
		s.obs.Dropped(RAM, Unsaved)
	}
}

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
	b := &Block{parent: parent, scope: root(scope), at: at, key: key, tokens: slices.Clone(tokens), start: start, size: size, data: slab}
	s.insert(b)
	s.enter(b, inRAM, roundUp(size))
	s.replaceShorter(b)
	for up := b; up != nil; up = up.parent {
		s.touch(up)
	}
	s.write(b)
	s.report()
	return b, nil
}
