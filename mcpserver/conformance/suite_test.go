package conformance

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"hearth/inference"
	"hearth/internal/httpserver"
	"hearth/internal/testkit"
	"hearth/mcpserver"
	"hearth/mcpserver/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noModels serves none: the suite calls no tool of a model.
type noModels struct{}

func (noModels) List() []inference.ModelStatus { return nil }

func (noModels) Acquire(context.Context, string) (inference.Lease, error) {
	return nil, inference.ErrModelNotFound
}

// serve serves the fixture as Hearth serves its connectors, and returns the URL.
func serve(t *testing.T) string {
	t.Helper()
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel)
	r, err := router.New(router.DefaultConfig(), router.Deps{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add("", &fixture{}, router.Options{}); err != nil {
		t.Fatal(err)
	}
	s, err := mcpserver.New(mcpserver.Config{Models: noModels{}, Router: r, Log: log, Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	web := httpserver.New(httpserver.DefaultConfig(), httpserver.Options{Log: log})
	web.Router().Handle("/mcp", s.Handler())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(ctx, []net.Listener{l}, func(context.Context) { s.Drain() }) }()
	t.Cleanup(func() {
		stop()
		err := <-ended
		s.Close()
		if err := errors.Join(err, r.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String() + "/mcp"
}

// required are the server's scenarios of a revision, as the suite itself lists them.
func required(t *testing.T, modules, revision string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(modules, "@modelcontextprotocol", "conformance", "requirements", revision+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	in := false
	for line := range strings.Lines(string(raw)) {
		switch line = strings.TrimRight(line, "\n"); {
		case line == "server:":
			in = true
		case in && strings.HasPrefix(line, "  - "):
			out = append(out, strings.TrimPrefix(line, "  - "))
		case in && line != "" && !strings.HasPrefix(line, " "):
			in = false
		}
	}
	slices.Sort(out)
	return out
}

// summed is a line of the suite's summary.
var summed = regexp.MustCompile(`(?m)^\s*(\S+) ([a-z0-9-]+): (\d+) passed, (\d+) failed$`)

// TestSuite runs what each revision requires, with no list of failures that are
// expected: every scenario passes all of its checks.
func TestSuite(t *testing.T) {
	node, modules := testkit.NPM(t)
	for revision, want := range map[string]int{"2025-11-25": 30, "2026-07-28": 37} {
		t.Run(revision, func(t *testing.T) {
			asked := required(t, modules, revision)
			if len(asked) != want {
				t.Fatalf("the suite asks for %d scenarios, expected %d: %q", len(asked), want, asked)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			var out bytes.Buffer
			cmd := exec.CommandContext(ctx, node, filepath.Join(modules, "@modelcontextprotocol", "conformance", "dist", "index.js"),
				"server", "--url", serve(t), "--requirements", revision, "-o", t.TempDir())
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				t.Errorf("the suite: %v", err)
			}
			var passed []string
			for _, line := range summed.FindAllStringSubmatch(out.String(), -1) {
				if slices.Contains(asked, line[2]) && line[1] == "✓" && line[3] != "0" && line[4] == "0" {
					passed = append(passed, line[2])
				}
			}
			slices.Sort(passed)
			t.Logf("%d of %d scenarios of %s pass", len(passed), len(asked), revision)
			if !slices.Equal(passed, asked) {
				t.Errorf("these pass: %q\nthese are required: %q\n%s", passed, asked, out.String())
			}
		})
	}
}
