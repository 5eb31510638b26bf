package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
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
	// embeds: a model that is loaded here is to make vectors.
	embeds bool
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
	// id is the model that by (a flag or a variable) asks for; empty: the first.
	id, by string
	where  string // for people: the server's URL, or this process
	cfg    Config // what the file says, with the flag --log-level over it
	close  func() error
	// leaveSignals is for who handles Ctrl-C itself; it ends the context.
	leaveSignals func()
}

// use opens the source, calls do with it, and closes it. A signal ends ctx.
func (f *sourceFlags) use(cmd *cobra.Command, do func(ctx context.Context, src *source) error) error {
	ctx, stop := withSignals(cmd.Context())
	defer stop()
	src, err := f.open(ctx, cmd)
	if err != nil {
		return interrupted(ctx, err)
	}
	src.leaveSignals = stop
	return errors.Join(interrupted(ctx, do(ctx, src)), src.close())
}

// ask is use with a lease on the model that is asked for.
func (f *sourceFlags) ask(cmd *cobra.Command, do func(ctx context.Context, src *source, m inference.Model) error) error {
	return f.use(cmd, func(ctx context.Context, src *source) error {
		m, err := src.acquire(ctx, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		defer m.Release()
		return do(ctx, src, m)
	})
}

// find returns the server to use; where there is none, it is nil and here is the
// configuration of the one model to load in this process. cfg is what the file
// says, with the flag --log-level over it.
func (f *sourceFlags) find(ctx context.Context, cmd *cobra.Command) (server *remote, cfg, here Config, err error) {
	if cfg, _, err = loadConfig(configFlag(cmd)); err != nil {
		return nil, cfg, here, err
	}
	if cmd.Flags().Changed("log-level") {
		cfg.Telemetry.LogLevel = f.logLevel
		if err := cfg.check(); err != nil {
			return nil, cfg, here, configError(err)
		}
	}
	if server, err = f.server(ctx, &cfg); err != nil {
		return nil, cfg, here, err
	}
	if server != nil {
		return server, cfg, here, f.leaveToServer()
	}
	here = cfg.clone()
	if !cmd.Flags().Changed("log-level") {
		here.Telemetry.LogLevel = "error" // the answer is what is asked for
	}
	if err := f.apply(cmd, &here); err != nil {
		return nil, cfg, here, err
	}
	here.Models = here.Models[:1]
	if f.embeds && len(f.lora) > 0 {
		return nil, cfg, here, usageError(errors.New("--lora: vectors are made by the model alone: leave it out"))
	}
	if f.embeds {
		here.Models[0].Embeddings = &f.embeds
	}
	return nil, cfg, here, nil
}

// open finds the server, or loads the model in this process and waits until it
// is ready.
func (f *sourceFlags) open(ctx context.Context, cmd *cobra.Command) (*source, error) {
	server, cfg, here, err := f.find(ctx, cmd)
	if err != nil {
		return nil, err
	}
	if server != nil {
		id, by := f.modelOfServer()
		return &source{models: server, id: id, by: by, where: server.base, cfg: cfg, close: func() error { return nil }}, nil
	}
	errOut := cmd.ErrOrStderr()
	log := telemetry.NewLogger(here.Telemetry, errOut, isTerminal(errOut))
	models, err := loadHere(ctx, &here, log, errOut)
	if err != nil {
		return nil, err
	}
	return &source{models: models, where: "this process", cfg: cfg, close: func() error {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return models.Close(closing)
	}}, nil
}

// modelOfServer returns the id of the server's model that is asked for, and by
// what. A file that HEARTH_MODEL names is for processes that load it.
func (f *sourceFlags) modelOfServer() (id, by string) {
	if f.model != "" {
		return f.model, "--model"
	}
	id = os.Getenv(modelEnv)
	if _, err := os.Stat(id); id == "" || err == nil {
		return "", ""
	}
	return id, modelEnv
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
			return nil, s.unknown(err)
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

// unknown says what asked for a model that there is not.
func (s *source) unknown(err error) error {
	if s.by == "" {
		return usageError(err)
	}
	return usageError(fmt.Errorf("%s: %w", s.by, err))
}

// preferring returns the models with the one that is asked for as the first, and
// so as the default. It may still be loading, but not be unknown or failed.
func (s *source) preferring(ctx context.Context) (inference.Models, error) {
	if s.id == "" {
		return s.models, nil
	}
	m, err := s.models.Acquire(ctx, s.id)
	switch {
	case err == nil:
		m.Release()
	case errors.Is(err, inference.ErrModelNotFound):
		return nil, s.unknown(err)
	case !errors.Is(err, inference.ErrLoading):
		return nil, err
	}
	return &preferred{Models: s.models, id: s.id}, nil
}

// preferred are models with another default.
type preferred struct {
	inference.Models
	id string
}

// List puts the default first and leaves the others in their order.
func (p *preferred) List() []inference.ModelStatus {
	all := p.Models.List()
	i := slices.IndexFunc(all, func(s inference.ModelStatus) bool { return s.Info.ID == p.id })
	if i < 0 {
		return all
	}
	return slices.Concat(all[i:i+1], all[:i], all[i+1:])
}

// Acquire leases the default where no model is named.
func (p *preferred) Acquire(ctx context.Context, id string) (inference.Lease, error) {
	if id == "" {
		id = p.id
	}
	return p.Models.Acquire(ctx, id)
}
