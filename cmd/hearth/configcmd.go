package main

import (
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print a commented configuration, or the one in use",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:     "default",
			Short:   "Print a configuration file with every default and what it means",
			Example: "  hearth config default > hearth.yaml",
			Args:    usageArgs(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := fmt.Fprint(cmd.OutOrStdout(), defaultConfigFile)
				return err
			},
		},
		&cobra.Command{
			Use:   "show",
			Short: "Print the configuration that holds, with defaults filled in",
			Args:  usageArgs(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				cfg, path, err := loadConfig(configFlag(cmd))
				if err != nil {
					return err
				}
				b, err := yaml.MarshalWithOptions(cfg, yaml.Indent(2), yaml.IndentSequence(true))
				if err != nil {
					return fmt.Errorf("write the configuration: %w", err)
				}
				if path == "" {
					path = "no file: these are the defaults"
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "# %s\n%s", path, b)
				return err
			},
		},
	)
	return cmd
}
