package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// prefixFiles are the files of prefixes below a folder.
func prefixFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*", "*.kv"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestPrefixesOutliveTheServer: a long prompt is not computed again after the server
// ended, well or by SIGKILL, and the answers are the same. Where files are damaged,
// or another model, build or setting wrote them, it is computed.
func TestPrefixesOutliveTheServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "prefixes")
	// Steps of a prompt below maxTile: every logit has the same bits.
	settings := func(kvType string) string {
		return writeConfig(t, fmt.Sprintf("engine: {context: 2048, sequences: 2, micro_batch: 32, kv_type: %s, prefix_cache: {disk: 256MiB, dir: %q}}\n", kvType, dir))
	}
	prompt := question{text: strings.Repeat("The keeper of the lighthouse writes down the wind and the waves each hour. ", 14) + "One night"}
	// Blocks of 64 tokens: all whole ones below the last token of the prompt.
	whole := func(c continuation) int { return (c.prompt - 1) / 64 * 64 }
	run := func(kvType string, kill bool, then func(p *process, c continuation)) {
		t.Helper()
		p := startHearth(t, "--config", settings(kvType))
		c := greedy(p, prompt.path(), prompt.body())
		if c.prompt < 200 {
			t.Fatalf("the prompt has %d tokens: too few to prove anything", c.prompt)
		}
		then(p, c)
		if !kill {
			p.stop()
			return
		}
		// What is idle is written as soon as nothing else is to do.
		p.eventually("the prefix is written", func() bool { return len(prefixFiles(t, dir)) > whole(c)/64 })
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		if err := p.end(); err == nil {
			t.Error("SIGKILL ended the server well")
		}
	}
	var first continuation
	run("f16", true, func(p *process, c continuation) {
		first = c
		if c.cached != 0 {
			t.Errorf("%d tokens of the first prompt are cached", c.cached)
		}
	})
	restored := func(p *process, tier string) int {
		return int(metric(t, p.metrics(), "hearth_prefix_store_restored_tokens_total", `tier="`+tier+`"`))
	}
	same := func(p *process, c continuation) {
		// All but the last, whose logits are needed: the block that it lies in goes on
		// with the answer.
		if c.cached != c.prompt-1 || restored(p, "disk") != c.cached {
			t.Errorf("%d tokens of %d are cached and %d came from files, want all but the last", c.cached, c.prompt, restored(p, "disk"))
		}
		check(t, "after a start", first.steps, c.steps, nearTie)
	}
	run("f16", false, same)
	run("f16", false, same) // what a server leaves that ended well

	files := prefixFiles(t, dir)
	for i, f := range files {
		if st, err := os.Stat(f); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, st.Mode(), err)
		}
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			data = data[:len(data)*2/3]
		} else {
			data[len(data)/2] ^= 4
		}
		if err := os.WriteFile(f, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("f16", false, func(p *process, c continuation) {
		if c.cached != 0 {
			t.Errorf("%d tokens came from damaged files", c.cached)
		}
		check(t, "with damaged files", first.steps, c.steps, nearTie)
		if n := metric(t, p.metrics(), "hearth_prefix_store_dropped_blocks_total", `tier="disk"`, "damaged"); int(n) < len(files)/2 {
			t.Errorf("%v of %d damaged files are counted", n, len(files))
		}
	})

	old := len(prefixFiles(t, dir))
	run("q8_0", false, func(p *process, c continuation) {
		if n := metric(t, p.metrics(), "hearth_prefix_store_dropped_blocks_total", `tier="disk"`, "stale"); c.cached != 0 || int(n) != old {
			t.Errorf("cells of another type: %d tokens cached, %v of %d files deleted", c.cached, n, old)
		}
	})
}
