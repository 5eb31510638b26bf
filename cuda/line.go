package cuda

import (
	"fmt"
	"strings"
)

// Line says in one line what models are computed on, for the log.
func (r Report) Line() string {
	if len(r.GPUs) == 0 {
		return fmt.Sprintf("%s: serving on %s", r.Reason, r.rest())
	}
	names := make([]string, len(r.GPUs))
	for i, g := range r.GPUs {
		names[i] = g.Name
		if g.TotalBytes > 0 {
			names[i] += fmt.Sprintf(" (%.1f of %.1f GiB free)", gib(g.FreeBytes), gib(g.TotalBytes))
		}
	}
	line := strings.Join(names, ", ") + ", " + r.driver()
	if r.Reason != "" {
		line += "; " + r.Reason
	}
	if r.Usable == 0 {
		return line + ": no backend can use it (run make cuda, or update the driver): serving on " + r.rest()
	}
	if r.Usable < len(r.GPUs) {
		line += fmt.Sprintf(": %d of %d are used", r.Usable, len(r.GPUs))
	}
	if len(r.Others) > 0 {
		line += "; also " + strings.Join(r.Others, ", ")
	}
	return line
}

// rest is what computes where no GPU of the driver does.
func (r Report) rest() string {
	if len(r.Others) == 0 {
		return r.cpu()
	}
	return strings.Join(r.Others, ", ") + " and " + r.cpu()
}

func (r Report) cpu() string {
	threads := fmt.Sprintf("%d threads", r.Threads)
	if r.Threads == 1 {
		threads = "1 thread"
	}
	if r.CPU != "" {
		threads += ", " + r.CPU
	}
	return "the CPU (" + threads + ")"
}

func (r Report) driver() string {
	s := "driver"
	if r.Driver != "" {
		s += " " + r.Driver
	}
	if r.CUDA != "" {
		s += ", CUDA " + r.CUDA
	}
	return s
}

func gib(bytes int64) float64 { return float64(bytes) / (1 << 30) }
