package main

import (
	"os"
	"path/filepath"
	"runtime"
)

// defaultThreads is one for each core that this process may use: what cgroup
// and affinity allow, without counting a core twice that runs two hardware
// threads, which only wait for each other's arithmetic units.
func defaultThreads() int {
	return max(min(runtime.GOMAXPROCS(0), physicalCores("/sys/devices/system/cpu")), 1)
}

// physicalCores counts the sets of hardware threads below dir, as Linux lists
// them; where it does not, every CPU counts.
func physicalCores(dir string) int {
	files, err := filepath.Glob(filepath.Join(dir, "cpu[0-9]*", "topology", "thread_siblings_list"))
	if err != nil {
		files = nil // the pattern is a constant
	}
	cores := map[string]bool{}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			cores[string(b)] = true
		}
	}
	if len(cores) == 0 {
		return runtime.NumCPU()
	}
	return len(cores)
}
