package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// nativeTree is one configured build of llama.cpp and the shim, in the cache.
type nativeTree struct {
	dir   string // native/KEY
	tools buildTools
}

func (t nativeTree) build() string { return filepath.Join(t.dir, "build") }
func (t nativeTree) shim() string  { return filepath.Join(t.dir, "shim") }
func (t nativeTree) log() string   { return filepath.Join(t.dir, "build.log") }

// backends are the libraries that nothing links: ggml opens them at run time.
// libhearth-shim.so is what the Go program links.
var backends = []string{"libhearth-shim.so", "libggml-rpc.so", "libggml-cpu*.so"}

// amxVariant is the one CPU backend that is not shipped: ggml would choose it by
// the processor's flags, which cannot be trusted there (see cpuFlags).
const amxVariant = "libggml-cpu-sapphirerapids.so"

// native compiles the product's libraries and puts them into build/out/lib.
func (a *app) native(ctx context.Context, allVariants bool) error {
	return a.withProductTree(ctx, allVariants, func(t nativeTree) error {
		if err := a.ninja(ctx, t, "compile llama.cpp and the shim", "product"); err != nil {
			return err
		}
		files, err := collect([]string{filepath.Join(t.build(), "bin")}, backends)
		if err != nil {
			return err
		}
		delete(files, amxVariant)
		return a.install("lib", files)
	})
}

// yardsticks compiles the programs that Hearth is measured against, and the RPC
// server of the tests, from the same tree, and writes the tests' tiny models. They run on the product's libraries.
func (a *app) yardsticks(ctx context.Context) error {
	if err := a.native(ctx, false); err != nil {
		return err
	}
	src, err := a.source(ctx)
	if err != nil {
		return err
	}
	return a.withProductTree(ctx, false, func(t nativeTree) error {
		if err := a.ninja(ctx, t, "compile llama-server and the benches", "yardsticks"); err != nil {
			return err
		}
		bin := []string{filepath.Join(t.build(), "bin")}
		product, err := collect(bin, backends)
		if err != nil {
			return err
		}
		files, err := collect(bin, []string{"llama-server", "llama-bench", "llama-batched-bench", "ggml-rpc-server"})
		if err != nil {
			return err
		}
		for name := range product {
			delete(files, name)
		}
		if err := a.install("yardsticks", files); err != nil {
			return err
		}
		if err := linkAll(filepath.Join(a.root, "build", "out", "yardsticks"), "../lib", product); err != nil {
			return err
		}
		return a.tinyModels(ctx, t, src)
	})
}

// withProductTree configures the tree of the product's libraries, for this
// machine's processor or for all, and lets work have it alone.
func (a *app) withProductTree(ctx context.Context, allVariants bool, work func(nativeTree) error) error {
	src, err := a.source(ctx)
	if err != nil {
		return err
	}
	name, flags := "all", []string{"-DGGML_CPU_ALL_VARIANTS=ON"}
	if !allVariants {
		if name, flags, err = variantFlags(src); err != nil {
			return err
		}
	}
	return a.withTree(ctx, name, src, flags, nil, work)
}

// variantFlags chooses the CPU variant of this machine.
func variantFlags(src string) (name string, flags []string, err error) {
	if runtime.GOARCH != "amd64" || runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("the native libraries are built for Linux on x86-64; this is %s on %s", runtime.GOOS, runtime.GOARCH)
	}
	lists, err := os.ReadFile(filepath.Join(src, "ggml", "src", "CMakeLists.txt"))
	if err != nil {
		return "", nil, err
	}
	variants, err := parseVariants(string(lists))
	if err != nil {
		return "", nil, err
	}
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", nil, err
	}
	v, err := chooseVariant(variants, string(cpuinfo))
	if err != nil {
		return "", nil, err
	}
	for _, feature := range v.Features {
		flags = append(flags, "-DGGML_"+feature+"=ON")
	}
	return v.Name, flags, nil
}

// withTree configures the tree name with flags unless that was done before, and
// calls work while no other process may touch it. inputs are what else the key
// must tell apart.
func (a *app) withTree(ctx context.Context, name, src string, flags, inputs []string, work func(nativeTree) error) error {
	t := nativeTree{}
	var err error
	if t.tools, err = a.tools(ctx); err != nil {
		return err
	}
	project, err := os.ReadFile(filepath.Join(a.root, "build", "CMakeLists.txt"))
	if err != nil {
		return err
	}
	compilers, err := compilerVersions(ctx)
	if err != nil {
		return err
	}
	key := treeKey(src, string(project), compilers, strings.Join(flags, " "), strings.Join(inputs, " "))
	t.dir = a.path("native", name+"-"+key)
	unlock, err := a.lock("native-" + name + "-" + key)
	if err != nil {
		return err
	}
	defer unlock()

	// The tree reads copies, so that checkouts with the same sources share it.
	if err := copyChanged(filepath.Join(t.dir, "project", "CMakeLists.txt"), project); err != nil {
		return err
	}
	if err := a.copyShim(t.shim()); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(t.build(), "configured")); err != nil {
		if err := a.configure(ctx, t, src, flags); err != nil {
			return err
		}
	}
	return work(t)
}

// treeKey names what a build depends on in twelve hexadecimal digits. The shim
// is left out: Ninja follows its changes inside the tree.
func treeKey(parts ...string) string {
	hash := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(hash, "%d:%s\n", len(p), p)
	}
	return hex.EncodeToString(hash.Sum(nil))[:12]
}

// compilerVersions names the compilers that CMake will find.
func compilerVersions(ctx context.Context) (string, error) {
	var out strings.Builder
	for _, c := range []struct{ env, name string }{{"CC", "cc"}, {"CXX", "c++"}} {
		command := []string{c.name}
		if set := strings.Fields(os.Getenv(c.env)); len(set) > 0 {
			command = set
		}
		text, err := exec.CommandContext(ctx, command[0], append(command[1:], "--version")...).Output()
		if err != nil {
			return "", fmt.Errorf("ask the compiler %s for its version: %w; 'make prerequisites' says what to install",
				strings.Join(command, " "), err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		fmt.Fprintf(&out, "%s: %s\n", strings.Join(command, " "), first)
	}
	return out.String(), nil
}

// copyShim brings the tree's copy of the shim in step with the checkout,
// touching only what differs.
func (a *app) copyShim(dest string) error {
	from := filepath.Join(a.root, "inference", "llama")
	wanted := map[string]bool{}
	for _, pattern := range []string{"*.cpp", "*.h", "*.hpp"} {
		names, err := filepath.Glob(filepath.Join(from, pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			raw, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if err := copyChanged(filepath.Join(dest, filepath.Base(name)), raw); err != nil {
				return err
			}
			wanted[filepath.Base(name)] = true
		}
	}
	entries, err := os.ReadDir(dest)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !wanted[e.Name()] {
			if err := os.Remove(filepath.Join(dest, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyChanged writes the file unless it holds these bytes already.
func copyChanged(name string, raw []byte) error {
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, raw) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, raw, 0o644)
}

// configure runs CMake in a fresh build folder.
func (a *app) configure(ctx context.Context, t nativeTree, src string, flags []string) error {
	if err := os.RemoveAll(t.build()); err != nil {
		return err
	}
	// No path of this machine in what is compiled.
	prefix := "-ffile-prefix-map=" + src + "=llama.cpp -ffile-prefix-map=" + t.dir + "=hearth"
	args := append([]string{
		"-S", filepath.Join(t.dir, "project"), "-B", t.build(), "-G", "Ninja",
		"-DCMAKE_MAKE_PROGRAM=" + t.tools.ninja,
		"-DCMAKE_BUILD_TYPE=Release",
		"-DCMAKE_C_FLAGS=" + prefix,
		"-DCMAKE_CXX_FLAGS=" + prefix,
		"-DHEARTH_LLAMA_SRC=" + src,
		"-DHEARTH_SHIM_DIR=" + t.shim(),
		"-DGGML_NATIVE=OFF", // the dynamic backends do not allow it
	}, flags...)
	a.logf("configure %s", filepath.Base(t.dir))
	cmd := exec.CommandContext(ctx, t.tools.cmake, args...)
	out, err := cmd.CombinedOutput()
	if logErr := os.WriteFile(t.log(), out, 0o644); logErr != nil {
		return logErr
	}
	if err != nil {
		return fmt.Errorf("configure the native build: %w\n%s\nThe whole output is in %s", err, lastLines(string(out), 30), t.log())
	}
	return os.WriteFile(filepath.Join(t.build(), "configured"), nil, 0o644)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// errNative marks a compilation that failed; its output was shown.
var errNative = errors.New("the native build failed")
