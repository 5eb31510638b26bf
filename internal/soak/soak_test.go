package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	line := []byte("4711 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 9 0 123\n")
	id, got, err := parseStat(line)
	if err != nil || id != 4711 || got.name != "a (b) c" || got.seconds != 4 {
		t.Errorf("%d %+v %v", id, got, err)
	}
	for _, bad := range []string{"", "12", "12 (x", "x (y) S 1", "12 (x) S 1 2 3", "12 (x) S 1 2 3 4 5 6 7 8 9 10 a b 0"} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestReadsThisProcess(t *testing.T) {
	threads, err := readThreads("/proc/self")
	if err != nil || len(threads) == 0 || threads[os.Getpid()].name == "" {
		t.Errorf("%v, %v", threads, err)
	}
	if n, err := readMemory("/proc/self"); err != nil || n < 1<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := readTotal("/proc/self"); err != nil {
		t.Error(err)
	}
	if _, err := readThreads("/proc/none"); err == nil {
		t.Error("no error for no process")
	}
}

func TestComputing(t *testing.T) {
	from := map[int]thread{1: {"hearth", 5}, 2: {computeName, 10}}
	to := map[int]thread{1: {"hearth", 6}, 2: {computeName, 30}, 3: {"hearth", 19}, 4: {"hearth", 2}}
	for n, want := range map[int]float64{1: 20, 2: 39, 3: 41, 9: 42} {
		if got := computing(from, to, n); got != want {
			t.Errorf("%d threads compute for %v s, want %v", n, got, want)
		}
	}
}

// recordOf is a record of a minute that is warm after ten seconds.
func recordOf(growth int64, others float64, wait time.Duration) *record {
	r := &record{Model: "m.gguf", Streams: 4, Threads: 2, Warm: 10}
	for s := 0.0; s <= 60; s += 2 {
		r.read(reading{Seconds: s, Memory: 100<<20 + int64(s)*growth + int64(max(10-s, 0))*-5<<20, Total: s, Computing: s * (1 - others)})
	}
	r.waited(true, wait)
	r.waited(false, time.Millisecond)
	r.ended(2)
	return r
}

// movedCells is a record whose memory falls once and grows to where it was.
func movedCells() *record {
	r := recordOf(0, 0.05, time.Second)
	for i := range r.Readings {
		r.Readings[i].Memory = int64(100+i%20) << 20
	}
	return r
}

func TestReport(t *testing.T) {
	b := bounds{Growth: 0.05, Others: 0.1, Wait: time.Minute}
	for name, c := range map[string]struct {
		r    *record
		want string
	}{
		"":                {recordOf(10_000, 0.05, time.Second), ""},
		"cells move":      {movedCells(), ""},
		"memory grows":    {recordOf(1<<20, 0.05, time.Second), "growth of the peak"},
		"Go takes a lot":  {recordOf(0, 0.2, time.Second), "anything but the threads"},
		"somebody waits":  {recordOf(0, 0.05, 2*time.Minute), "first token: 2m0s, at most 1m0s"},
		"nothing to read": {&record{Warm: 10}, "too short"},
	} {
		text, err := c.r.report(b)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if c.want != "too short" && (!strings.Contains(text, "| bound |") || strings.Contains(text, "exceeded") != (c.want != "")) {
			t.Errorf("%s: %s", name, text)
		}
	}
	folder := t.TempDir()
	var printed strings.Builder
	if err := publish(&printed, folder, "streams", "text", recordOf(0, 0, 0)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(folder + "/streams.json")
	if err != nil || !strings.Contains(string(data), `"computing_cpu_seconds"`) || printed.String() != "text" {
		t.Errorf("%s, %q, %v", data, printed.String(), err)
	}
}
