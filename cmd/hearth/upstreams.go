package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"hearth/internal/config"
	"hearth/mcpserver/connector/upstream"
	"hearth/mcpserver/router"
)

// openUpstream makes the connector of another MCP server, which learns in the
// background what that offers.
func openUpstream(_ context.Context, c *ConnectorConfig, d *connectorDeps) (router.Connector, error) {
	return upstream.New(*c.MCP, c.Name, upstream.Deps{Log: d.log, Models: d.models, Version: version})
}

// upstreamOf returns the entry of another MCP server.
func (c *Config) upstreamOf(name string) (*upstream.Config, error) {
	var names []string
	for i := range c.Connectors {
		if one := &c.Connectors[i]; one.MCP != nil {
			if one.Name == name {
				return one.MCP, nil
			}
			names = append(names, one.Name)
		}
	}
	if len(names) == 0 {
		return nil, configError(config.Invalid("connectors", "none of them is an MCP server (a section mcp)"))
	}
	return nil, configError(config.Invalid("connectors", "no MCP server has the name %q; there are: %s", name, strings.Join(names, ", ")))
}

func newToolsLoginCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "login CONNECTOR",
		Short: "Log in to an MCP server that wants it",
		Long: `Log in to the MCP server of the configured CONNECTOR, by a browser on this machine,
and keep the token in a file that only this user can read. A running server takes it
up by itself, and renews it before it ends.`,
		Example: `  hearth tools login calendar`,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := withSignals(cmd.Context())
			defer stop()
			cfg, _, err := loadConfig(configFlag(cmd))
			if err != nil {
				return err
			}
			one, err := cfg.upstreamOf(args[0])
			if err != nil {
				return err
			}
			err = upstream.Login(ctx, *one, args[0], upstream.Deps{Version: version}, func(address string) {
				fmt.Fprintf(cmd.OutOrStdout(), "Open this address in a browser on this machine:\n\n  %s\n\n", address)
			})
			if err != nil {
				return interrupted(ctx, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Logged in to %s.\n", args[0])
			return nil
		},
	}
}

func newToolsPendingCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pending",
		Short: "List tools of MCP servers that wait because their definitions changed",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := loadConfig(configFlag(cmd))
			if err != nil {
				return err
			}
			n := 0
			for i := range cfg.Connectors {
				one := &cfg.Connectors[i]
				if one.MCP == nil {
					continue
				}
				tools, err := upstream.ListPending(*one.MCP, one.Name)
				if err != nil {
					return fmt.Errorf("connector %s: %w", one.Name, err)
				}
				for _, t := range tools {
					n++
					fmt.Fprintf(cmd.OutOrStdout(), "%s%s%s: %s. It now says:\n  %s\n", one.Name, router.Separator, t.Name, t.Why,
						strings.ReplaceAll(t.Description, "\n", "\n  "))
				}
			}
			if n == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "No tool waits.")
			}
			return nil
		},
	}
}

func newToolsApproveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "approve NAME",
		Short: "Offer a tool of an MCP server with its changed definition",
		Long: `Approve the definition that the tool NAME of an MCP server has now, after reading it
with "hearth tools pending". CONNECTOR__* approves all that wait. A running server
takes it up by itself.`,
		Example: `  hearth tools approve github__create_issue
  hearth tools approve 'github__*'`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			label, tool, ok := strings.Cut(args[0], router.Separator)
			if !ok || tool == "" {
				return usageError(fmt.Errorf("%q is no name of a tool, such as github__create_issue", args[0]))
			}
			cfg, _, err := loadConfig(configFlag(cmd))
			if err != nil {
				return err
			}
			one, err := cfg.upstreamOf(label)
			if err != nil {
				return err
			}
			done, err := upstream.Approve(*one, label, tool)
			if err != nil {
				return err
			}
			for _, name := range done {
				fmt.Fprintf(cmd.OutOrStdout(), "approved %s%s%s\n", label, router.Separator, name)
			}
			return nil
		},
	}
}
