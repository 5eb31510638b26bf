package upstream_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/testkit"
)

// TestConformance runs the official suite against the connector as its client: all
// that a revision of the protocol requires, with no list of expected failures.
func TestConformance(t *testing.T) {
	node, modules := testkit.NPM(t)
	client := filepath.Join(t.TempDir(), "client")
	if out, err := exec.Command("go", "build", "-o", client, "./internal/conformance").CombinedOutput(); err != nil {
		t.Fatalf("build the client: %v\n%s", err, out)
	}
	for _, revision := range []struct {
		name      string
		scenarios int
	}{{"2025-11-25", 18}, {"2026-07-28", 32}} {
		t.Run(revision.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, node, filepath.Join(modules, "@modelcontextprotocol", "conformance", "dist", "index.js"),
				"client", "--command", client, "--requirements", revision.name, "-o", t.TempDir())
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			passed, failed := scored(out.String())
			if err != nil || len(passed) != revision.scenarios || len(failed) != 0 {
				text := out.String()
				t.Fatalf("%d of %d scenarios passed, failed: %v (%v)\n%s", len(passed), revision.scenarios, failed, err, text[max(0, len(text)-20_000):])
			}
			t.Logf("%d of %d scenarios passed", len(passed), revision.scenarios)
		})
	}
}

// scored reads the suite's summary: which of the required scenarios passed, and
// which did not. What it ran besides and does not score is left out.
func scored(out string) (passed, failed []string) {
	_, summary, _ := strings.Cut(out, "=== SUITE SUMMARY ===")
	summary, besides, _ := strings.Cut(summary, "Not scored for")
	for _, line := range strings.Split(summary, "\n") {
		mark, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ := strings.Cut(rest, ":")
		switch {
		case mark != "✓" && mark != "✗", strings.Contains(besides, " "+name+" ("):
		case mark == "✓":
			passed = append(passed, name)
		default:
			failed = append(failed, name)
		}
	}
	return passed, failed
}

func TestScored(t *testing.T) {
	passed, failed := scored("x\n=== SUITE SUMMARY ===\n\n✓ a: 1 passed, 0 failed\n✗ b: 0 passed, 2 failed\n✗ ext/c: 1 failed\n\nTotal: 1\n\nNot scored for X: 1\n  ✗ ext/c (extension)\n")
	if got := fmt.Sprint(passed, failed); got != "[a] [b]" {
		t.Errorf("scored %s", got)
	}
}
