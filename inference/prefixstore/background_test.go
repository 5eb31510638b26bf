package prefixstore

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestWritingInTheBackground: nobody who adds a block waits for its file. What is
// added is written by the time that nothing moves any more, in its order; what
// waits is bounded, and whoever is put off is told when that is over.
func TestWritingInTheBackground(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := watch()
		s := onDiskOf(t, dir, "m", 1<<30, o)
		woken := make(chan struct{}, 1000)
		s.OnReady(func() { woken <- struct{}{} })

		put(t, s, "x", seq(4*block))
		synctest.Wait() // until the goroutines of the store have nothing to do
		if n := len(files(t, dir)); n != 4 || s.Busy() || len(woken) != 4 {
			t.Errorf("%d files of 4 blocks are there, busy %t, woken %d times", n, s.Busy(), len(woken))
		}

		// The goroutine that writes cannot come in between while the lock is held, as
		// if the disk were slow: what is beyond half of the memory is not queued.
		size := int(s.limit / 8)
		s.mu.Lock()
		var all []*Block
		for i := range 6 {
			b := &Block{tokens: []int32{int32(i)}, size: size, key: root(string(rune('a' + i))), gone: true}
			s.write(b)
			all = append(all, b)
		}
		queued := 0
		for _, b := range all {
			if b.queued {
				queued++
			}
		}
		busy := s.busy()
		s.mu.Unlock()
		if queued != 4 || !busy || o.count(Disk+" "+Behind) != 2 {
			t.Errorf("%d blocks of an eighth of the memory wait to be written, busy %t, %d were put off", queued, busy, o.count(Disk+" "+Behind))
		}
		synctest.Wait()
		if s.Busy() || len(woken) < 5 {
			t.Errorf("busy %t when all is written, woken %d times", s.Busy(), len(woken))
		}

		// What waits when the store closes is written, unless that takes too long.
		put(t, s, "y", seq(2*block))
		began := time.Now()
		shut(t, s)
		if n := len(files(t, dir)); n != 6 {
			t.Errorf("%d files after closing, want 6", n)
		}
		if d := time.Since(began); d >= flushTime {
			t.Errorf("closing took %s of the clock", d)
		}
	})
	if n, err := filepath.Glob(filepath.Join(dir, "*.part")); err != nil || len(n) > 0 {
		t.Errorf("unfinished files: %v, %v", n, err)
	}
}
