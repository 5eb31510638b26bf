package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hearth/inference"
	"hearth/internal/audit"
	"hearth/internal/telemetry"
)

func newMCPCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mcp",
		Short: "Serve MCP on standard input and output",
		Long: `Serve the Model Context Protocol to the one client that started this process, on
standard input and output: the tools chat, generate, embed, rerank, count_tokens, list_models and
the resources models://. Everything else is written to standard error.

` + sourceHelp,
		Example: `  hearth mcp
  claude mcp add hearth -- hearth mcp --model /models/model.gguf`,
		Args: usageArgs(cobra.NoArgs),
	}
	from := addSourceFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return from.use(cmd, func(ctx context.Context, src *source) error { return serveStdio(ctx, cmd, src) })
	}
	return cmd
}

// serveStdio serves MCP until the input or ctx ends.
func serveStdio(ctx context.Context, cmd *cobra.Command, src *source) (err error) {
	models, err := src.preferring(ctx)
	if err != nil {
		return err
	}
	errOut := cmd.ErrOrStderr()
	log := telemetry.NewLogger(src.cfg.Telemetry, errOut, isTerminal(errOut))
	sink, err := audit.Open(src.cfg.Audit, log)
	if err != nil {
		return configError(err)
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	kept := &audited{Models: models, sink: sink}
	r, err := newRouter(ctx, &src.cfg, kept, sink, telemetry.NewMetrics(version), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRouter(ctx, r)) }()
	withTools, err := newAgent(&src.cfg, kept, r, log)
	if err != nil {
		return err
	}
	if err := addOwnTools(&src.cfg, withTools, r, log); err != nil {
		return err
	}
	s, err := newMCPServer(&src.cfg, withTools, kept.Refused, r, nil, log)
	if err != nil {
		return err
	}
	defer s.Close()
	serving := audit.WithVia(inference.WithCaller(ctx, src.cfg.Engine.caller(inference.DefaultCaller)), "mcp stdio")
	err = s.ServeStdio(serving, cmd.InOrStdin(), cmd.OutOrStdout())
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errInterrupted) {
		return fmt.Errorf("serve MCP: %w", err)
	}
	return nil
}
