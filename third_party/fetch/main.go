package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// errUsage marks a command line that names no command, or one too many.
var errUsage = errors.New("usage: go run ./third_party/fetch COMMAND, one of: " +
	"prerequisites [--install], source, model, embedding-model, tool-model, window-model, rank-model, tools, native [--all-variants], sanitized, yardsticks, cuda, venv, searxng, llamaindex, npm, chroma, mysql")

// app holds what all commands share. Answers for other programs go to out, what
// a person reads to messages.
type app struct {
	root          string // of the checkout
	cache         string
	thirdPartyDir string // replaces the network where not empty
	pins          []pin
	out, messages io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "fetch: "+err.Error())
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, messages io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	flag := ""
	switch args[0] {
	case "prerequisites":
		flag = "--install"
	case "native":
		flag = "--all-variants"
	}
	if len(args) > 2 || len(args) == 2 && (flag == "" || args[1] != flag) {
		return errUsage
	}
	flagged := len(args) == 2
	a, err := newApp(out, messages)
	if err != nil {
		return err
	}
	switch args[0] {
	case "prerequisites":
		return a.prerequisites(ctx, flagged)
	case "source":
		return a.print(a.source(ctx))
	case "model":
		return a.print(a.model(ctx))
	case "tool-model":
		return a.print(a.joined(ctx, inSet(a.pins, "tool-model"), toolModel))
	case "window-model":
		return a.print(a.joined(ctx, inSet(a.pins, "window-model"), windowModel))
	case "embedding-model":
		return a.print(a.embeddingModel(ctx))
	case "rank-model":
		return a.print(a.rankModel(ctx))
	case "tools":
		t, err := a.tools(ctx)
		return a.print(t.cmake+"\n"+t.ninja, err)
	case "native":
		return a.native(ctx, flagged)
	case "sanitized":
		return a.sanitized(ctx)
	case "yardsticks":
		return a.yardsticks(ctx)
	case "cuda":
		return a.cuda(ctx)
	case "chroma":
		return a.print(a.chroma(ctx))
	case "mysql":
		return a.print(a.mysql(ctx))
	case "venv":
		return a.print(a.venv(ctx, "tests/requirements.txt"))
	case "searxng":
		return a.print(a.venv(ctx, "tests/searxng/requirements.txt"))
	case "llamaindex":
		return a.print(a.venv(ctx, "tests/llamaindex/requirements.txt"))
	case "npm":
		return a.print(a.npm(ctx))
	}
	return errUsage
}

func newApp(out, messages io.Writer) (*app, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find the cache: %w; set XDG_CACHE_HOME to a folder", err)
	}
	a := &app{
		root:          root,
		cache:         filepath.Join(base, "hearth"),
		thirdPartyDir: os.Getenv("HEARTH_THIRD_PARTY_DIR"),
		out:           out,
		messages:      messages,
	}
	if a.pins, err = loadPins(filepath.Join(root, "third_party", "pins.json")); err != nil {
		return nil, err
	}
	return a, nil
}

// findRoot walks up from the working directory to the folder of go.mod.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if raw, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(raw), "module hearth\n") {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("run this inside a checkout of Hearth: no go.mod of module hearth above the working directory")
		}
		dir = up
	}
}

func (a *app) print(answer string, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, answer)
	return err
}

func (a *app) logf(format string, args ...any) {
	fmt.Fprintf(a.messages, format+"\n", args...)
}

// path names a place in the cache.
func (a *app) path(parts ...string) string {
	return filepath.Join(slices.Concat([]string{a.cache}, parts)...)
}

// lock makes this process the only one that works on name, waiting for another
// that does, and returns the function that lets it go. A process that dies lets
// go too.
func (a *app) lock(name string) (unlock func(), err error) {
	dir := a.path("locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		a.logf("waiting for another process that makes %s", name)
		for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	// Closing the file drops the lock.
	return func() { f.Close() }, nil
}
