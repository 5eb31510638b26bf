package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"hearth/inference"
	"hearth/internal/httpserver"
	"hearth/internal/telemetry"
)

// closeTimeout is how long the models may take to be freed after the drain.
const closeTimeout = 10 * time.Second

func newServeCommand() *cobra.Command {
	var listen []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve models over HTTP and MCP",
		Long: `Serve the configured models, or one file, over an OpenAI-compatible HTTP API at
/v1, over MCP at /mcp, with /healthz, /readyz and /metrics beside them.

HTTP answers at once; requests get 503 with Retry-After until their model is
loaded. SIGTERM or Ctrl-C lets running requests finish (server.drain_timeout)
and ends the process with code 0; a second signal ends it at once. SIGHUP reads
the configuration again.

Without --model: HEARTH_MODEL, else the models of the configuration, else the
default model where it was fetched.`,
		Example: `  hearth serve --model model.gguf
  hearth serve --model model.gguf --listen 127.0.0.1:9000 --context 16384 --gpu-layers all
  hearth serve --config /etc/hearth/hearth.yaml`,
		Args: cobra.NoArgs,
	}
	f := addLoadFlags(cmd, "GGUF file, or id of a configured model")
	cmd.Flags().StringSliceVarP(&listen, "listen", "l", nil, "address, such as 127.0.0.1:8080 or unix:/run/hearth.sock (default: the configuration's)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, path, err := loadConfig(configFlag(cmd))
		if err != nil {
			return err
		}
		file := configFile{path: path, said: cfg.clone()}
		if len(listen) > 0 {
			cfg.Server.Listen = listen
		}
		if err := f.apply(cmd, &cfg); err != nil {
			return err
		}
		return runServe(cmd.Context(), cfg, file, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// collectLess lets the heap become three times what is live before it is collected,
// unless GOGC says otherwise: it is some ten megabytes beside weights of hundreds, and
// with many short calls at once collecting took a quarter of the time.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}

// runServe serves until a signal comes. cfg is what file says with the flags over it.
func runServe(ctx context.Context, cfg Config, file configFile, out, errOut io.Writer) error {
	ctx, stop := withSignals(ctx)
	defer stop()
	collectLess()
	if err := checkFiles(&cfg); err != nil {
		return err
	}
	log := telemetry.NewLogger(cfg.Telemetry, errOut, isTerminal(errOut))
	if err := initNative(log, cfg.Engine.RPC); err != nil {
		return err
	}
	listeners, err := httpserver.Listen(ctx, cfg.Server.Listen)
	if err != nil {
		return fmt.Errorf("%w (choose another address with --listen)", err)
	}
	// From here on Serve closes the listeners.
	serving, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	settled := newTally(len(cfg.Models))
	a, err := newApp(ctx, cfg, log, func(s inference.ModelStatus) {
		if err := settled.note(s); err != nil {
			giveUp(err)
		}
	})
	if err != nil {
		for _, l := range listeners {
			_ = l.Close()
		}
		return err
	}
	log.Info().Str("version", version).Msg(describeDevices(&cfg.Engine.Placement))
	printHints(out, &cfg, listeners)
	watch := watchLoading(serving, errOut, a.models)
	stopReloads := a.reloadOnHangup(serving, file)

	err = a.serve(serving, listeners)
	stopReloads()
	watch.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	cerr := a.close(closing)
	if cause := context.Cause(serving); cause != nil && !errors.Is(cause, errInterrupted) && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return errors.Join(err, cerr)
}

// tally counts the models that failed: when all did there is nothing to serve.
type tally struct {
	total, failed int
	errs          []error
}

func newTally(total int) *tally { return &tally{total: total} }

// note is called by one goroutine, the one that loads.
func (t *tally) note(s inference.ModelStatus) error {
	if s.State != inference.ModelFailed || errors.Is(s.Err, context.Canceled) {
		return nil
	}
	t.failed++
	t.errs = append(t.errs, s.Err)
	if t.failed < t.total {
		return nil
	}
	return modelError(fmt.Errorf("no model could be loaded: %w", errors.Join(t.errs...)))
}
