package cuda

import (
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
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
	remote := []string{"RPC0 (192.0.2.7:50052)", "RPC1 (192.0.2.8:50052)"}
	for _, tc := range []struct {
		name   string
		api    nvml.Interface
		usable int
		want   string
	}{
		{"no driver", driver(nvml.ERROR_LIBRARY_NOT_FOUND), 0, "no NVIDIA driver found: serving on RPC0 (192.0.2.7:50052), RPC1 (192.0.2.8:50052) and the CPU (1 thread)"},
		{"no backend", driver(nvml.SUCCESS, card), 0, "NVIDIA GeForce RTX 4090 (22.5 of 24.0 GiB free), driver 580.65.06, CUDA 13.1: no backend can use it (run make cuda, or update the driver): serving on RPC0 (192.0.2.7:50052), RPC1 (192.0.2.8:50052) and the CPU (1 thread)"},
		{"a GPU too", driver(nvml.SUCCESS, card), 1, "NVIDIA GeForce RTX 4090 (22.5 of 24.0 GiB free), driver 580.65.06, CUDA 13.1; also RPC0 (192.0.2.7:50052), RPC1 (192.0.2.8:50052)"},
	} {
		r := detect(tc.api)
		r.Threads, r.CPU, r.Usable, r.Others = 1, "", tc.usable, remote
		if got := r.Line(); got != tc.want {
			t.Errorf("with RPC devices, %s:\n got %s\nwant %s", tc.name, got, tc.want)
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
