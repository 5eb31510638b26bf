package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hearth/models"
)

func newCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and the model files without starting",
		Long: `Read the configuration as hearth serve would, and the header of every model file.
Nothing is started and no port is opened. The exit code is 3 if the configuration
cannot be used and 4 if a model file cannot.`,
		Example: "  hearth check --config /etc/hearth/hearth.yaml",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, path, err := loadConfig(configFlag(cmd))
			if err != nil {
				return err
			}
			return runCheck(cmd.OutOrStdout(), &cfg, path)
		},
	}
}

func runCheck(w io.Writer, cfg *Config, path string) error {
	if path == "" {
		path = "no configuration file; the defaults"
	}
	fmt.Fprintf(w, "configuration  %s: ok\n", path)
	if err := selectModel(cfg, ""); err != nil {
		return err
	}
	var errs []error
	for i := range cfg.Models {
		m := &cfg.Models[i]
		if err := checkModelFile(m); err != nil {
			fmt.Fprintf(w, "model          %s: not usable\n", m.id())
			errs = append(errs, err)
			continue
		}
		h, err := models.Open(m.Path)
		if err != nil {
			return modelError(err)
		}
		s := h.Summary()
		p := m.placement(cfg.Engine.Placement)
		fmt.Fprintf(w, "model          %s: %s %s %s, context %d: ok\n", m.id(), s.Architecture, short(uint64(s.Params)), s.Quantization, p.Context)
		if s.Context > 0 && uint64(p.Context) > s.Context {
			fmt.Fprintf(w, "               it was trained for %d tokens: one request may use so many, the other cells serve more requests\n", s.Context)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return modelError(err)
	}
	return nil
}
