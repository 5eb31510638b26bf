package cuda

import (
	"fmt"
	"runtime"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"golang.org/x/sys/cpu"
)

// GPU is one NVIDIA GPU as the driver sees it.
type GPU struct {
	Index      int
	Name       string // "NVIDIA GeForce RTX 4090"
	UUID       string
	TotalBytes int64
	FreeBytes  int64
	Compute    string // compute capability: "8.9"
}

// Report is what Detect found. The caller sets Usable and Others, and Threads
// where it is not all of the CPU's.
type Report struct {
	Driver string // "580.65.06"; empty without a driver
	CUDA   string // newest CUDA version the driver supports: "13.0"
	GPUs   []GPU
	// Reason says why there are no GPUs, or why they could not be asked.
	Reason string
	// CPU is the widest vector extension: "AVX-512", "AVX2", "AVX" or "".
	CPU string
	// Threads compute where the CPU does.
	Threads int
	// Usable is how many of the driver's GPUs the loaded backends can compute on.
	Usable int
	// Others describes devices besides these GPUs that models can be offloaded to.
	Others []string
}

// Detect asks the NVIDIA driver for its GPUs. It never fails: what is missing is
// in the report.
func Detect() Report { return detect(nvml.New()) }

func detect(api nvml.Interface) Report {
	r := Report{CPU: vectorExtension(), Threads: runtime.NumCPU()}
	if ret := api.Init(); ret != nvml.SUCCESS {
		r.Reason = reason(api, ret)
		return r
	}
	defer api.Shutdown()
	if v, ret := api.SystemGetDriverVersion(); ret == nvml.SUCCESS {
		r.Driver = v
	}
	if v, ret := api.SystemGetCudaDriverVersion(); ret == nvml.SUCCESS {
		r.CUDA = fmt.Sprintf("%d.%d", v/1000, v%1000/10)
	}
	n, ret := api.DeviceGetCount()
	if ret != nvml.SUCCESS {
		r.Reason = reason(api, ret)
		return r
	}
	for i := range n {
		g, ret := inspect(api, i)
		if ret != nvml.SUCCESS {
			r.Reason = fmt.Sprintf("GPU %d cannot be asked: %s", i, reason(api, ret))
			continue
		}
		r.GPUs = append(r.GPUs, g)
	}
	if n == 0 {
		r.Reason = "the NVIDIA driver sees no GPU"
	}
	return r
}

func inspect(api nvml.Interface, i int) (GPU, nvml.Return) {
	d, ret := api.DeviceGetHandleByIndex(i)
	if ret != nvml.SUCCESS {
		return GPU{}, ret
	}
	g := GPU{Index: i}
	if g.Name, ret = d.GetName(); ret != nvml.SUCCESS {
		return GPU{}, ret
	}
	// the rest is good to know, and missing under some kinds of virtualization
	if g.UUID, ret = d.GetUUID(); ret != nvml.SUCCESS {
		g.UUID = ""
	}
	if m, ret := d.GetMemoryInfo(); ret == nvml.SUCCESS {
		g.TotalBytes, g.FreeBytes = int64(m.Total), int64(m.Free)
	}
	if major, minor, ret := d.GetCudaComputeCapability(); ret == nvml.SUCCESS {
		g.Compute = fmt.Sprintf("%d.%d", major, minor)
	}
	return g, nvml.SUCCESS
}

// reason says what an answer of NVML means for an operator.
func reason(api nvml.Interface, ret nvml.Return) string {
	switch ret {
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return "no NVIDIA driver found"
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return "the NVIDIA driver is installed but not loaded (modprobe nvidia, or reboot)"
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return "the NVIDIA driver was updated while it ran (reboot)"
	case nvml.ERROR_NO_PERMISSION:
		return "this user may not use the NVIDIA devices (see the rights of /dev/nvidia*)"
	case nvml.ERROR_GPU_IS_LOST:
		return "it has fallen off the bus (reboot)"
	default:
		return "the NVIDIA driver answers: " + api.ErrorString(ret)
	}
}

func vectorExtension() string {
	switch {
	case cpu.X86.HasAVX512F:
		return "AVX-512"
	case cpu.X86.HasAVX2:
		return "AVX2"
	case cpu.X86.HasAVX:
		return "AVX"
	default:
		return ""
	}
}
