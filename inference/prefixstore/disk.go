package prefixstore

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// flushTime is how long Close writes what is still to be written.
const flushTime = 5 * time.Second

// disk is the tier of files. One goroutine writes and deletes, another reads; both
// use the store's mutex for what they share with it, and not while they wait for
// a file.
type disk struct {
	dir     string
	limit   int64
	binding digest
	trouble func(error)
	lock    *os.File
	wake    func() // something that was asked for is there

	// Guarded by the store's mutex.
	changed  *sync.Cond
	writes   []order
	waiting  int64 // bytes of cells in writes
	reads    []*Block
	closing  bool
	deadline time.Time // of the closing
	told     bool      // of a write that failed
	done     sync.WaitGroup
}

// order is a file to be written, or one to be deleted.
type order struct {
	block *Block // nil: delete
	path  string
}

// openDisk takes the folder, reads what is in it, and starts the goroutines.
func (s *Store) openDisk(o *Options) error {
	d := &disk{
		dir: o.Dir, limit: int64(o.Disk), binding: sha256.Sum256(fmt.Appendf(nil, "%d %d\n%s", fileVersion, s.block, o.Binding)),
		trouble: o.Trouble, wake: func() {}, changed: sync.NewCond(&s.mu),
	}
	if d.trouble == nil {
		d.trouble = func(error) {}
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(d.dir, 0o700); err != nil {
		return err
	}
	var err error
	if d.lock, err = os.OpenFile(filepath.Join(d.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(ErrInUse, d.lock.Close())
	}
	s.disk = d
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.scan(); err != nil {
		return errors.Join(err, d.lock.Close())
	}
	s.makeFileRoom(0)
	s.report()
	d.done.Go(s.writeFiles)
	d.done.Go(s.readFiles)
	return nil
}

// ErrInUse is what New returns where another process has the folder.
var ErrInUse = errors.New("prefixstore: another process uses the folder")

// found is a file of the folder, with what its head says.
type found struct {
	head
	at, key digest
	name    string
	used    time.Time
	bytes   int64
}

// scan takes over the files of the folder, and deletes those that are of no use.
func (s *Store) scan() error {
	entries, err := os.ReadDir(s.disk.dir)
	if err != nil {
		return err
	}
	var all []*found
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasSuffix(e.Name(), fileSuffix) && !strings.HasSuffix(e.Name(), fileSuffix+tempSuffix) {
			continue // not ours
		}
		f, err := s.look(e.Name())
		switch {
		case err == nil:
			all = append(all, f)
			continue
		case errors.Is(err, errStale):
			s.obs.Dropped(Disk, Stale)
		default:
			s.obs.Dropped(Disk, Damaged)
			s.disk.trouble(fmt.Errorf("a file of prefixes was deleted: %s: %w", e.Name(), err))
		}
		if err := os.Remove(filepath.Join(s.disk.dir, e.Name())); err != nil {
			return err
		}
	}
	// A block comes behind the one that it goes on from.
	slices.SortFunc(all, func(a, b *found) int { return cmp.Compare(len(a.tokens), len(b.tokens)) })
	var blocks []*Block
	used := map[*Block]time.Time{}
	for _, f := range all {
		start := len(f.tokens) - f.own
		parent := s.blocks[f.at]
		if (start > 0) != (parent != nil) || parent != nil && parent.End() != start {
			s.obs.Dropped(Disk, Evicted)
			if err := os.Remove(filepath.Join(s.disk.dir, f.name)); err != nil {
				return err
			}
			continue
		}
		b := &Block{parent: parent, at: f.at, key: f.key, tokens: slices.Clone(f.tokens[start:]), start: start, size: int(f.cells), file: f.bytes, scope: f.scope}
		s.insert(b)
		blocks = append(blocks, b)
		for up := b; up != nil && used[up].Before(f.used); up = up.parent {
			used[up] = f.used
		}
	}
	slices.SortStableFunc(blocks, func(a, b *Block) int {
		return cmp.Or(used[a].Compare(used[b]), cmp.Compare(b.start, a.start))
	})
	for _, b := range blocks {
		s.enter(b, onDisk, b.file)
	}
	return nil
}

// look reads the head of a file and checks that its name is its block's.
func (s *Store) look(name string) (*found, error) {
	if strings.HasSuffix(name, tempSuffix) {
		return nil, errStale
	}
	file, err := os.Open(filepath.Join(s.disk.dir, name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	h, err := readHead(file, st.Size(), s.disk.binding)
	if err != nil {
		return nil, err
	}
	f := &found{head: *h, name: name, used: st.ModTime(), bytes: st.Size()}
	start := len(h.tokens) - h.own
	if start%s.block != 0 || h.own > s.block {
		return nil, fmt.Errorf("%w: its block lies elsewhere", errDamaged)
	}
	f.at = h.scope
	for p := 0; p < start; p += s.block {
		f.at = s.child(f.at, h.tokens[p:p+s.block])
	}
	if f.key = s.child(f.at, h.tokens[start:]); fileName(f.key) != name {
		return nil, fmt.Errorf("%w: its name is another block's", errDamaged)
	}
	return f, nil
}

// head is what the file of b says.
func (s *Store) head(b *Block) []byte {
	h := head{binding: s.disk.binding, scope: b.scope, tokens: make([]int32, b.End()), own: len(b.tokens), cells: int64(b.size)}
	for up := b; up != nil; up = up.parent {
		copy(h.tokens[up.start:], up.tokens)
	}
	return h.encode()
}

func (d *disk) path(b *Block) string { return filepath.Join(d.dir, fileName(b.key)) }

// write has a new block written, if all before it is or will be. What waits is
// bounded by half of the memory there is.
func (s *Store) write(b *Block) {
	d := s.disk
	if d == nil || b.file > 0 || b.queued || d.closing || b.parent != nil && b.parent.file == 0 && !b.parent.queued {
		return
	}
	if d.waiting+int64(b.size) > s.limit/2 {
		s.obs.Dropped(Disk, Behind)
		return
	}
	b.queued = true
	b.pins++
	d.waiting += int64(b.size)
	d.writes = append(d.writes, order{b, d.path(b)})
	d.changed.Broadcast()
}

// forget has the file of a block deleted.
func (d *disk) forget(b *Block) {
	d.writes = append(d.writes, order{nil, d.path(b)})
	d.changed.Broadcast()
}

// fetch has the file of a block read.
func (s *Store) fetch(b *Block) {
	if !b.fetching {
		b.fetching = true
		b.pins++
		s.disk.reads = append(s.disk.reads, b)
		s.disk.changed.Broadcast()
	}
}

// OnReady sets what is called when a block that was waited for is there, or will
// not come, and when the store is no longer busy. It must not call the store.
func (s *Store) OnReady(wake func()) {
	if s.disk == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk.wake = wake
}

// Busy reports whether so much waits to be written that what is not urgent had
// better be stored later. OnReady's function is called when that is over.
func (s *Store) Busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy()
}

func (s *Store) busy() bool { return s.disk != nil && s.disk.waiting > s.limit/4 }

// HasDisk reports whether there are files behind the memory.
func (s *Store) HasDisk() bool { return s.disk != nil }

// writeFiles is the goroutine that writes and deletes.
func (s *Store) writeFiles() {
	d := s.disk
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(d.writes) == 0 && !d.closing {
			d.changed.Wait()
		}
		if len(d.writes) == 0 {
			return
		}
		o := d.writes[0]
		d.writes = d.writes[1:]
		if o.block == nil {
			s.deleteFile(o.path)
			continue
		}
		s.writeBlock(o)
		if !s.busy() {
			wake := d.wake
			s.mu.Unlock()
			wake()
			s.mu.Lock()
		}
	}
}

// deleteFile deletes a file without the lock.
func (s *Store) deleteFile(path string) {
	s.mu.Unlock()
	err := os.Remove(path)
	s.mu.Lock()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.disk.trouble(fmt.Errorf("delete a file of prefixes: %w", err))
	}
}

// writeBlock writes a block, which is pinned, without the lock.
func (s *Store) writeBlock(o order) {
	d, b := s.disk, o.block
	orphan := b.parent != nil && b.parent.file == 0 // it could not be reached
	late := d.closing && time.Now().After(d.deadline)
	if !b.gone && !orphan && !late {
		head := s.head(b)
		bytes := int64(len(head)) + int64(b.size) + sumBytes
		if s.makeFileRoom(bytes) {
			s.mu.Unlock()
			err := writeFile(o.path, head, b.data)
			s.mu.Lock()
			s.written(b, bytes, err)
		}
	}
	b.queued = false
	d.waiting -= int64(b.size)
	b.pins--
	s.release(b)
	s.report()
}

// written notes what became of a write.
func (s *Store) written(b *Block, bytes int64, err error) {
	d := s.disk
	switch {
	case err != nil:
		s.obs.Dropped(Disk, Failed)
		if !d.told {
			d.told = true
			d.trouble(fmt.Errorf("prefixes cannot be written: %w", err))
		}
	case b.gone:
		s.deleteFile(d.path(b)) // at once: a block like it may be behind it in the queue
	default:
		d.told = false
		b.file = bytes
		s.enter(b, onDisk, bytes)
		for up := b.parent; up != nil; up = up.parent {
			if up.file > 0 {
				s.unlink(up, onDisk)
				s.link(up, onDisk)
			}
		}
	}
}

// makeFileRoom deletes the files used longest ago until n more bytes fit.
func (s *Store) makeFileRoom(n int64) bool {
	if n > s.disk.limit {
		return false
	}
	for b := s.order.order[onDisk].newer; s.held[onDisk].bytes+n > s.disk.limit; {
		if b == &s.order {
			return false
		}
		next := b.order[onDisk].newer
		switch {
		case b.pins > 0 || b.filed > 0:
		case b.data != nil:
			s.leave(b, onDisk, b.file, Evicted)
			s.disk.forget(b)
			b.file = 0
		case b.children == 0:
			s.remove(b, Evicted)
		}
		b = next
	}
	return true
}

// readFiles is the goroutine that reads.
func (s *Store) readFiles() {
	d := s.disk
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(d.reads) == 0 && !d.closing {
			d.changed.Wait()
		}
		if len(d.reads) == 0 {
			return
		}
		b := d.reads[0]
		d.reads = d.reads[1:]
		s.readBlock(b)
		b.fetching = false
		b.pins--
		s.release(b)
		wake := d.wake
		s.mu.Unlock()
		wake()
		s.mu.Lock()
	}
}

// readBlock reads a block, which is pinned, without the lock. What is damaged is
// dropped with all that goes on from it.
func (s *Store) readBlock(b *Block) {
	if b.gone || b.data != nil || s.disk.closing {
		return
	}
	if !s.makeRoom(roundUp(b.size)) {
		b.unread = true
		return
	}
	slab, err := newSlab(b.size)
	if err != nil {
		b.unread = true
		return
	}
	head, path := s.head(b), s.disk.path(b)
	s.held[inRAM].bytes += roundUp(b.size) // so that nobody takes the room
	s.mu.Unlock()
	err = readCells(path, head, slab)
	if err == nil {
		now := time.Now()
		_ = os.Chtimes(path, now, now) // only the order of a later start depends on it
	}
	s.mu.Lock()
	s.held[inRAM].bytes -= roundUp(b.size)
	switch {
	case err != nil:
		freeSlab(slab)
		if !b.gone {
			s.disk.trouble(fmt.Errorf("a file of prefixes is not used: %s: %w", filepath.Base(path), err))
			s.drop(b, Damaged)
		}
	case b.gone:
		freeSlab(slab)
	default:
		b.data, b.read = slab, true
		s.enter(b, inRAM, roundUp(b.size))
		for up := b.parent; up != nil; up = up.parent {
			s.touch(up)
		}
	}
	s.report()
}

// closeDisk writes what waits until flushTime is over, ends the goroutines and
// gives the folder back.
func (s *Store) closeDisk() error {
	d := s.disk
	if d == nil {
		return nil
	}
	s.mu.Lock()
	if d.closing {
		s.mu.Unlock()
		return nil
	}
	d.closing, d.deadline = true, time.Now().Add(flushTime)
	d.changed.Broadcast()
	s.mu.Unlock()
	d.done.Wait()
	return d.lock.Close()
}
