package main

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// errUnsafe marks an archive entry that would reach outside its folder, or that
// is neither a file, a folder nor a symbolic link.
var errUnsafe = errors.New("unsafe archive entry")

// extractor writes archive entries below one folder. os.Root refuses, once
// more and in the kernel's own terms, whatever leaves that folder.
type extractor struct {
	root *os.Root
	// place maps an entry's name to its place below the folder; ok false leaves
	// the entry out.
	place func(name string) (string, bool)
}

// below keeps what lies under the folder prefix of an archive.
func below(prefix string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		rest, ok := strings.CutPrefix(name, prefix+"/")
		return rest, ok && rest != ""
	}
}

// everything keeps all of an archive.
func everything(name string) (string, bool) { return name, true }

// unpack makes folder dest from archives, all or nothing: it works in a folder
// beside it, lets finish complete that, and then gives it its name.
func (a *app) unpack(dest string, archives []string, place func(string) (string, bool), finish func(dir string) error) error {
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dest), ".unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for _, archive := range archives {
		if err := a.extract(archive, tmp, place); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(archive), err)
		}
	}
	if finish != nil {
		if err := finish(tmp); err != nil {
			return err
		}
	}
	return os.Rename(tmp, dest)
}

// extract unpacks one .tar.gz, .whl or .zip file below dir.
func (a *app) extract(archive, dir string, place func(string) (string, bool)) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m := newMeter(a.messages, "unpack "+filepath.Base(archive), info.Size(), true)
	defer m.finish()
	x := extractor{root: root, place: place}
	if strings.HasSuffix(archive, ".tar.gz") {
		return x.tarGz(io.TeeReader(f, m))
	}
	return x.zip(f, info.Size(), m)
}

func (x extractor) tarGz(r io.Reader) error {
	gz, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<20))
	if err != nil {
		return err
	}
	tr := tar.NewReader(gz)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		mode := h.FileInfo().Mode()
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if h.Typeflag == tar.TypeLink {
			return fmt.Errorf("%w: %q is a hard link", errUnsafe, h.Name)
		}
		if err := x.entry(h.Name, mode, h.Linkname, tr); err != nil {
			return err
		}
	}
}

func (x extractor) zip(r io.ReaderAt, size int64, m *meter) error {
	zr, err := zip.NewReader(r, size)
	// Unsafe names are refused one by one below, with the name.
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return err
	}
	for _, f := range zr.File {
		if err := x.zipEntry(f); err != nil {
			return err
		}
		m.set(m.done+int64(f.CompressedSize64), m.total)
	}
	return nil
}

func (x extractor) zipEntry(f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	target := ""
	if f.Mode()&fs.ModeSymlink != 0 {
		raw, err := io.ReadAll(io.LimitReader(r, 4096))
		if err != nil {
			return err
		}
		target = string(raw)
	}
	return x.entry(f.Name, f.Mode(), target, r)
}

// entry writes one entry: a file from r, a folder, or a symbolic link to target.
func (x extractor) entry(name string, mode fs.FileMode, target string, r io.Reader) error {
	if !filepath.IsLocal(name) || strings.Contains(name, `\`) {
		return fmt.Errorf("%w: the name %q leaves the folder", errUnsafe, name)
	}
	name, ok := x.place(path.Clean(name))
	if !ok {
		return nil
	}
	if dir := path.Dir(name); dir != "." {
		if err := x.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	switch {
	case mode.IsDir():
		return x.root.MkdirAll(name, 0o755)
	case mode&fs.ModeSymlink != 0:
		if path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
			return fmt.Errorf("%w: the link %q leads outside, to %q", errUnsafe, name, target)
		}
		return x.root.Symlink(target, name)
	case mode.IsRegular():
		return x.file(name, mode, r)
	}
	return fmt.Errorf("%w: %q is neither a file, a folder nor a link (%s)", errUnsafe, name, mode.Type())
}

func (x extractor) file(name string, mode fs.FileMode, r io.Reader) error {
	// A file is executable for everybody or for nobody: some wheels set the run
	// bit for the owner alone.
	perm := fs.FileMode(0o644)
	if mode&0o111 != 0 {
		perm = 0o755
	}
	f, err := x.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
