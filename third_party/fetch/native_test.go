package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const avx512Server = "processor\t: 0\nflags\t\t: fpu sse4_2 avx f16c fma avx2 bmi2 avx512f avx512cd avx512vl avx512dq avx512bw avx512_vnni avx512vbmi\n"

func TestChooseVariant(t *testing.T) {
	root, err := findRoot()
	must(t, err)
	a := &app{root: root, messages: new(bytes.Buffer)}
	a.pins, err = loadPins(filepath.Join(root, "third_party", "pins.json"))
	must(t, err)
	base, err := os.UserCacheDir()
	must(t, err)
	a.cache = filepath.Join(base, "hearth")
	src, err := a.source(context.Background())
	must(t, err)
	raw, err := os.ReadFile(filepath.Join(src, "ggml", "src", "CMakeLists.txt"))
	must(t, err)
	variants, err := parseVariants(string(raw))
	must(t, err)
	known := map[string]bool{}
	for _, f := range cpuFlags {
		known[f.feature] = true
	}
	for _, v := range variants {
		for _, f := range v.Features {
			if !known[f] && !strings.HasPrefix(f, "AMX_") {
				t.Errorf("variant %s needs %s, of which cpuFlags knows nothing", v.Name, f)
			}
		}
	}
	for flags, want := range map[string]string{
		"flags : fpu sse2":                               "x64",
		"flags : fpu sse4_2 avx":                         "sandybridge",
		"flags : sse4_2 avx f16c fma avx2 bmi2":          "haswell",
		"flags : sse4_2 avx f16c fma avx2 bmi2 avx_vnni": "alderlake",
		"flags : sse4_2 avx f16c fma avx2 bmi2 avx512f":  "haswell",
		avx512Server: "icelake",
		"flags : sse4_2 avx f16c fma avx2 bmi2 avx512f avx512cd avx512vl avx512dq avx512bw avx512_vnni avx512vbmi avx512_bf16":                                  "zen4",
		"flags : sse4_2 avx f16c fma avx2 bmi2 avx512f avx512cd avx512vl avx512dq avx512bw avx512_vnni avx512vbmi avx512_bf16 amx_tile amx_int8 amx_bf16":       "zen4",
		"other : sse4_2 avx\nflags : sse4_2\nflags : sse4_2 avx f16c fma avx2 bmi2 avx512f avx512cd avx512vl avx512dq avx512bw avx512_vnni avx512vbmi amx_tile": "sse42",
	} {
		got, err := chooseVariant(variants, flags)
		if err != nil || got.Name != want {
			t.Errorf("%s: chose %s (%v), want %s", flags, got.Name, err, want)
		}
	}
	if _, err := chooseVariant(variants[1:], "flags : fpu"); err == nil {
		t.Error("a variant was chosen for a processor that runs none")
	}
}

func TestParseVariantsRefusesAnotherFile(t *testing.T) {
	for _, text := range []string{
		"", "if (GGML_CPU_ALL_VARIANTS)\n",
		"if (GGML_CPU_ALL_VARIANTS)\nif (GGML_SYSTEM_ARCH STREQUAL \"x86\")\nelseif(GGML_SYSTEM_ARCH STREQUAL \"ARM\")\n",
	} {
		if v, err := parseVariants(text); err == nil {
			t.Errorf("%q gave %v", text, v)
		}
	}
}

func TestFollowNinja(t *testing.T) {
	var out bytes.Buffer
	m := newMeter(&out, "compile", 0, false)
	at := time.Unix(0, 0)
	m.now = func() time.Time { at = at.Add(2 * time.Second); return at }
	m.start = at
	tail := followNinja(strings.NewReader(`ninja: Entering directory
[1/4] Building a.o
a.c:1: warning: nothing that matters
[2/4] Building b.o
FAILED: b.o
b.c:7: error: no such thing
[3/4] Building c.o
ninja: build stopped`), m)
	want := []string{"[2/4] Building b.o", "FAILED: b.o", "b.c:7: error: no such thing", "[3/4] Building c.o", "ninja: build stopped"}
	if !slices.Equal(tail, want) {
		t.Errorf("tail %q, want %q", tail, want)
	}
	if m.done != 3 || m.total != 4 {
		t.Errorf("meter at %d of %d, want 3 of 4", m.done, m.total)
	}
	if !strings.Contains(out.String(), "compile: 1 of 4\n") {
		t.Errorf("no sparse line in %q", out.String())
	}
}

func TestMeterIsSilentWithinASecond(t *testing.T) {
	var out bytes.Buffer
	m := newMeter(&out, "hash", 100, true)
	at := m.start
	m.now = func() time.Time { return at }
	at = m.start.Add(900 * time.Millisecond)
	_, err := m.Write(make([]byte, 50))
	must(t, err)
	m.finish()
	if out.Len() > 0 {
		t.Errorf("printed %q", out.String())
	}
	at = m.start.Add(1100 * time.Millisecond)
	for range 20 {
		_, err := m.Write(make([]byte, 1))
		must(t, err)
	}
	m.finish()
	if got := strings.Count(out.String(), "\n"); got != 2 {
		t.Errorf("printed %d lines, want the first and the last: %q", got, out.String())
	}
}

func TestInstallKeepsWhatOthersPut(t *testing.T) {
	a, _ := testApp(t)
	from, lib := t.TempDir(), filepath.Join(a.root, "build", "out", "lib")
	files := map[string]string{}
	for _, name := range []string{"one.so", "two.so", "cuda.so"} {
		files[name] = filepath.Join(from, name)
		must(t, os.WriteFile(files[name], []byte(name), 0o644))
	}
	must(t, a.installAs("cuda", "lib", map[string]string{"cuda.so": files["cuda.so"]}))
	must(t, a.install("lib", map[string]string{"one.so": files["one.so"], "two.so": files["two.so"]}))
	mapped, err := os.Open(filepath.Join(lib, "one.so"))
	must(t, err)
	defer mapped.Close()
	must(t, os.WriteFile(files["one.so"], []byte("newer"), 0o644))
	must(t, a.install("lib", map[string]string{"one.so": files["one.so"]}))
	var have []string
	entries, err := os.ReadDir(lib)
	must(t, err)
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if want := []string{"cuda.so", "one.so"}; !slices.Equal(have, want) {
		t.Errorf("lib holds %v, want %v", have, want)
	}
	if raw, err := os.ReadFile(filepath.Join(lib, "one.so")); err != nil || string(raw) != "newer" {
		t.Errorf("one.so holds %q (%v)", raw, err)
	}
	old := make([]byte, 16)
	if n, err := mapped.Read(old); err != nil || string(old[:n]) != "one.so" {
		t.Errorf("the file that was open now holds %q (%v)", old[:n], err)
	}
}

// TestCollect follows real libraries: main needs liba.so.1, which needs libb.so.
func TestCollect(t *testing.T) {
	dir := t.TempDir()
	compile := func(code string, args ...string) {
		t.Helper()
		cmd := exec.Command("cc", append([]string{"-shared", "-fPIC", "-x", "c", "-", "-x", "none", "-L."}, args...)...)
		cmd.Dir = dir
		cmd.Stdin = strings.NewReader(code)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	compile("int b(void) { return 1; }", "-o", "libb.so", "-Wl,-soname,libb.so")
	compile("int b(void); int a(void) { return b(); }", "-o", "liba.so.1.2", "-Wl,-soname,liba.so.1", "libb.so")
	must(t, os.Symlink("liba.so.1.2", filepath.Join(dir, "liba.so.1")))
	compile("int a(void); int m(void) { return a(); }", "-o", "main.so", "liba.so.1")
	compile("int c(void) { return 1; }", "-o", "libc-unneeded.so")
	files, err := collect([]string{dir}, []string{"ma*.so"})
	must(t, err)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"liba.so.1", "libb.so", "main.so"}; !slices.Equal(names, want) {
		t.Errorf("collected %v, want %v", names, want)
	}
	if _, err := collect([]string{dir}, []string{"none*.so"}); err == nil {
		t.Error("a library that was not built is not missed")
	}
}

func TestCopyShimTouchesOnlyWhatDiffers(t *testing.T) {
	a, _ := testApp(t)
	from, to := filepath.Join(a.root, "inference", "llama"), filepath.Join(t.TempDir(), "shim")
	must(t, os.MkdirAll(from, 0o755))
	for _, name := range []string{"shim.h", "shim.cpp", "gone.cpp", "llama.go"} {
		must(t, os.WriteFile(filepath.Join(from, name), []byte(name), 0o644))
	}
	must(t, a.copyShim(to))
	past := time.Unix(1e9, 0)
	must(t, os.Chtimes(filepath.Join(to, "shim.h"), past, past))
	must(t, os.WriteFile(filepath.Join(from, "shim.cpp"), []byte("changed"), 0o644))
	must(t, os.Remove(filepath.Join(from, "gone.cpp")))
	must(t, a.copyShim(to))
	if info, err := os.Stat(filepath.Join(to, "shim.h")); err != nil || !info.ModTime().Equal(past) {
		t.Errorf("the unchanged header was written again (%v)", err)
	}
	if raw, err := os.ReadFile(filepath.Join(to, "shim.cpp")); err != nil || string(raw) != "changed" {
		t.Errorf("shim.cpp holds %q (%v)", raw, err)
	}
	for _, name := range []string{"gone.cpp", "llama.go"} {
		if _, err := os.Stat(filepath.Join(to, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there (%v)", name, err)
		}
	}
}

func TestLockIsHeldByOne(t *testing.T) {
	a, _ := testApp(t)
	var waiting lockedBuffer
	b := *a
	b.messages = &waiting
	unlock, err := a.lock("thing")
	must(t, err)
	got := make(chan func())
	go func() {
		second, err := b.lock("thing")
		if err != nil {
			t.Error(err)
		}
		got <- second
	}()
	waiting.await("waiting for another process that makes thing")
	select {
	case <-got:
		t.Fatal("two hold the lock")
	default:
	}
	unlock()
	(<-got)()
}

func TestTreeKeyTellsPartsApart(t *testing.T) {
	seen := map[string]bool{}
	for _, parts := range [][]string{{"ab", "c"}, {"a", "bc"}, {"abc"}, {"abc", ""}, {"ab\n1:c"}} {
		key := treeKey(parts...)
		if seen[key] {
			t.Errorf("%q has the key of another", parts)
		}
		seen[key] = true
	}
}
