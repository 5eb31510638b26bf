package llama

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestRoomForCells(t *testing.T) {
	for _, c := range []struct {
		name       string
		cells      int
		each, free int64
		kvType     string
		want       string // in the refusal; "" if there is room
	}{
		{"fits", 100, 10, 1000, "", ""},
		{"cell size not known", 1 << 28, 0, 1000, "", ""},
		{"memory not known", 1 << 28, 1 << 20, 0, "", ""},
		{
			"too many", 8192, 1 << 20, 3 << 30, "",
			"8192 cells of type f16 need 8.0 GiB, 1048576 bytes each, and 3.0 GiB of this machine's memory are free: take a context of at most 3072 cells, or cells of type q8_0",
		},
		{"too many small ones", 2, 1 << 20, 1 << 20, "q4_0", "2 cells of type q4_0 need 2.0 MiB, 1048576 bytes each, and 1.0 MiB of this machine's memory are free: take a context of at most 1 cells"},
	} {
		err := checkRoom(c.cells, c.each, c.free, c.kvType)
		switch {
		case (err == nil) != (c.want == ""):
			t.Errorf("%s: %v", c.name, err)
		case err != nil && !strings.HasPrefix(err.Error(), c.want):
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		case c.kvType == "q4_0" && strings.Contains(err.Error(), "q8_0"):
			t.Errorf("%s: larger cells are recommended: %v", c.name, err)
		}
	}
}

func TestFreeMemory(t *testing.T) {
	for text, want := range map[string]int64{
		"MemTotal: 100 kB\nMemAvailable:     20 kB\nSwapFree: 3 kB\n": 23 << 10,
		"MemAvailable: 20 kB\n":            20 << 10,
		"SwapFree: 3 kB\n":                 0,
		"MemAvailable: many kB\n":          0,
		"MemAvailable: 9223372036854 GB\n": 0,
		"":                                 0,
	} {
		if got := parseFree(bufio.NewScanner(strings.NewReader(text))); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if got := freeMemory(); got < 1<<20 {
		t.Errorf("this machine has %d bytes", got)
	}
}

// TestContextWithoutRoom asks for more cells than any machine of today holds.
func TestContextWithoutRoom(t *testing.T) {
	m := sharedModel(t)
	for kv, each := range map[string]string{"f16": "23040 bytes each", "q8_0": "12240 bytes each", "q4_0": "6480 bytes each"} {
		c, err := m.NewContext(ContextOptions{Cells: maxCells, KVType: kv, Threads: 1, Unified: true})
		if err == nil {
			must(t, c.Close())
			t.Fatalf("%d cells of type %s were made", maxCells, kv)
		}
		for _, say := range []string{"create context of 268435456 cells", each, "memory are free: take a context of at most"} {
			if !strings.Contains(err.Error(), say) {
				t.Errorf("%s: %v does not say %q", kv, err, say)
			}
		}
	}
}

// TestUnwrittenCells holds that cells take memory when they are written, not
// when the context is made.
func TestUnwrittenCells(t *testing.T) {
	const cells, each, pages = 16384, 23040, 16 << 20
	m := sharedModel(t)
	tokens := tokenize(t, m, story)
	before := residentMemory(t)
	c := newContext(t, m, ContextOptions{Cells: cells, Sequences: 2, Unified: true, Threads: 1})
	complete(t, c, 0, tokens, 8, greedySpec())
	// Compute buffers are a part of it; their size does not depend on the cells.
	const computes = 64 << 20
	if grown, written := residentMemory(t)-before, int64(len(tokens)+8)*each; grown > written+computes+pages {
		t.Errorf("%d cells of %d bytes are held after %d bytes were written: %d bytes more", cells, each, written, grown)
	}
}

// residentMemory is how much memory this process holds of its own.
func residentMemory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, line, ok := strings.Cut(string(status), "RssAnon:")
	line, _, ended := strings.Cut(line, "kB")
	n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if !ok || !ended || err != nil {
		t.Fatalf("no RssAnon in %s", status)
	}
	return n << 10
}
