package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// lockedBuffer is a buffer that one goroutine writes and another waits on.
type lockedBuffer struct {
	mu   sync.Mutex
	cond *sync.Cond
	buf  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Write(p)
	if b.cond != nil {
		b.cond.Broadcast()
	}
	return len(p), nil
}

// await returns when the text was written.
func (b *lockedBuffer) await(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cond = sync.NewCond(&b.mu)
	for !strings.Contains(b.buf.String(), text) {
		b.cond.Wait()
	}
}

// fakePath makes PATH one folder that holds the scripts alone, and sh.
func fakePath(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Symlink("/bin/sh", filepath.Join(dir, "sh")))
	for name, text := range scripts {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	}
	t.Setenv("PATH", dir)
	return dir
}

func TestPrerequisitesNameTheCommand(t *testing.T) {
	fakePath(t, map[string]string{
		"cc": "exit 0", "git": "exit 0", "python3": `[ "$1" != -m ]`, // what only tests need is not asked for
		"apt-get": "exit 7", "sudo": "exit 1",
	})
	a, _ := testApp(t)
	err := a.prerequisites(context.Background(), false)
	if !errors.Is(err, errPrerequisites) {
		t.Fatalf("error %v, want errPrerequisites", err)
	}
	if want := "sudo apt-get install -y --no-install-recommends g++ python3-pip"; !strings.Contains(err.Error(), want) {
		t.Errorf("the error does not say %q: %v", want, err)
	}
}

func TestPrerequisitesInstall(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv("LOG", log)
	fakePath(t, map[string]string{
		"cc": "exit 0", "git": "exit 0", "npm": "exit 0", "python3": "exit 0",
		"apt-get": `echo "$@" >>"$LOG"`,
		"sudo":    `[ "$1" = -n ] && shift; [ "$1" = true ] || exec "$@"`,
	})
	a, messages := testApp(t)
	must(t, a.prerequisites(context.Background(), true))
	raw, err := os.ReadFile(log)
	must(t, err)
	// Which of the tests' servers are there depends on the machine.
	got, want := string(raw), "update\ninstall -y --no-install-recommends g++"
	if !strings.HasPrefix(got, want) || strings.Contains(got, " git") || strings.Contains(got, " npm") {
		t.Errorf("apt-get was asked for %q, want %q and what else is missing", got, want)
	}
	if !strings.Contains(messages.String(), "installing the Debian packages g++") {
		t.Errorf("installed without a word: %q", messages.String())
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]version{
		"cmake version 3.25.1": {3, 25}, "1.11.1.git": {1, 11}, "13.5": {13, 5},
	} {
		if got, ok := parseVersion(text); !ok || got != want {
			t.Errorf("%q gave %v", text, got)
		}
	}
	if _, ok := parseVersion("no number"); ok {
		t.Error("a version was found where none is")
	}
	for _, c := range []struct {
		v, w version
		want bool
	}{{version{3, 18}, version{3, 18}, true}, {version{3, 9}, version{3, 18}, false}, {version{4, 0}, version{3, 18}, true}} {
		if got := c.v.atLeast(c.w); got != c.want {
			t.Errorf("%v at least %v: %v", c.v, c.w, got)
		}
	}
}

func TestToolsTakeThePinnedWhereTheMachinesAreOld(t *testing.T) {
	old := fakePath(t, map[string]string{"cmake": "echo cmake version 3.10.2", "ninja": "echo 1.11.1"})
	a, _ := testApp(t)
	a.thirdPartyDir = t.TempDir()
	// The wheel lacks the run bit, as some do.
	wheel := zipped(t, []entry{{name: "cmake/data/bin/cmake", body: "#!/bin/sh\n", mode: 0o644}})
	p := testPin()
	p.Name, p.Set, p.File, p.SHA256, p.Bytes = "cmake", "tools", "cmake.whl", sumOf(string(wheel)), int64(len(wheel))
	a.pins = []pin{p}
	must(t, os.WriteFile(filepath.Join(a.thirdPartyDir, p.File), wheel, 0o644))
	got, err := a.tools(context.Background())
	must(t, err)
	if want := filepath.Join(old, "ninja"); got.ninja != want {
		t.Errorf("ninja %s, want the machine's own %s", got.ninja, want)
	}
	info, err := os.Stat(got.cmake)
	if err != nil || !strings.HasPrefix(got.cmake, a.cache) || info.Mode().Perm() != 0o755 {
		t.Errorf("cmake %s (%v), want a program in the cache", got.cmake, err)
	}
}

func TestCompleteCUDA(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"bin/nvcc", "nvvm/bin/cicc", "lib/libcudart.so.13", "lib/libcublas.so.13"} {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
	}
	must(t, completeCUDA(context.Background(), dir))
	for _, name := range []string{"bin/nvcc", "nvvm/bin/cicc"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s is not executable (%v)", name, err)
		}
	}
	for _, name := range []string{"lib64/libcudart.so", "lib64/libcublas.so"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	f, err := elf.Open(filepath.Join(dir, "lib64", "stubs", "libcuda.so"))
	must(t, err)
	defer f.Close()
	if names, err := f.DynString(elf.DT_SONAME); err != nil || !slices.Equal(names, []string{"libcuda.so.1"}) {
		t.Errorf("the driver library is called %v (%v)", names, err)
	}
	symbols, err := f.DynamicSymbols()
	must(t, err)
	for _, want := range driverSymbols {
		if !slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return s.Name == want && s.Section != elf.SHN_UNDEF }) {
			t.Errorf("the driver library lacks %s", want)
		}
	}
}

func TestCheckArchs(t *testing.T) {
	for _, good := range []string{"89", "75-real;86-real", defaultArchs, "90a", "120f-virtual"} {
		if err := checkArchs(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "native", "89,90", "89;", "sm_89", "89 -DX=Y"} {
		if err := checkArchs(bad); err == nil || !strings.Contains(err.Error(), "CUDA_ARCHS") {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestRunRefusesUnknownCommands(t *testing.T) {
	for _, args := range [][]string{nil, {"steal"}, {"model", "--install"}, {"native", "--install"}, {"native", "--all-variants", "x"}} {
		if err := run(context.Background(), args, new(bytes.Buffer), new(bytes.Buffer)); !errors.Is(err, errUsage) {
			t.Errorf("%v: error %v, want errUsage", args, err)
		}
	}
}
