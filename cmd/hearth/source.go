package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"hearth/inference"
	"hearth/inference/residency"
	"hearth/internal/telemetry"
)

// urlEnv names a running server.
const urlEnv = "HEARTH_URL"

// Waits for a server: one that was named may take long, one that is only looked
// for at the configured address may not make the user wait.
const (
	namedWithin  = 5 * time.Second
	lookedWithin = 300 * time.Millisecond
)

// sourceFlags are the flags of every command that asks a model, wherever it is.
type sourceFlags struct {
	*loadFlags
	url string
}

func addSourceFlags(cmd *cobra.Command) *sourceFlags {
	f := &sourceFlags{loadFlags: addLoadFlags(cmd, "id of a model of the server, or a GGUF file to load in this process")}
	cmd.Flags().StringVar(&f.url, "url", "", "running server, such as http://127.0.0.1:8080 (also: HEARTH_URL; default: the configured address, if a server is there)")
	return f
}

// sourceHelp is a part of the help of all these commands.
const sourceHelp = `The model is that of a running server when there is one: --url, HEARTH_URL, or the
address in the configuration. Otherwise, or when --model names a file, it is
loaded into this process.`

// server returns the running server to use, nil if there is none.
func (f *sourceFlags) server(ctx context.Context, cfg *Config) (*remote, error) {
	address, by := f.url, "--url"
	if address == "" {
		address, by = os.Getenv(urlEnv), urlEnv
	}
	if address != "" {
		r, err := newRemote(address)
		if err != nil {
			return nil, err
		}
		if err := r.isHearth(ctx, namedWithin); err != nil {
			return nil, unreachableError(fmt.Errorf("the server that %s names, %s, does not answer: %w", by, address, err))
		}
		return r, nil
	}
	if _, err := os.Stat(f.model); f.model != "" && err == nil {
		return nil, nil // a file is loaded here
	}
	address = cfg.Server.Listen[0]
	if !strings.HasPrefix(address, "unix:") {
		address = "http://" + address
	}
	r, err := newRemote(address)
	if err != nil {
		return nil, err
	}
	if r.isHearth(ctx, lookedWithin) != nil {
		return nil, nil
	}
	return r, nil
}

// source is where a command's models are.
type source struct {
	models inference.Models
	id     string // the model asked for; empty: the first
	where  string // for people: the server's URL, or this process
	close  func() error
}

// open finds the server, or loads the models in this process and waits until
// the one that is asked for is ready.
func (f *sourceFlags) open(ctx context.Context, cmd *cobra.Command) (*source, error) {
	cfg, _, err := loadConfig(configFlag(cmd))
	if err != nil {
		return nil, err
	}
	server, err := f.server(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	if server != nil {
		return &source{models: server, id: f.model, where: server.base, close: func() error { return nil }}, nil
	}
	if !cmd.Flags().Changed("log-level") {
		cfg.Telemetry.LogLevel = "error" // the answer is what is asked for
	}
	if err := f.apply(cmd, &cfg); err != nil {
		return nil, err
	}
	cfg.Models = cfg.Models[:1]
	errOut := cmd.ErrOrStderr()
	log := telemetry.NewLogger(cfg.Telemetry, errOut, isTerminal(errOut))
	models, err := loadHere(ctx, &cfg, log, errOut)
	if err != nil {
		return nil, err
	}
	return &source{models: models, where: "this process", close: func() error {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return models.Close(closing)
	}}, nil
}

// loadHere loads the models of cfg into this process and waits for the first.
func loadHere(ctx context.Context, cfg *Config, log zerolog.Logger, errOut io.Writer) (*residency.Residency, error) {
	if err := checkFiles(cfg); err != nil {
		return nil, err
	}
	if err := initNative(log, cfg.Engine.RPC); err != nil {
		return nil, err
	}
	load := &loader{cfg: cfg, log: log}
	models, err := residency.New(ctx, load.specs(), nil)
	if err != nil {
		return nil, configError(err)
	}
	watch := watchLoading(ctx, errOut, models)
	err = models.Wait(ctx, "")
	if err != nil {
		// Nothing runs yet, so nothing has to be waited for.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, models.Close(closing))
		watch.Wait()
		if ctx.Err() != nil {
			return nil, interrupted(ctx, ctx.Err())
		}
		return nil, modelError(err)
	}
	watch.Wait()
	return models, nil
}

// loadingPatience is how long a command waits for a model that a server loads.
const loadingPatience = 10 * time.Minute

// acquire leases the model that was asked for; it waits while it is loaded.
func (s *source) acquire(ctx context.Context, errOut io.Writer) (inference.Lease, error) {
	deadline := time.Now().Add(loadingPatience)
	told := false
	for {
		l, err := s.models.Acquire(ctx, s.id)
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, inference.ErrModelNotFound):
			return nil, usageError(err)
		case !errors.Is(err, inference.ErrLoading) || time.Now().After(deadline):
			return nil, err
		}
		if !told {
			told = true
			fmt.Fprintln(errOut, "the server is still loading the model; waiting …")
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
