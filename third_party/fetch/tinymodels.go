package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tinyModels writes a tiny random model of each architecture that llama.cpp's
// own test can make into the cache, and links build/out/yardsticks/tinymodels to
// them. The seed is fixed, so the same source gives the same models.
func (a *app) tinyModels(ctx context.Context, t nativeTree, src string) error {
	writer := filepath.Join(a.root, "build", "tinymodels.cpp")
	program, err := os.ReadFile(writer)
	if err != nil {
		return err
	}
	// The tree's folder names source, compilers and flags.
	dest := a.path("models", "tiny-"+treeKey(filepath.Base(t.dir), string(program)))
	if _, err := os.Stat(dest); err != nil {
		if err := a.writeTinyModels(ctx, t, src, writer, dest); err != nil {
			return err
		}
	}
	link := filepath.Join(a.root, "build", "out", "yardsticks", "tinymodels")
	if have, err := os.Readlink(link); err == nil && have == dest {
		return nil
	}
	if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Symlink(dest, link)
}

func (a *app) writeTinyModels(ctx context.Context, t nativeTree, src, writer, dest string) error {
	bin := filepath.Join(t.build(), "bin")
	program := filepath.Join(bin, "test-llama-archs")
	compiler := []string{"c++"}
	if set := strings.Fields(os.Getenv("CXX")); len(set) > 0 {
		compiler = set
	}
	args := append(compiler[1:], "-std=c++17", "-O1", "-o", program)
	for _, dir := range []string{"include", "ggml/include", "common", "src", "vendor"} {
		args = append(args, "-I", filepath.Join(src, dir))
	}
	args = append(args, writer, filepath.Join(src, "tests", "test-llama-archs.cpp"), "-Wl,-rpath,$ORIGIN")
	for _, lib := range []string{"llama-common", "llama", "ggml", "ggml-base"} {
		args = append(args, filepath.Join(bin, "lib"+lib+".so"))
	}
	if err := runLogged(ctx, t.log(), compiler[0], args...); err != nil {
		return fmt.Errorf("compile test-llama-archs: %w", err)
	}
	partial, err := os.MkdirTemp(filepath.Dir(dest), ".tiny-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(partial)
	a.logf("write a tiny model of each architecture")
	if err := runLogged(ctx, t.log(), program, "-s", "1", "-o", partial); err != nil {
		return fmt.Errorf("write the tiny models: %w", err)
	}
	if err := os.Chmod(partial, 0o755); err != nil {
		return err
	}
	return os.Rename(partial, dest)
}

// runLogged runs a program; what it prints goes to the end of the log, and the
// last of it into the error.
func runLogged(ctx context.Context, log, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	f, logErr := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if logErr != nil {
		return logErr
	}
	defer f.Close()
	if _, logErr := f.Write(out); logErr != nil {
		return logErr
	}
	if err != nil {
		return fmt.Errorf("%w\n%s\nThe whole output is in %s", err, lastLines(string(out), 20), log)
	}
	return nil
}
