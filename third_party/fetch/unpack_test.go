package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// entry is one thing in a test archive.
type entry struct {
	name, body, link string
	mode             fs.FileMode
	hard             bool
}

func tarGz(t *testing.T, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	tw := tar.NewWriter(gz)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: int64(e.mode.Perm()), Size: int64(len(e.body)), Typeflag: tar.TypeReg}
		switch {
		case e.hard:
			h.Typeflag, h.Linkname = tar.TypeLink, e.link
		case e.mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		case e.mode.IsDir():
			h.Typeflag = tar.TypeDir
		case e.mode&fs.ModeCharDevice != 0:
			h.Typeflag = tar.TypeChar
		}
		must(t, tw.WriteHeader(h))
		_, err := tw.Write([]byte(e.body))
		must(t, err)
	}
	must(t, tw.Close())
	must(t, gz.Close())
	return buf.Bytes()
}

func zipped(t *testing.T, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw := zip.NewWriter(&buf)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode)
		w, err := zw.CreateHeader(h)
		must(t, err)
		_, err = io.WriteString(w, e.body+e.link)
		must(t, err)
	}
	must(t, zw.Close())
	return buf.Bytes()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testApp is an app with a cache and a checkout of its own.
func testApp(t *testing.T) (*app, *bytes.Buffer) {
	t.Helper()
	var messages bytes.Buffer
	dir := t.TempDir()
	return &app{
		root:  filepath.Join(dir, "checkout"),
		cache: filepath.Join(dir, "cache"),
		out:   io.Discard, messages: &messages,
	}, &messages
}

// archives writes the same entries as .tar.gz and as .whl.
func archives(t *testing.T, entries []entry, noZip bool) []string {
	t.Helper()
	dir := t.TempDir()
	files := map[string][]byte{"a.tar.gz": tarGz(t, entries)}
	if !noZip {
		files["a.whl"] = zipped(t, entries)
	}
	var names []string
	for name, raw := range files {
		names = append(names, filepath.Join(dir, name))
		must(t, os.WriteFile(filepath.Join(dir, name), raw, 0o644))
	}
	return names
}

func TestUnpackKeepsFilesFoldersAndInnerLinks(t *testing.T) {
	for _, archive := range archives(t, []entry{
		{name: "top/", mode: fs.ModeDir | 0o755},
		{name: "top/keep/bin/tool", body: "run me", mode: 0o744},
		{name: "top/keep/data", body: "read me", mode: 0o600},
		{name: "top/keep/bin/link", link: "../data", mode: fs.ModeSymlink | 0o777},
		{name: "top/other", body: "left out", mode: 0o644},
	}, false) {
		t.Run(filepath.Ext(archive), func(t *testing.T) {
			a, _ := testApp(t)
			dest := a.path("src", "it")
			must(t, a.unpack(dest, []string{archive}, below("top/keep"), nil))
			for name, want := range map[string]string{"bin/tool": "run me", "data": "read me", "bin/link": "read me"} {
				raw, err := os.ReadFile(filepath.Join(dest, name))
				if err != nil || string(raw) != want {
					t.Errorf("%s holds %q (%v), want %q", name, raw, err, want)
				}
			}
			for name, want := range map[string]fs.FileMode{"bin/tool": 0o755, "data": 0o644} {
				info, err := os.Stat(filepath.Join(dest, name))
				must(t, err)
				if info.Mode().Perm() != want {
					t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), want)
				}
			}
			if _, err := os.Stat(filepath.Join(dest, "other")); err == nil {
				t.Error("a file outside the wanted folder was unpacked")
			}
		})
	}
}

func TestUnpackRefusesWhatLeavesTheFolder(t *testing.T) {
	good := entry{name: "good", body: "x", mode: 0o644}
	for name, c := range map[string]struct {
		entries []entry
		noZip   bool // zip knows no such entry
	}{
		"parent":           {entries: []entry{good, {name: "../evil", body: "x", mode: 0o644}}},
		"parent inside":    {entries: []entry{good, {name: "a/../../evil", body: "x", mode: 0o644}}},
		"absolute":         {entries: []entry{good, {name: "/evil", body: "x", mode: 0o644}}},
		"backslash":        {entries: []entry{good, {name: `..\evil`, body: "x", mode: 0o644}}},
		"absolute link":    {entries: []entry{good, {name: "l", link: "/etc/passwd", mode: fs.ModeSymlink | 0o777}}},
		"link out":         {entries: []entry{good, {name: "d/l", link: "../../x", mode: fs.ModeSymlink | 0o777}}},
		"hard link":        {entries: []entry{good, {name: "l", link: "good", hard: true, mode: 0o644}}, noZip: true},
		"device":           {entries: []entry{good, {name: "null", mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}}},
		"named pipe":       {entries: []entry{good, {name: "p", mode: fs.ModeNamedPipe | 0o666}}, noZip: false},
		"absolute by link": {entries: []entry{{name: "d", link: "/", mode: fs.ModeSymlink | 0o777}, {name: "d/evil", body: "x", mode: 0o644}}},
	} {
		for _, archive := range archives(t, c.entries, c.noZip) {
			if name == "named pipe" && strings.HasSuffix(archive, ".tar.gz") {
				continue // written as a regular file by tarGz above
			}
			t.Run(name+filepath.Ext(archive), func(t *testing.T) {
				a, _ := testApp(t)
				dest := a.path("src", "it")
				err := a.unpack(dest, []string{archive}, everything, nil)
				if !errors.Is(err, errUnsafe) {
					t.Errorf("error %v, want errUnsafe", err)
				}
				if _, err := os.Stat(dest); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("a refused archive left %s (%v)", dest, err)
				}
				left, err := filepath.Glob(a.path("src", ".*"))
				if err != nil || len(left) > 0 {
					t.Errorf("a refused archive left %v (%v)", left, err)
				}
			})
		}
	}
}

func TestUnpackNeverWritesThroughALink(t *testing.T) {
	// The link itself stays inside, and so does its name; a second entry of the
	// same name must not be written through it.
	for _, archive := range archives(t, []entry{
		{name: "target", body: "first", mode: 0o644},
		{name: "l", link: "target", mode: fs.ModeSymlink | 0o777},
		{name: "l", body: "second", mode: 0o644},
	}, false) {
		a, _ := testApp(t)
		if err := a.unpack(a.path("src", "it"), []string{archive}, everything, nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: error %v, want that the file exists", archive, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add("a/b", "../c", uint32(fs.ModeSymlink|0o777))
	f.Add("../a", "x", uint32(0o644))
	f.Add("a/./b", "", uint32(fs.ModeDir|0o755))
	f.Fuzz(func(t *testing.T, name, link string, mode uint32) {
		outer := t.TempDir()
		inner := filepath.Join(outer, "inner")
		must(t, os.Mkdir(inner, 0o755))
		root, err := os.OpenRoot(inner)
		must(t, err)
		defer root.Close()
		x := extractor{root: root, place: everything}
		// Whatever the entry is, nothing may appear beside the folder, nor a
		// link that leads out of it.
		if err := x.entry(name, fs.FileMode(mode), link, strings.NewReader("body")); err == nil {
			_ = x.entry(name+"/below", 0o644, "", strings.NewReader("body"))
		}
		beside, err := os.ReadDir(outer)
		must(t, err)
		if len(beside) != 1 {
			t.Errorf("entry %q left %v beside the folder", name, beside)
		}
		must(t, filepath.WalkDir(inner, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.Type()&fs.ModeSymlink == 0 {
				return err
			}
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			if full := filepath.Join(filepath.Dir(p), to); filepath.IsAbs(to) || full != inner && !strings.HasPrefix(full, inner+"/") {
				t.Errorf("link %s leads to %s", p, to)
			}
			return nil
		}))
	})
}
