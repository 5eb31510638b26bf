package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// attempts is how often a broken transfer is tried in all.
const attempts = 3

//go:embed registry.py
var registryProgram string

// errTransfer marks a transfer that broke off and may be tried again.
var errTransfer = errors.New("transfer broke off")

// checksumError says that a file is not the one that was pinned.
type checksumError struct {
	file, want, got string
}

func (e *checksumError) Error() string {
	return fmt.Sprintf("wrong checksum of %s\n  expected sha256 %s\n  got      sha256 %s\nNothing was built from it. "+
		"Remove the file and try again; if the sum stays wrong, its source does not hold the pinned file.", e.file, e.want, e.got)
}

// download returns the path of the pinned file in the cache, fetched if need be
// and with the right checksum in any case.
func (a *app) download(ctx context.Context, p pin) (string, error) {
	unlock, err := a.lock(p.File)
	if err != nil {
		return "", err
	}
	defer unlock()
	dest := a.path("downloads", p.File)
	if _, err := os.Stat(dest); err == nil {
		return dest, a.verify(dest, p.SHA256)
	}
	if a.thirdPartyDir != "" {
		return dest, a.fromFolder(p, dest)
	}
	for n := 1; ; n++ {
		err := a.fromRegistry(ctx, p, dest)
		if err == nil || n == attempts || ctx.Err() != nil || !errors.Is(err, errTransfer) {
			return dest, err
		}
		a.logf("%v; trying again", err)
	}
}

func (a *app) fromFolder(p pin, dest string) error {
	name := filepath.Join(a.thirdPartyDir, p.File)
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("%w; HEARTH_THIRD_PARTY_DIR is set, so the network is not used: put %s %s (%s) there, or unset it",
			err, p.Name, p.Version, p.File)
	}
	defer f.Close()
	return a.save(f, dest, name, p.SHA256, p.Bytes)
}

// fromRegistry streams the file through the machine's pip.
func (a *app) fromRegistry(ctx context.Context, p pin, dest string) error {
	child, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(child, "python3", "-c", registryProgram, p.Package, p.Version, p.File)
	cmd.Stderr = a.messages
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("fetch %s: start python3: %w", p.File, err)
	}
	r := bufio.NewReaderSize(pipe, 1<<20)
	header, err := r.ReadBytes('\n')
	if err != nil {
		// No header: the program's exit status says why.
		_, _ = io.Copy(io.Discard, r)
		return a.noHeader(ctx, p, dest, cmd.Wait())
	}
	var h struct {
		Bytes int64 `json:"bytes"`
	}
	if err := json.Unmarshal(header, &h); err != nil {
		return fmt.Errorf("fetch %s: header %q: %w", p.File, header, err)
	}
	saved := a.save(r, dest, p.File+", as the package registry serves it,", p.SHA256, p.Bytes)
	if _, err := r.Peek(1); err == nil {
		stop() // save stopped early: the program is ended rather than drained
	}
	if waited := cmd.Wait(); saved != nil && waited != nil && child.Err() == nil {
		return fmt.Errorf("fetch %s: %w: %w", p.File, errTransfer, saved)
	}
	return saved
}

func (a *app) noHeader(ctx context.Context, p pin, dest string, waited error) error {
	var exit *exec.ExitError
	if !errors.As(waited, &exit) {
		return fmt.Errorf("fetch %s: %w: python3 ended without a file: %v", p.File, errTransfer, waited)
	}
	switch exit.ExitCode() {
	case 3:
		return a.fromPipDownload(ctx, p, dest)
	case 4:
		return fmt.Errorf("fetch %s: the package index that pip uses here has no such file of %s %s; "+
			"put it into a folder and name that by HEARTH_THIRD_PARTY_DIR", p.File, p.Package, p.Version)
	}
	return fmt.Errorf("fetch %s: %w: python3: %w", p.File, errTransfer, waited)
}

// fromPipDownload is the way for a pip whose internals registry.py does not know.
func (a *app) fromPipDownload(ctx context.Context, p pin, dest string) error {
	tmp, err := os.MkdirTemp("", "hearth-fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	kind := "--only-binary"
	if filepath.Ext(p.File) != ".whl" {
		kind = "--no-binary"
	}
	cmd := exec.CommandContext(ctx, "python3", "-m", "pip", "download", "--no-deps", kind, ":all:",
		"--dest", tmp, p.Package+"=="+p.Version)
	cmd.Stdout, cmd.Stderr = a.messages, a.messages
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fetch %s: pip download: %w", p.File, err)
	}
	f, err := os.Open(filepath.Join(tmp, p.File))
	if err != nil {
		return fmt.Errorf("fetch %s: pip chose another file of %s %s: %w", p.File, p.Package, p.Version, err)
	}
	defer f.Close()
	return a.save(f, dest, p.File+", as pip downloaded it,", p.SHA256, p.Bytes)
}

// save copies r to dest by way of a temporary file that takes dest's name only
// when its checksum is right and its bytes are on the disk. origin is what an
// error calls the source.
func (a *app) save(r io.Reader, dest, origin, sum string, size int64) (err error) {
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(dest), ".partial-*")
	if err != nil {
		return err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	m := newMeter(a.messages, filepath.Base(dest), size, true)
	hash := sha256.New()
	// One byte more than expected is enough to know that the file is another.
	if _, err := io.Copy(io.MultiWriter(tmp, hash, m), io.LimitReader(r, size+1)); err != nil {
		return fmt.Errorf("save %s: %w", dest, err)
	}
	m.finish()
	if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
		return &checksumError{file: origin, want: sum, got: got}
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return fmt.Errorf("save %s: %w", dest, err)
	}
	if err := os.Rename(tmp.Name(), dest); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dest))
}

// verify checks a file that is in the cache already.
func (a *app) verify(name, sum string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m := newMeter(a.messages, "verify "+filepath.Base(name), info.Size(), true)
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(hash, m), f); err != nil {
		return fmt.Errorf("verify %s: %w", name, err)
	}
	m.finish()
	if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
		return &checksumError{file: name, want: sum, got: got}
	}
	return nil
}

// syncDir makes a rename in the folder last through a power cut.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
