package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// defaultArchs are the RTX generations 20, 30, 40 and 50, and Hopper. They are
// compiled as machine code only: it is smaller than with PTX, and a driver then
// compiles nothing at the first start.
const defaultArchs = "75-real;86-real;89-real;90-real;120a-real"

// driverSymbols is what the CUDA backend calls of the driver library,
// libcuda.so.1, which comes with the driver and with no package.
var driverSymbols = []string{
	"cuDeviceGet", "cuDeviceGetAttribute", "cuGetErrorString",
	"cuMemAddressFree", "cuMemAddressReserve", "cuMemCreate", "cuMemGetAllocationGranularity",
	"cuMemMap", "cuMemRelease", "cuMemSetAccess", "cuMemUnmap",
}

// cudaToolkit is one CUDA toolkit: a system's own or one from the pinned wheels.
type cudaToolkit struct {
	root, nvcc string
	release    string // as nvcc tells it
}

// cuda compiles the CUDA backend and puts it, with the CUDA libraries that it
// needs, into build/out/lib. CUDA_ARCHS narrows the architectures.
func (a *app) cuda(ctx context.Context) error {
	archs := os.Getenv("CUDA_ARCHS")
	if archs == "" {
		archs = defaultArchs
	}
	if err := checkArchs(archs); err != nil {
		return err
	}
	src, err := a.source(ctx)
	if err != nil {
		return err
	}
	kit, err := a.findCUDA(ctx)
	if err != nil {
		return err
	}
	if v, ok := parseVersion(kit.release); ok && strings.Contains(archs, "120") && !v.atLeast(version{12, 8}) {
		return fmt.Errorf("nvcc %s (%s) is too old for architecture 120 (RTX 50), which needs 12.8; "+
			"name others by CUDA_ARCHS, e.g. CUDA_ARCHS='86-real;89-real'", kit.release, kit.nvcc)
	}
	flags := []string{
		"-DGGML_CUDA=ON",
		"-DCMAKE_CUDA_ARCHITECTURES=" + archs,
		"-DCMAKE_CUDA_COMPILER=" + kit.nvcc,
		"-DCUDAToolkit_ROOT=" + kit.root,
	}
	return a.withTree(ctx, "cuda", src, flags, []string{kit.release}, func(t nativeTree) error {
		a.logf("compile the CUDA backend for %s with nvcc %s; on two cores, 20 minutes for each architecture are usual", archs, kit.release)
		if err := a.ninja(ctx, t, "compile the CUDA backend", "ggml-cuda"); err != nil {
			return err
		}
		files, err := collect([]string{filepath.Join(t.build(), "bin"), kit.libraries()}, []string{"libggml-cuda.so"})
		if err != nil {
			return err
		}
		for name := range files {
			if strings.HasPrefix(name, "libggml-base.so") {
				delete(files, name) // the product's own copy serves
			}
		}
		return a.installAs("cuda", "lib", files)
	})
}

var archPattern = regexp.MustCompile(`^[0-9]{2,3}[af]?(-real|-virtual)?(;[0-9]{2,3}[af]?(-real|-virtual)?)*$`)

func checkArchs(archs string) error {
	if !archPattern.MatchString(archs) {
		return fmt.Errorf("CUDA_ARCHS=%q: want architectures with semicolons between them, e.g. '89' or '86-real;89-real'", archs)
	}
	return nil
}

// findCUDA takes the toolkit of the nvcc in PATH, or unpacks the pinned one.
func (a *app) findCUDA(ctx context.Context) (cudaToolkit, error) {
	nvcc, err := exec.LookPath("nvcc")
	if err != nil {
		root, err := a.unpackCUDA(ctx)
		if err != nil {
			return cudaToolkit{}, err
		}
		nvcc = filepath.Join(root, "bin", "nvcc")
	}
	if nvcc, err = filepath.EvalSymlinks(nvcc); err != nil {
		return cudaToolkit{}, err
	}
	text, err := exec.CommandContext(ctx, nvcc, "--version").Output()
	if err != nil {
		return cudaToolkit{}, fmt.Errorf("ask %s for its version: %w", nvcc, err)
	}
	_, release, ok := strings.Cut(string(text), "release ")
	release, _, ok2 := strings.Cut(release, ",")
	if !ok || !ok2 {
		return cudaToolkit{}, fmt.Errorf("%s --version tells no release", nvcc)
	}
	return cudaToolkit{root: filepath.Dir(filepath.Dir(nvcc)), nvcc: nvcc, release: release}, nil
}

func (k cudaToolkit) libraries() string { return filepath.Join(k.root, "lib64") }

// unpackCUDA joins the wheels into one toolkit folder.
func (a *app) unpackCUDA(ctx context.Context) (string, error) {
	pins := inSet(a.pins, "cuda")
	sums := make([]string, len(pins))
	for i, p := range pins {
		sums[i] = p.SHA256
	}
	place := func(name string) (string, bool) {
		rest, ok := below("nvidia/cu13")(name)
		return rest, ok && filepath.Base(rest) != "__init__.py"
	}
	return a.unpacked(ctx, "cuda-"+treeKey(sums...), pins, place, func(dir string) error {
		return completeCUDA(ctx, dir)
	})
}

// completeCUDA gives the unpacked wheels the shape of an installed toolkit: the
// wheels have neither run bits for everybody, nor the names without a version
// that a linker looks for, nor the driver library to link against.
func completeCUDA(ctx context.Context, dir string) error {
	for _, programs := range []string{"bin", "nvvm/bin"} {
		err := filepath.WalkDir(filepath.Join(dir, programs), func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			return os.Chmod(name, 0o755)
		})
		if err != nil {
			return fmt.Errorf("complete the CUDA toolkit: %w", err)
		}
	}
	lib := filepath.Join(dir, "lib")
	versioned, err := filepath.Glob(filepath.Join(lib, "*.so.*"))
	if err != nil {
		return err
	}
	if len(versioned) == 0 {
		return errors.New("complete the CUDA toolkit: the wheels hold no libraries in lib")
	}
	for _, name := range versioned {
		base := filepath.Base(name)
		plain := base[:strings.Index(base, ".so.")+len(".so")]
		if err := os.Symlink(base, filepath.Join(lib, plain)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := os.Symlink("lib", filepath.Join(dir, "lib64")); err != nil {
		return err
	}
	return driverToLink(ctx, filepath.Join(lib, "stubs"))
}

// driverToLink compiles a library with the driver's name and symbols, for the
// linker alone: at run time the driver's own is found, or the backend is left out.
func driverToLink(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var text strings.Builder
	for _, symbol := range driverSymbols {
		fmt.Fprintf(&text, "int %s(void) { return 100; /* no device */ }\n", symbol)
	}
	compiler := []string{"cc"}
	if set := strings.Fields(os.Getenv("CC")); len(set) > 0 {
		compiler = set
	}
	args := append(compiler[1:], "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-x", "c", "-o", filepath.Join(dir, "libcuda.so"), "-")
	cmd := exec.CommandContext(ctx, compiler[0], args...)
	cmd.Stdin = strings.NewReader(text.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the driver library to link against: %w\n%s", err, out)
	}
	return nil
}
