package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// collect follows what the named programs and libraries of the first folder need
// (DT_NEEDED) as far as the folders have it, and returns the files by the names
// they are looked up by. A name may be a pattern; each must match.
func collect(dirs []string, names []string) (map[string]string, error) {
	files := map[string]string{}
	var todo []string
	for _, pattern := range names {
		found, err := filepath.Glob(filepath.Join(dirs[0], pattern))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("the native build made no %s in %s", pattern, dirs[0])
		}
		todo = append(todo, found...)
	}
	for len(todo) > 0 {
		file := todo[0]
		todo = todo[1:]
		if files[filepath.Base(file)] != "" {
			continue
		}
		files[filepath.Base(file)] = file
		needed, err := neededBy(file)
		if err != nil {
			return nil, err
		}
		for _, name := range needed {
			for _, dir := range dirs {
				if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
					todo = append(todo, filepath.Join(dir, name))
					break
				}
			}
		}
	}
	return files, nil
}

func neededBy(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	defer f.Close()
	needed, err := f.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return needed, nil
}

// install makes files the content of build/out/folder, as far as an earlier
// install into it reached: what that one left and this one lacks is removed,
// what others put there stays.
func (a *app) install(folder string, files map[string]string) error {
	return a.installAs(folder, folder, files)
}

// installAs is install for one of several parts that share a folder.
func (a *app) installAs(part, folder string, files map[string]string) error {
	out := filepath.Join(a.root, "build", "out")
	dest := filepath.Join(out, folder)
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return err
	}
	manifest := filepath.Join(out, ".installed-"+part)
	old, err := os.ReadFile(manifest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range strings.Fields(string(old)) {
		if files[name] == "" && filepath.Base(name) == name {
			if err := os.Remove(filepath.Join(dest, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	// The list grows before the folder does, so that nothing is forgotten.
	if err := copyChanged(manifest, []byte(strings.Join(names, "\n")+"\n")); err != nil {
		return err
	}
	for _, name := range names {
		if err := installFile(files[name], filepath.Join(dest, name)); err != nil {
			return fmt.Errorf("install %s: %w", name, err)
		}
	}
	return nil
}

// installFile copies a file unless the copy is as old and as large. It replaces
// the old one by a rename: a running server keeps the one that it has mapped.
func installFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if have, err := os.Lstat(to); err == nil && have.Mode().IsRegular() &&
		have.Size() == info.Size() && have.ModTime().Equal(info.ModTime()) {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(to), ".partial-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := io.Copy(tmp, src); err != nil {
		return err
	}
	if err := tmp.Chmod(0o755); err != nil {
		return err
	}
	if err := os.Chtimes(tmp.Name(), info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), to)
}

// linkAll puts a relative link to target/name into dir for each of files.
func linkAll(dir, target string, files map[string]string) error {
	for name := range files {
		link := filepath.Join(dir, name)
		want := filepath.Join(target, name)
		if have, err := os.Readlink(link); err == nil && have == want {
			continue
		}
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(want, link); err != nil {
			return err
		}
	}
	return nil
}
