package tests

import (
	"context"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hearth/internal/testkit"
)

// systemLibraries are those that the machine brings: the C and C++ run time, and
// the driver of an NVIDIA card.
var systemLibraries = []string{
	"libc.so.", "libm.so.", "libdl.so.", "librt.so.", "libpthread.so.", "ld-linux", "libstdc++.so.", "libgcc_s.so.",
	"libresolv.so.", "libcuda.so.",
}

// TestBuiltFolderNeedsNothingElse holds bin/hearth and every library beside it
// to find what they need in that folder or in the system, wherever it lies.
func TestBuiltFolderNeedsNothingElse(t *testing.T) {
	out := filepath.Join(testkit.Root(t), "build", "out")
	files, err := filepath.Glob(filepath.Join(out, "lib", "*.so*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no libraries in %s (%v): run make build", out, err)
	}
	for _, file := range append(files, filepath.Join(out, "bin", "hearth")) {
		f, err := elf.Open(file)
		if err != nil {
			t.Fatalf("%v: run make build", err)
		}
		needed, err := f.ImportedLibraries()
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
			paths, err := f.DynString(tag)
			if err != nil {
				t.Fatal(err)
			}
			for path := range strings.SplitSeq(strings.Join(paths, ":"), ":") {
				if len(paths) > 0 && path != "$ORIGIN" && !strings.HasPrefix(path, "$ORIGIN/") {
					t.Errorf("%s looks for libraries in %q, which stays behind when the folder moves", file, path)
				}
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		for _, name := range needed {
			if _, err := os.Stat(filepath.Join(out, "lib", name)); err != nil && !ofSystem(name) {
				t.Errorf("%s needs %s, which is not in lib", file, name)
			}
		}
	}
}

func ofSystem(name string) bool {
	for _, prefix := range systemLibraries {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// TestBuiltFolderCanBeMoved runs the command from another place.
func TestBuiltFolderCanBeMoved(t *testing.T) {
	out := filepath.Join(testkit.Root(t), "build", "out")
	moved := t.TempDir()
	for _, part := range []string{"bin", "lib"} {
		if err := os.CopyFS(filepath.Join(moved, part), os.DirFS(filepath.Join(out, part))); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(context.Background(), filepath.Join(moved, "bin", "hearth"), "version")
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"HOME=" + t.TempDir()}
	answer, err := cmd.CombinedOutput()
	if err != nil || len(answer) == 0 {
		t.Fatalf("hearth version, moved: %v\n%s", err, answer)
	}
}
