package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// trialCache remembers the digests of files and which of them passed a trial
// load, in the folder trials of the cache. Only what passed is kept: a file that
// was refused is tried again. The nil cache remembers nothing.
type trialCache struct{ dir string }

func openTrialCache() (*trialCache, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find the cache: %w", err)
	}
	dir := filepath.Join(base, "hearth", "trials")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &trialCache{dir: dir}, nil
}

// lookup returns the key of a trial: what the files hold, what would load them,
// and how; and whether it passed before.
func (c *trialCache) lookup(ctx context.Context, files []string, req *trialRequest, progress func(float32)) (key string, passed bool, err error) {
	if c == nil {
		return "", false, nil
	}
	var total, done int64
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			return "", false, err
		}
		total += st.Size()
	}
	key, err = nativeIdentity()
	if err != nil {
		return "", false, err
	}
	p := &req.Placement
	key += fmt.Sprintf("%q %q %q %v %v %v\n", p.KVType, p.KVLayout, p.FlashAttention, p.SWAFull, p.Mmap, p.Mlock)
	if req.ChatTemplate != "" {
		files = append(files[:len(files):len(files)], req.ChatTemplate)
	}
	for _, f := range files {
		digest, err := c.digest(ctx, f, func(n int64) {
			done += n
			progress(float32(done) / float32(max(total, 1)))
		})
		if err != nil {
			return "", false, err
		}
		key += digest + "\n"
	}
	key = digestOf(key)
	_, err = os.Stat(c.passed(key))
	return key, err == nil, nil
}

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func (c *trialCache) passed(key string) string { return filepath.Join(c.dir, "passed-"+key) }

// remember notes that the trial passed.
func (c *trialCache) remember(key string) error {
	if c == nil {
		return nil
	}
	return c.write(c.passed(key), nil)
}

// nativeIdentity tells one build of the native libraries from another, without
// reading them.
func nativeIdentity() (string, error) {
	dir, err := libDir()
	if err != nil {
		return "", err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.so*"))
	if err != nil {
		return "", err
	}
	id := ""
	for _, n := range names {
		st, err := os.Stat(n)
		if errors.Is(err, os.ErrNotExist) {
			continue // it is being replaced
		}
		if err != nil {
			return "", err
		}
		id += fmt.Sprintf("%s %d %d\n", filepath.Base(n), st.Size(), st.ModTime().UnixNano())
	}
	return id, nil
}

// known is a file whose digest was computed: as long as its identity is the
// same, so is its content.
type known struct {
	Path     string `json:"path"`
	Identity string `json:"identity"`
	Digest   string `json:"sha256"`
}

func identityOf(st os.FileInfo) string {
	id := fmt.Sprintf("%d %d", st.Size(), st.ModTime().UnixNano())
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		id += fmt.Sprintf(" %d %d %d.%d", s.Dev, s.Ino, s.Ctim.Sec, s.Ctim.Nsec)
	}
	return id
}

// digest returns the SHA-256 of a file. read is told how many bytes were.
func (c *trialCache) digest(ctx context.Context, path string, read func(int64)) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	note := filepath.Join(c.dir, "file-"+digestOf(path))
	want := known{Path: path, Identity: identityOf(st)}
	var have known
	if b, err := os.ReadFile(note); err == nil && json.Unmarshal(b, &have) == nil && have.Path == path && have.Identity == want.Identity {
		return have.Digest, nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, &reading{r: f, ctx: ctx, read: read}); err != nil {
		return "", err
	}
	if st, err = f.Stat(); err != nil {
		return "", err
	}
	want.Digest = hex.EncodeToString(hash.Sum(nil))
	if identityOf(st) != want.Identity {
		return "", errors.New("the file changed while it was read: load it when it is complete")
	}
	b, err := json.Marshal(want)
	if err != nil {
		return "", err
	}
	return want.Digest, c.write(note, b)
}

// reading is a reader that stops when ctx ends and says how far it is.
type reading struct {
	r    io.Reader
	ctx  context.Context
	read func(int64)
}

func (r *reading) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	r.read(int64(n))
	return n, err
}

// write makes the file appear whole or not at all.
func (c *trialCache) write(path string, b []byte) error {
	tmp, err := os.CreateTemp(c.dir, ".partial-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(b); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
