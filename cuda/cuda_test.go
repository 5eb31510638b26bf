package cuda

import (
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"pgregory.net/rapid"
)

// driver is an NVML that answers as told.
func driver(initRet nvml.Return, gpus ...*mock.Device) *mock.Interface {
	return &mock.Interface{
		InitFunc:                       func() nvml.Return { return initRet },
		ShutdownFunc:                   func() nvml.Return { return nvml.SUCCESS },
		ErrorStringFunc:                func(r nvml.Return) string { return "error 999" },
		SystemGetDriverVersionFunc:     func() (string, nvml.Return) { return "580.65.06", nvml.SUCCESS },
		SystemGetCudaDriverVersionFunc: func() (int, nvml.Return) { return 13010, nvml.SUCCESS },
		DeviceGetCountFunc:             func() (int, nvml.Return) { return len(gpus), nvml.SUCCESS },
		DeviceGetHandleByIndexFunc: func(i int) (nvml.Device, nvml.Return) {
			if gpus[i] == nil {
				return nil, nvml.ERROR_GPU_IS_LOST
			}
			return gpus[i], nvml.SUCCESS
		},
	}
}

func gpu(name string, total, free uint64, bare bool) *mock.Device {
	ret := nvml.SUCCESS
	if bare {
		ret = nvml.ERROR_NOT_SUPPORTED
	}
	return &mock.Device{
		GetNameFunc:                  func() (string, nvml.Return) { return name, nvml.SUCCESS },
		GetUUIDFunc:                  func() (string, nvml.Return) { return "GPU-1", ret },
		GetMemoryInfoFunc:            func() (nvml.Memory, nvml.Return) { return nvml.Memory{Total: total, Free: free}, ret },
		GetCudaComputeCapabilityFunc: func() (int, int, nvml.Return) { return 8, 9, ret },
	}
}

func TestLine(t *testing.T) {
	const g = 1 << 30
	card := gpu("NVIDIA GeForce RTX 4090", 24*g, 22*g+g/2, false)
	for _, tc := range []struct {
		name   string
		api    nvml.Interface
		usable int
		want   string
	}{
		{"no driver", driver(nvml.ERROR_LIBRARY_NOT_FOUND), 0, "no NVIDIA driver found: serving on the CPU (2 threads, AVX2)"},
		{"not loaded", driver(nvml.ERROR_DRIVER_NOT_LOADED), 0, "the NVIDIA driver is installed but not loaded (modprobe nvidia, or reboot): serving on the CPU (2 threads, AVX2)"},
		{"updated", driver(nvml.ERROR_LIB_RM_VERSION_MISMATCH), 0, "the NVIDIA driver was updated while it ran (reboot): serving on the CPU (2 threads, AVX2)"},
		{"no rights", driver(nvml.ERROR_NO_PERMISSION), 0, "this user may not use the NVIDIA devices (see the rights of /dev/nvidia*): serving on the CPU (2 threads, AVX2)"},
		{"odd", driver(nvml.ERROR_UNKNOWN), 0, "the NVIDIA driver answers: error 999: serving on the CPU (2 threads, AVX2)"},
		{"no GPU", driver(nvml.SUCCESS), 0, "the NVIDIA driver sees no GPU: serving on the CPU (2 threads, AVX2)"},
		{"one", driver(nvml.SUCCESS, card), 1, "NVIDIA GeForce RTX 4090 (22.5 of 24.0 GiB free), driver 580.65.06, CUDA 13.1"},
		{"one without a backend", driver(nvml.SUCCESS, card), 0, "NVIDIA GeForce RTX 4090 (22.5 of 24.0 GiB free), driver 580.65.06, CUDA 13.1: no backend can use it (run make cuda, or update the driver): serving on the CPU (2 threads, AVX2)"},
		{"two", driver(nvml.SUCCESS, card, gpu("NVIDIA L4", 0, 0, true)), 1, "NVIDIA GeForce RTX 4090 (22.5 of 24.0 GiB free), NVIDIA L4, driver 580.65.06, CUDA 13.1: 1 of 2 are used"},
		{"one lost", driver(nvml.SUCCESS, card, nil), 1, "NVIDIA GeForce RTX 4090 (22.5 of 24.0 GiB free), driver 580.65.06, CUDA 13.1; GPU 1 cannot be asked: it has fallen off the bus (reboot)"},
		{"all lost", driver(nvml.SUCCESS, nil), 0, "GPU 0 cannot be asked: it has fallen off the bus (reboot): serving on the CPU (2 threads, AVX2)"},
	} {
		r := detect(tc.api)
		r.Threads, r.CPU, r.Usable = 2, "AVX2", tc.usable
		if got := r.Line(); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
	if got := (Report{Reason: "x", Threads: 1}).Line(); got != "x: serving on the CPU (1 thread)" {
		t.Errorf("one thread: %s", got)
	}
}

// Whatever this machine has, Detect answers in one line.
func TestDetectHere(t *testing.T) {
	r := Detect()
	line := r.Line()
	if line == "" || strings.Contains(line, "\n") || r.Threads < 1 || len(r.GPUs) == 0 && r.Reason == "" {
		t.Errorf("%+v says %q", r, line)
	}
	t.Log(line)
}

func TestPlan(t *testing.T) {
	need := Need{Layers: 33, Weights: 33 * 100, Cache: 33 * 10, Compute: 50}
	for _, tc := range []struct {
		name   string
		need   Need
		free   []int64
		margin int64
		want   []int
		line   string
	}{
		{"no GPU", need, nil, 100, nil, "none of 33 layers fits on a GPU: all stay on the CPU"},
		{"no room", need, []int64{259}, 100, []int{0}, "none of 33 layers fits on a GPU: all stay on the CPU"},
		{"one layer", need, []int64{260}, 100, []int{1}, "1 of 33 layers fit on GPUs, the CPU has the rest"},
		{"all but one", need, []int64{33*110 + 149}, 100, []int{32}, "32 of 33 layers fit on GPUs, the CPU has the rest"},
		{"all", need, []int64{33*110 + 150}, 100, []int{33}, "all 33 layers fit on GPUs"},
		{"plenty", need, []int64{1 << 40}, 100, []int{33}, "all 33 layers fit on GPUs"},
		{"less than nothing", need, []int64{-5}, 100, []int{0}, "none of 33 layers fits on a GPU: all stay on the CPU"},
		{"two alike", need, []int64{1 << 40, 1 << 40}, 100, []int{17, 16}, "all 33 layers fit on GPUs"},
		{"one twice as free", need, []int64{150 + 22*110, 150 + 11*110}, 100, []int{22, 11}, "all 33 layers fit on GPUs"},
		{"one full", need, []int64{0, 150 + 11*110}, 100, []int{0, 11}, "11 of 33 layers fit on GPUs, the CPU has the rest"},
		{"cells on the host", Need{Layers: 33, Weights: 33 * 100, Compute: 50}, []int64{33*100 + 150}, 100, []int{33}, "all 33 layers fit on GPUs"},
		{"no layers", Need{}, []int64{100}, 0, []int{0}, "none of 0 layers fits on a GPU: all stay on the CPU"},
	} {
		got := Plan(tc.need, tc.free, tc.margin)
		if !slices.Equal(got.PerGPU, tc.want) || got.Line() != tc.line {
			t.Errorf("%s: %+v (%s), want %v (%s)", tc.name, got, got.Line(), tc.want, tc.line)
		}
	}
}

// No plan overfills a GPU, loses a layer, or leaves one out that would fit.
func TestPlanFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		need := Need{
			Layers:  rapid.IntRange(1, 200).Draw(t, "layers"),
			Weights: rapid.Int64Range(0, 1<<40).Draw(t, "weights"),
			Cache:   rapid.Int64Range(0, 1<<38).Draw(t, "cache"),
			Compute: rapid.Int64Range(0, 1<<32).Draw(t, "compute"),
		}
		free := rapid.SliceOfN(rapid.Int64Range(0, 1<<37), 0, 8).Draw(t, "free")
		margin := rapid.Int64Range(0, 1<<30).Draw(t, "margin")
		o := Plan(need, free, margin)
		layer := (need.Weights + need.Cache + int64(need.Layers) - 1) / int64(need.Layers)
		sum := 0
		for i, n := range o.PerGPU {
			sum += n
			if n < 0 || n > 0 && int64(n)*layer+need.Compute+margin > free[i] {
				t.Fatalf("GPU %d of %d bytes gets %d layers of %d", i, free[i], n, layer)
			}
		}
		if sum != o.Layers || o.Layers > need.Layers {
			t.Fatalf("%+v does not add up", o)
		}
		for i, n := range o.PerGPU {
			if o.Layers < need.Layers && int64(n+1)*layer+need.Compute+margin <= free[i] {
				t.Fatalf("%+v: one more fits on GPU %d", o, i)
			}
		}
	})
}
