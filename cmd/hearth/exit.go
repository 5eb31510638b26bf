package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// The exit codes, as the help of the root command lists them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitConfig      = 3
	exitModel       = 4
	exitUnreachable = 5
	exitPartial     = 6
	exitInterrupted = 130
)

// exitError is an error with the code that the process ends with.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(err error) error       { return &exitError{exitUsage, err} }
func configError(err error) error      { return &exitError{exitConfig, err} }
func modelError(err error) error       { return &exitError{exitModel, err} }
func unreachableError(err error) error { return &exitError{exitUnreachable, err} }
func partialError(err error) error     { return &exitError{exitPartial, err} }

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitFailure
	var exit *exitError
	switch {
	case errors.Is(err, errInterrupted):
		fmt.Fprintln(errOut, "hearth: interrupted")
		return exitInterrupted
	case errors.As(err, &exit):
		code = exit.code
	case !started(root):
		code = exitUsage // cobra's own: an unknown command or flag
	}
	fmt.Fprintf(errOut, "hearth: %v\n", err)
	if code == exitUsage {
		fmt.Fprintln(errOut, "Run hearth --help, or --help after a command, for what is possible.")
	}
	return code
}

// withSignals returns a context that SIGINT or SIGTERM ends with the cause
// errInterrupted. A second signal ends the process at once. The function that it
// returns leaves signals to others again; calling it twice does no harm.
func withSignals(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-done:
			return
		}
		select {
		case <-signals:
			os.Exit(exitInterrupted)
		case <-done:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	})
}

// interrupted replaces an error that only says that ctx ended by its cause.
func interrupted(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	return err
}
