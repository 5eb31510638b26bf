package subject

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Main runs an evaluation with the program's arguments, until a signal ends it, and
// ends the program with 1 if that failed.
func Main(name string, run func(ctx context.Context, args []string, out, messages io.Writer) error) {
	runtime.LockOSThread() // the servers end with the thread that starts them
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}

// Programs are the servers that evaluations start.
type Programs struct {
	// Hearth and Llama are the programs.
	Hearth, Llama string
	// Threads are those of each server.
	Threads int
	// Context is that of each, in tokens; Sequences is how many requests run at the
	// same time.
	Context, Sequences int
}

// Flags adds those that say which programs are started.
func (p *Programs) Flags(set *flag.FlagSet) {
	set.StringVar(&p.Hearth, "hearth", filepath.Join("build", "out", "bin", "hearth"), "the program of Hearth")
	set.IntVar(&p.Threads, "threads", runtime.NumCPU(), "threads of each server")
}

// YardstickFlags adds those of an evaluation that compares with llama-server.
func (p *Programs) YardstickFlags(set *flag.FlagSet) {
	p.Flags(set)
	set.StringVar(&p.Llama, "llama-server", filepath.Join("build", "out", "yardsticks", "llama-server"), "the program to compare with")
}

// StartHearth serves a model, with more arguments than those that p holds.
func (p *Programs) StartHearth(ctx context.Context, model string, more ...string) (*Server, error) {
	return Start(ctx, "/readyz", func(port string) []string {
		return append([]string{
			p.Hearth, "serve", "--model", model, "--listen", "127.0.0.1:" + port, "--context", strconv.Itoa(p.Context),
			"--sequences", strconv.Itoa(p.Sequences), "--threads", strconv.Itoa(p.Threads),
		}, more...)
	})
}

// StartLlama serves a model by llama-server, with the model's own chat template.
func (p *Programs) StartLlama(ctx context.Context, model string) (*Server, error) {
	return Start(ctx, "/health", func(port string) []string {
		return []string{
			p.Llama, "-m", model, "--host", "127.0.0.1", "--port", port, "-c", strconv.Itoa(p.Context),
			"-np", strconv.Itoa(p.Sequences), "-t", strconv.Itoa(p.Threads), "--jinja",
		}
	})
}

// Versions returns the first line of what the programs say of their versions.
func (p *Programs) Versions(ctx context.Context) (hearth, llama string, err error) {
	first := func(name string, arg string) (string, error) {
		out, err := exec.CommandContext(ctx, name, arg).CombinedOutput()
		line, _, _ := strings.Cut(string(out), "\n")
		if err != nil {
			return "", fmt.Errorf("ask %s for its version: %w: %s", name, err, out)
		}
		return strings.TrimSpace(line), nil
	}
	hearth, hearthErr := first(p.Hearth, "version")
	llama, llamaErr := first(p.Llama, "--version")
	return hearth, llama, errors.Join(hearthErr, llamaErr)
}
