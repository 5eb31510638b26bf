package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"hearth/internal/testkit"
	"hearth/models"
)

// command is one run of the program to its end.
type command struct {
	name string
	in   string
	args []string
	code int    // the exit code; below 0: any of the program's own
	say  string // what the output has to say, a regular expression
}

// check runs hearth and wants an exit of its own, not a signal, a panic or an
// abort in C.
func (c *command) check(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, hearthBinary(t), c.args...)
	cmd.Dir, cmd.Stdin = t.TempDir(), strings.NewReader(c.in)
	raw, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	code, out := cmd.ProcessState.ExitCode(), string(raw)
	switch {
	case !cmd.ProcessState.Exited() || strings.Contains(out, "goroutine ") || strings.Contains(out, "fatal error"):
		t.Errorf("%s: it died: %v\n%.3000s", c.name, cmd.ProcessState, out)
	case c.code >= 0 && code != c.code || code > 6:
		t.Errorf("%s: exit code %d, want %d\n%.2000s", c.name, code, c.code, out)
	case !regexp.MustCompile(c.say).MatchString(out):
		t.Errorf("%s: it does not say %q\n%.2000s", c.name, c.say, out)
	}
}

// TestCommandsSurviveWhatKillsLlamaCpp gives the commands, whose process loads
// the model itself, the inputs that a server is given over HTTP.
func TestCommandsSurviveWhatKillsLlamaCpp(t *testing.T) {
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := writeConfig(t, fmt.Sprintf("models: [{id: plain, path: %q, embeddings: true}]\n"+
		"engine: {threads: 1, context: 2048, sequences: 4, batch: 64, micro_batch: 64, embeddings: {batch: 256}, trial: {off: true}}\n", testkit.Model(t)))
	load := func(args ...string) []string { return append(args, "--config", config, "--model", "plain") }
	letters, half, long := strings.Repeat("a", 50_000), "\xff\xfe", strings.Repeat("one two three ", 2000)
	const tooLong, few = `has \d+ tokens,? and (the context holds|this model computes at most) \d+`, "--max-tokens=2"
	pattern := file("pattern.json", `{"type":"string","pattern":"^`+strings.Repeat("(", 30_000)+strings.Repeat(")", 30_000)+`$"}`)
	for _, c := range []command{
		{"a run of one letter to continue", letters, load("generate", few), 1, tooLong},
		{"a run of one letter to answer", letters, load("chat", few), 1, tooLong},
		{"a run of one letter to embed", letters, load("embed"), 1, tooLong},
		{"half of a character to continue", half, load("generate", few), -1, "UTF-8"},
		{"half of a character to answer", half, load("chat", few), -1, "UTF-8"},
		{"half of a character to embed", half, load("embed"), -1, "UTF-8"},
		{"more than the context", long, load("generate", few), 1, tooLong},
		{"schema 20,000 deep", "x", load("generate", few, "--json-schema", file("deep.json", nested(20_000))), 2, "max depth"},
		{"pattern with 30,000 groups", "x", load("generate", few, "--json-schema", pattern), 1, "nests too deeply"},
		{"more choices than ids", "x", load("generate", few, "--n", "257"), -1, "16"},
		{"RPC server that is not there", "x", load("generate", few, "--rpc", "127.0.0.1:1"), exitModelCode, "127.0.0.1:1"},
		{"a batch line that is no UTF-8", "", load("batch", file("half.jsonl", `{"custom_id":"1","method":"POST","url":"/v1/completions","body":{"prompt":"`+half+`"}}`), "-o", "out.jsonl"), -1, "UTF-8"},
		{"a batch line 20,000 deep", "", load("batch", file("deep.jsonl", `{"custom_id":"1","method":"POST","url":"/v1/completions","body":`+nested(20_000)+`}`), "-o", "out.jsonl"), -1, "line 1"},
	} {
		c.check(t)
	}
}

// TestBatchSurvivesWhatKillsLlamaCpp sends all inputs that are to be refused, and
// that a line of a batch can hold, in one.
func TestBatchSurvivesWhatKillsLlamaCpp(t *testing.T) {
	config := writeConfig(t, fmt.Sprintf("models: [{id: plain, path: %q, embeddings: true}]\n"+
		"engine: {threads: 1, context: 2048, sequences: 4, batch: 64, micro_batch: 64, embeddings: {batch: 256}, trial: {off: true}}\n", testkit.Model(t)))
	var lines strings.Builder
	sent := 0
	for _, l := range lethals() {
		for _, d := range doors() {
			if d.harmless || !strings.HasPrefix(d.path, "/v1/") || d.name == "detokenize" || l.served || l.model != "" {
				continue
			}
			body := d.body(&l)
			if l.only != nil {
				body = l.only[d.name]
			}
			if body == "" || !utf8.ValidString(body) || !json.Valid([]byte(body)) || len(body) > 1<<20 {
				continue // such a line is refused before anything is sent
			}
			sent++
			fmt.Fprintf(&lines, `{"custom_id":"%d","method":"POST","url":%q,"body":%s}`+"\n", sent, d.path, body)
		}
	}
	dir := t.TempDir()
	in, out, failed := filepath.Join(dir, "in.jsonl"), filepath.Join(dir, "out.jsonl"), filepath.Join(dir, "out.errors.jsonl")
	if err := os.WriteFile(in, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	(&command{"batch", "", []string{"batch", in, "-o", out, "--config", config, "--model", "plain"}, 6, ""}).check(t)
	answered := 0
	for _, path := range []string{out, failed} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		answered += strings.Count(string(b), "\n")
	}
	if answered != sent || sent < 20 {
		t.Errorf("%d lines were sent and %d answered", sent, answered)
	}
}

// TestCommandsSurviveBadModels gives the commands files that llama.cpp aborts on,
// and some with flipped bits, of which nobody knows what it does.
func TestCommandsSurviveBadModels(t *testing.T) {
	bad, whole := badModel(t), testkit.Model(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // nothing is known to pass
	load := []string{"--model", bad, "--threads", oneThread, "--context", "256"}
	const refusal = "SIGABRT.*download or convert it again"
	input := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(input, []byte(`{"custom_id":"1","method":"POST","url":"/v1/completions","body":{"prompt":"x"}}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []command{
		{"info", "", []string{"models", "info", bad}, 0, "architecture"},
		{"all info", "", []string{"models", "info", "--all", bad}, 0, "expert_used_count"},
		{"generate", "x", append([]string{"generate"}, load...), exitModelCode, refusal},
		{"chat", "x", append([]string{"chat"}, load...), exitModelCode, refusal},
		{"embed", "x", append([]string{"embed"}, load...), exitModelCode, refusal},
		{"batch", "", append([]string{"batch", input, "-o", "out.jsonl"}, load...), exitModelCode, refusal},
		{"serve", "", append([]string{"serve", "--listen", "127.0.0.1:0"}, load...), exitModelCode, refusal},
		{"mcp", `{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n", append([]string{"mcp"}, load...), exitModelCode, refusal},
	} {
		c.check(t)
	}
	seed := testkit.Number(t, "HEARTH_KILLS_SEED", rand.Uint64())
	t.Logf("HEARTH_KILLS_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range 6 {
		path := flipped(t, rng, whole, i)
		for _, c := range []command{
			{"info of " + path, "", []string{"models", "info", path}, -1, ""},
			{"generate with " + path, "x", []string{"generate", "--model", path, "--threads", oneThread, "--context", "256", "--max-tokens", "2"}, -1, ""},
		} {
			c.check(t)
		}
	}
}

// flipped writes the header of a model with three flipped bits. The
// weights behind it are a hole in the file.
func flipped(t *testing.T, rng *rand.Rand, whole string, i int) string {
	t.Helper()
	h, err := models.Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, h.DataOffset)
	if _, err := f.Read(head); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		head[rng.IntN(len(head))] ^= 1 << rng.IntN(8)
	}
	path := filepath.Join(t.TempDir(), fmt.Sprintf("flipped-%d.gguf", i))
	if err := os.WriteFile(path, head, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, h.FileBytes); err != nil {
		t.Fatal(err)
	}
	return path
}
