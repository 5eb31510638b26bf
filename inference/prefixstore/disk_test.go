package prefixstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"hearth/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seen is an observer that counts by tier.
type seen struct {
	mu       sync.Mutex
	restored map[string]int
	dropped  map[string]int
	bytes    map[string]int64
}

func watch() *seen {
	return &seen{restored: map[string]int{}, dropped: map[string]int{}, bytes: map[string]int64{}}
}

func (o *seen) Stored(tier string, bytes int64, _ int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes[tier] = bytes
}

func (o *seen) Restored(tier string, n int) { o.mu.Lock(); defer o.mu.Unlock(); o.restored[tier] += n }

func (o *seen) Dropped(tier, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropped[tier+" "+reason]++
}

func (o *seen) count(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped[what]
}

// onDiskOf makes a store with files in dir; closing it is the caller's.
func onDiskOf(t testing.TB, dir, binding string, disk config.Size, o Observer) *Store {
	t.Helper()
	s, err := New(Options{Config: Config{RAM: 1 << 20, Disk: disk, Dir: dir}, Block: block, Binding: binding, Observer: o})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shut(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// files are the blocks in a folder.
func files(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+fileSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestPrefixesOutliveTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "prefixes", "model")
	s := onDiskOf(t, dir, "this model", 1<<20, nil)
	put(t, s, "x", seq(14))
	put(t, s, "x", append(seq(8), 99, 98, 97, 96, 95))
	put(t, s, "y", seq(5))
	shut(t, s)
	for path, want := range map[string]os.FileMode{dir: 0o700, files(t, dir)[0]: 0o600} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, want the mode %o", path, st.Mode(), want)
		}
	}
	o := watch()
	s = onDiskOf(t, dir, "this model", 1<<20, o)
	if s.Bytes() != 0 || s.Len() != 8 {
		t.Errorf("a start holds %d bytes in RAM, %d blocks", s.Bytes(), s.Len())
	}
	if a, b, c, d := got(t, s, "x", seq(14)), got(t, s, "x", append(seq(8), 99, 98, 97, 96, 95)), got(t, s, "y", seq(5)), got(t, s, "y", seq(14)); a != 14 || b != 13 || c != 5 || d != 5 {
		t.Errorf("found %d, %d, %d and %d tokens", a, b, c, d)
	}
	for _, b := range s.Find("x", seq(14), nil) {
		s.Restored(b, len(b.tokens))
		s.Restored(b, len(b.tokens)) // now from memory
	}
	if o.restored[Disk] != 14 || o.restored[RAM] != 14 {
		t.Errorf("restored %v", o.restored)
	}
	// What is longer takes the place of an end, also in the folder.
	before := len(files(t, dir))
	put(t, s, "y", seq(7))
	shut(t, s)
	if after := files(t, dir); len(after) != before {
		t.Errorf("%d files, %d before", len(after), before)
	}
	// Another model, build or setting: all of it goes.
	o = watch()
	s = onDiskOf(t, dir, "that model", 1<<20, o)
	if s.Len() != 0 || len(files(t, dir)) != 0 || o.count("disk stale") != before {
		t.Errorf("%d blocks and %d files of another model; dropped %v", s.Len(), len(files(t, dir)), o.dropped)
	}
	shut(t, s)
}

func TestOneProcessHasTheFolder(t *testing.T) {
	dir := t.TempDir()
	s := onDiskOf(t, dir, "", 1<<20, nil)
	if _, err := New(Options{Config: Config{RAM: 1 << 20, Disk: 1 << 20, Dir: dir}, Block: block}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one: %v", err)
	}
	shut(t, s)
	shut(t, onDiskOf(t, dir, "", 1<<20, nil))
}

func TestFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	const limit = 4000
	s := onDiskOf(t, dir, "", limit, nil)
	for i := range int32(30) {
		put(t, s, "x", []int32{i, 1, 2, 3, 4, 5, 6, 7})
		shut(t, s)
		var sum int64
		for _, f := range files(t, dir) {
			st, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			sum += st.Size()
		}
		if sum > limit || i > 10 && sum < limit/2 {
			t.Fatalf("after %d prefixes the files take %d bytes of %d", i+1, sum, limit)
		}
		s = onDiskOf(t, dir, "", limit, nil)
		if n := got(t, s, "x", []int32{i, 1, 2, 3, 4, 5, 6, 7}); n != 8 {
			t.Fatalf("of the newest prefix %d tokens are left", n)
		}
	}
	shut(t, s)
}

// Whatever becomes of the files, no other cells come out of them, and what is
// damaged is deleted.
func TestDamagedFilesGiveNothing(t *testing.T) {
	origin := t.TempDir()
	s := onDiskOf(t, origin, "", 1<<20, nil)
	put(t, s, "x", seq(10))
	shut(t, s)
	type file struct {
		name string
		data []byte
	}
	var all []file
	for _, f := range files(t, origin) {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file{filepath.Base(f), data})
	}
	try := func(name string, changed int, data []byte) {
		t.Helper()
		dir := t.TempDir()
		for i, f := range all {
			if i == changed {
				f.data = data
			}
			if err := os.WriteFile(filepath.Join(dir, f.name), f.data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := watch()
		s := onDiskOf(t, dir, "", 1<<20, o)
		n := got(t, s, "x", seq(10)) // fails where cells are other ones
		again := got(t, s, "x", seq(10))
		shut(t, s)
		if n == 10 || again > n {
			t.Errorf("%s: %d tokens found, then %d", name, n, again)
		}
		if o.count("disk damaged")+o.count("disk stale") == 0 {
			t.Errorf("%s: nobody was told; dropped %v", name, o.dropped)
		}
		if _, err := os.Stat(filepath.Join(dir, all[changed].name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the file is still there", name)
		}
	}
	for i, f := range all {
		for cut := 0; cut < len(f.data); cut += 7 {
			try("truncated", i, f.data[:cut])
		}
		try("longer", i, append(slices.Clone(f.data), 0))
		for at := 0; at < len(f.data); at += 5 {
			flipped := slices.Clone(f.data)
			flipped[at] ^= 1 << (at % 8)
			try("flipped", i, flipped)
		}
		try("another block's", i, all[(i+1)%len(all)].data)
	}
}

// A file that changes after it was found.
func TestFileChangesWhileInUse(t *testing.T) {
	for name, change := range map[string]func(path string, data []byte) error{
		"flipped": func(path string, data []byte) error {
			data[len(data)-12] ^= 1
			return os.WriteFile(path, data, 0o600)
		},
		"truncated": func(path string, data []byte) error { return os.WriteFile(path, data[:len(data)/2], 0o600) },
		"longer":    func(path string, data []byte) error { return os.WriteFile(path, append(data, 1), 0o600) },
		"gone":      func(path string, _ []byte) error { return os.Remove(path) },
	} {
		dir := t.TempDir()
		s := onDiskOf(t, dir, "", 1<<20, nil)
		put(t, s, "x", seq(12))
		shut(t, s)
		o := watch()
		s = onDiskOf(t, dir, "", 1<<20, o)
		chain := s.Find("x", seq(12), nil)
		path := s.disk.path(chain[1])
		data, err := os.ReadFile(path)
		if err == nil {
			err = change(path, data)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := got(t, s, "x", seq(12)); n != 4 {
			t.Errorf("%s: %d tokens found, want those before it", name, n)
		}
		if o.count("disk damaged") != 2 || s.Len() != 1 {
			t.Errorf("%s: dropped %v, %d blocks are left", name, o.dropped, s.Len())
		}
		shut(t, s)
		if len(files(t, dir)) != 1 {
			t.Errorf("%s: %d files are left", name, len(files(t, dir)))
		}
	}
}

// A process that was killed leaves a file that is not whole.
func TestUnfinishedFilesAreDeleted(t *testing.T) {
	dir := t.TempDir()
	part := filepath.Join(dir, fileName(digest{1})+tempSuffix)
	other := filepath.Join(dir, "notes.txt")
	for _, f := range []string{part, other} {
		if err := os.WriteFile(f, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, onDiskOf(t, dir, "", 1<<20, nil))
	if _, err := os.Stat(part); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unfinished file: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("what is not ours: %v", err)
	}
}

// A folder that cannot be written loses files, and nothing else.
func TestFailingWritesAreTold(t *testing.T) {
	dir := t.TempDir()
	o := watch()
	var mu sync.Mutex
	told := 0
	s, err := New(Options{Config: Config{RAM: 1 << 20, Disk: 1 << 20, Dir: dir}, Block: block, Observer: o, Trouble: func(error) {
		mu.Lock()
		defer mu.Unlock()
		told++
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	put(t, s, "x", seq(4))
	put(t, s, "y", seq(4))
	if n := got(t, s, "x", seq(4)); n != 4 {
		t.Errorf("%d tokens found in RAM", n)
	}
	shut(t, s)
	if o.count("disk failed") != 2 || told != 1 {
		t.Errorf("dropped %v, told %d times", o.dropped, told)
	}
}

// TestAnyOrderOnDisk puts, finds and drops in any order, with little memory, little
// disk, starts in between, and files that go or change.
func TestAnyOrderOnDisk(t *testing.T) {
	page := int64(os.Getpagesize())
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		o := Options{
			Config: Config{RAM: config.Size(rapid.Int64Range(1, 8).Draw(rt, "pages") * page), Disk: config.Size(rapid.IntRange(200, 4000).Draw(rt, "disk")), Dir: dir},
			Block:  rapid.IntRange(1, 5).Draw(rt, "block"),
		}
		open := func() *Store {
			s, err := New(o)
			if err != nil {
				rt.Fatal(err)
			}
			return s
		}
		s := open()
		tokens := rapid.SliceOfN(rapid.Int32Range(0, 1), 0, 14)
		scope := rapid.SampledFrom([]string{"x", "y"})
		for range rapid.IntRange(1, 30).Draw(rt, "actions") {
			in, all := scope.Draw(rt, "scope"), tokens.Draw(rt, "tokens")
			switch rapid.IntRange(0, 6).Draw(rt, "action") {
			case 0, 1, 2:
				put(rt2{t, rt}, s, in, all)
			case 3:
				got(rt2{t, rt}, s, in, all)
			case 4:
				if chain := s.Find(in, all, nil); len(chain) > 0 {
					s.Drop(chain[rapid.IntRange(0, len(chain)-1).Draw(rt, "dropped")])
				}
			case 5:
				if list := files(rt2{t, rt}, dir); len(list) > 0 {
					f := list[rapid.IntRange(0, len(list)-1).Draw(rt, "file")]
					if data, err := os.ReadFile(f); err == nil && len(data) > 0 {
						data[rapid.IntRange(0, len(data)-1).Draw(rt, "at")] ^= 0x10
						_ = os.WriteFile(f, data, 0o600)
					}
				}
			case 6:
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				s = open()
			}
			s.mu.Lock()
			check(rt, s, int64(o.RAM))
			if s.held[onDisk].bytes > int64(o.Disk) {
				rt.Fatalf("%d bytes of files, %d are allowed", s.held[onDisk].bytes, o.Disk)
			}
			s.mu.Unlock()
		}
		if err := s.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func FuzzReadHead(f *testing.F) {
	h := head{tokens: []int32{1, 2, 3, 4, 5}, own: 1, cells: 9}
	good := h.encode()
	f.Add(good, int64(len(good))+9+sumBytes)
	f.Add(good[:40], int64(40))
	f.Add(bytes.Repeat([]byte{0xff}, 200), int64(1<<40))
	f.Fuzz(func(t *testing.T, data []byte, length int64) {
		h, err := readHead(bytes.NewReader(data), length, digest{})
		if err != nil {
			if !errors.Is(err, errDamaged) && !errors.Is(err, errStale) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		if again := h.encode(); !bytes.HasPrefix(data, again) || h.bytes()+h.cells+sumBytes != length {
			t.Error("what was read is not what was written")
		}
	})
}
