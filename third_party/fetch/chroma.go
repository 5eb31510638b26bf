package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
)

// chroma returns the folder of the Chroma server, which is a module for Python.
// Of its package that one file is enough, and none of those that it depends on.
func (a *app) chroma(ctx context.Context) (string, error) {
	pins := inSet(a.pins, "chroma")
	if len(pins) != 1 || pins[0].Member == nil {
		return "", fmt.Errorf("pins.json must name exactly one chroma, with its member; it names %d", len(pins))
	}
	p := pins[0]
	dir := a.path("chroma", p.Version)
	dest := filepath.Join(dir, path.Base(p.Member.Path))
	unlock, err := a.lock("chroma-" + p.Version)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dest); err == nil {
		return dir, a.verify(dest, p.Member.SHA256)
	}
	archive, err := a.download(ctx, p)
	if err != nil {
		return "", err
	}
	return dir, a.saveMember(archive, *p.Member, dest)
}
