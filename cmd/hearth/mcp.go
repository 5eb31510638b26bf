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
standard input and output: the tools chat, generate, count_tokens, list_models and
the resources models://. Everything else is written to standard error.

` + sourceHelp,
		Example: `  hearth mcp
  claude mcp add hearth -- hearth mcp --model /models/model.gguf`,
		Args: usageArgs(cobra.NoArgs),
	}
	from := addSourceFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := withSignals(cmd.Context())
		defer stop()
		cfg, _, err := loadConfig(configFlag(cmd))
		if err != nil {
			return err
		}
		if cmd.Flags().Changed("log-level") {
			cfg.Telemetry.LogLevel = from.logLevel
			if err := cfg.check(); err != nil {
				return configError(err)
			}
		}
		src, err := from.open(ctx, cmd)
		if err != nil {
			return interrupted(ctx, err)
		}
		errOut := cmd.ErrOrStderr()
		log := telemetry.NewLogger(cfg.Telemetry, errOut, isTerminal(errOut))
		err = func() (err error) {
			sink, err := audit.Open(cfg.Audit, log)
			if err != nil {
				return configError(err)
			}
			defer func() { err = errors.Join(err, sink.Close()) }()
			s, err := newMCPServer(&cfg, &audited{Models: src.models, sink: sink}, log)
			if err != nil {
				return err
			}
			serving := audit.WithVia(inference.WithCaller(ctx, inference.DefaultCaller), "mcp stdio")
			if err := s.ServeStdio(serving, cmd.InOrStdin(), cmd.OutOrStdout()); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errInterrupted) {
				return fmt.Errorf("serve MCP: %w", err)
			}
			return nil
		}()
		return errors.Join(err, src.close())
	}
	return cmd
}
