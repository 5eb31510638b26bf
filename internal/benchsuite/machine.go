package main

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// machine describes where a report was made.
type machine struct {
	CPU        string `json:"cpu"`
	CPUs       int    `json:"cpus"` // that this process may use
	Virtual    bool   `json:"virtual"`
	Governor   string `json:"governor,omitempty"`
	MemoryKB   int64  `json:"memory_kb"`
	System     string `json:"system"`
	Kernel     string `json:"kernel"`
	Load       string `json:"load"` // load averages at the start
	Go         string `json:"go"`
	Commit     string `json:"commit"`
	LlamaCPP   string `json:"llama_cpp"`
	HearthText string `json:"hearth"`
}

// describe reads what the machine says of itself. What it does not say is empty.
func describe(s settings) machine {
	m := machine{CPUs: runtime.NumCPU(), Go: runtime.Version()}
	m.CPU, m.Virtual = parseCPU(read("/proc/cpuinfo"))
	m.Governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	if fields := strings.Fields(read("/proc/meminfo")); len(fields) > 1 {
		m.MemoryKB, _ = strconv.ParseInt(fields[1], 10, 64)
	}
	m.System = parseRelease(read("/etc/os-release"))
	m.Kernel = read("/proc/sys/kernel/osrelease")
	m.Load = loadAverage()
	m.Commit = firstLine(exec.Command("git", "rev-parse", "HEAD"))
	if changes := firstLine(exec.Command("git", "status", "--porcelain", "--untracked-files=no")); changes != "" {
		m.Commit += " with changes"
	}
	m.LlamaCPP = firstLine(exec.Command(s.Yardstick+"/llama-server", "--version"))
	m.HearthText = firstLine(exec.Command(s.Hearth, "version"))
	return m
}

func loadAverage() string {
	if fields := strings.Fields(read("/proc/loadavg")); len(fields) >= 3 {
		return strings.Join(fields[:3], " ")
	}
	return ""
}

func read(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "" // not every machine has every file
	}
	return strings.TrimSpace(string(raw))
}

func firstLine(cmd *exec.Cmd) string {
	cmd.SysProcAttr = diesWithUs()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// parseCPU finds the model's name, and whether a hypervisor is announced.
func parseCPU(cpuinfo string) (name string, virtual bool) {
	lines := bufio.NewScanner(strings.NewReader(cpuinfo))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch strings.TrimSpace(key) {
		case "model name":
			name = strings.TrimSpace(value)
		case "flags":
			virtual = strings.Contains(" "+value+" ", " hypervisor ")
		}
	}
	return name, virtual
}

func parseRelease(release string) string {
	for line := range strings.Lines(release) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return ""
}
