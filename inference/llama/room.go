package llama

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// checkRoom refuses cells for which there is no memory: the kernel promises more
// than it has, and ends the process when the cells are written. each is what one
// cell takes and free what there is, both in bytes; 0: not known.
func checkRoom(cells int, each, free int64, kvType string) error {
	need := int64(cells) * each
	if each == 0 || free == 0 || need <= free {
		return nil
	}
	smaller := ""
	if kvType == "" || kvType == "f16" {
		kvType, smaller = "f16", ", or cells of type q8_0 or q4_0, which take about a half and a quarter"
	}
	return fmt.Errorf("%d cells of type %s need %s, %d bytes each, and %s of this machine's memory are free: take a context of at most %d cells%s",
		cells, kvType, size(need), each, size(free), free/each, smaller)
}

// size writes bytes as people read them.
func size(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// freeMemory is how many bytes this process could still write before the kernel
// runs out of memory and swap; 0 where it does not say.
func freeMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	return parseFree(bufio.NewScanner(f))
}

// parseFree adds up MemAvailable and SwapFree of /proc/meminfo.
func parseFree(lines *bufio.Scanner) int64 {
	var free int64
	known := false
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if name != "MemAvailable" && name != "SwapFree" {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil || n < 0 || n > 1<<50 {
			return 0
		}
		known = known || name == "MemAvailable"
		free += n << 10
	}
	if !known {
		return 0
	}
	return free
}
