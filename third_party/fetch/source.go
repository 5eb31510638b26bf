package main

import (
	"archive/zip"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// source returns the folder of the unpacked llama.cpp source.
func (a *app) source(ctx context.Context) (string, error) {
	p, err := named(a.pins, "llama.cpp")
	if err != nil {
		return "", err
	}
	dest := a.path("src", "llama.cpp-"+p.Version+"-"+p.SHA256[:8])
	unlock, err := a.lock(filepath.Base(dest))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dest); err == nil {
		return dest, nil
	}
	archive, err := a.download(ctx, p)
	if err != nil {
		return "", err
	}
	top := strings.TrimSuffix(p.File, ".tar.gz")
	return dest, a.unpack(dest, []string{archive}, below(top+"/vendor/llama.cpp"), nil)
}

// model returns the path of the default model's GGUF file. Its checksum is
// checked each time: reading it is what the server will do next anyway.
func (a *app) model(ctx context.Context) (string, error) {
	models := inSet(a.pins, "model")
	if len(models) != 1 || models[0].Member == nil {
		return "", fmt.Errorf("pins.json must name exactly one default model, with its member; it names %d", len(models))
	}
	p := models[0]
	dest := a.path("models", path.Base(p.Member.Path))
	unlock, err := a.lock(filepath.Base(dest))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dest); err == nil {
		return dest, a.verify(dest, p.Member.SHA256)
	}
	archive, err := a.download(ctx, p)
	if err != nil {
		return "", err
	}
	return dest, a.saveMember(archive, *p.Member, dest)
}

// saveMember copies one file out of a wheel.
func (a *app) saveMember(archive string, m member, dest string) error {
	zr, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("open %s: %w", archive, err)
	}
	defer zr.Close()
	f, err := zr.Open(m.Path)
	if err != nil {
		return fmt.Errorf("open %s: %w", archive, err)
	}
	defer f.Close()
	return a.save(f, dest, m.Path+" in "+archive, m.SHA256, m.Bytes)
}
