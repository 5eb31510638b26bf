package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hearth/models"
)

func newModelsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "models",
		Short: "Say which models there are, and what a model file is",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newModelsListCommand(), newModelsInfoCommand())
	return cmd
}

func newModelsListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the models of a running server, or those of the configuration",
		Example: `  hearth models list
  hearth models list --url http://127.0.0.1:9000 --json`,
		Args: usageArgs(cobra.NoArgs),
	}
	from := &sourceFlags{loadFlags: &loadFlags{}}
	cmd.Flags().StringVar(&from.url, "url", "", "running server (also: HEARTH_URL; default: the configured address, if a server is there)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := withSignals(cmd.Context())
		defer stop()
		cfg, _, err := loadConfig(configFlag(cmd))
		if err != nil {
			return err
		}
		rows, err := listModels(ctx, from, &cfg)
		if err != nil {
			return interrupted(ctx, err)
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), rows)
		}
		return printModels(cmd.OutOrStdout(), rows)
	}
	return cmd
}

// modelRow is a model as `models list` prints it.
type modelRow struct {
	ID           string `json:"id"`
	State        string `json:"state"` // loading, ready, failed; or configured, unusable without a server
	Context      int    `json:"context,omitempty"`
	Parameters   uint64 `json:"parameters,omitempty"`
	Quantization string `json:"quantization,omitempty"`
	Path         string `json:"path,omitempty"`
	Error        string `json:"error,omitempty"`
	// WhyNotShared and WhyNotStored are known of models that a server has loaded.
	WhyNotShared string `json:"not_shared_because,omitempty"`
	WhyNotStored string `json:"not_stored_because,omitempty"`
	// Lora are the names of its adapters.
	Lora []string `json:"lora,omitempty"`
}

func listModels(ctx context.Context, from *sourceFlags, cfg *Config) ([]modelRow, error) {
	server, err := from.server(ctx, cfg)
	if err != nil {
		return nil, err
	}
	rows := []modelRow{}
	if server != nil {
		all, err := server.list(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			var lora []string
			for _, a := range s.Info.Adapters {
				lora = append(lora, a.Name)
			}
			rows = append(rows, modelRow{Lora: lora, ID: s.Info.ID, State: string(s.State), Context: s.Info.Context, Parameters: s.Info.Params, Quantization: s.Info.Quantization, WhyNotShared: s.Info.WhyNotShared, WhyNotStored: s.Info.WhyNotStored})
		}
		return rows, nil
	}
	if err := selectModel(cfg, ""); err != nil {
		return nil, err
	}
	for i := range cfg.Models {
		m := &cfg.Models[i]
		row := modelRow{ID: m.id(), State: "configured", Path: m.Path}
		for k := range m.Lora {
			row.Lora = append(row.Lora, m.Lora[k].Name)
		}
		if h, err := models.Open(m.Path); err != nil {
			row.State, row.Error = "unusable", err.Error()
		} else if _, err := m.checkAdapterFiles(h); err != nil {
			row.State, row.Error = "unusable", err.Error()
		} else {
			s := h.Summary()
			row.Context, row.Parameters, row.Quantization = m.placement(cfg.Engine.Placement).Context, uint64(s.Params), s.Quantization
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func printModels(w io.Writer, rows []modelRow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSTATE\tPARAMETERS\tQUANTIZATION\tCONTEXT\tPATH")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.State, short(r.Parameters), dash(r.Quantization), dash(trimZero(r.Context)), dash(r.Path))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	for _, r := range rows {
		if r.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", r.ID, r.Error)
		}
		if len(r.Lora) > 0 {
			fmt.Fprintf(w, "%s: LoRA adapters: %s\n", r.ID, strings.Join(r.Lora, ", "))
		}
		if r.WhyNotShared != "" {
			fmt.Fprintf(w, "%s: prefixes are not shared: %s\n", r.ID, r.WhyNotShared)
		}
		if r.WhyNotStored != "" && r.WhyNotStored != r.WhyNotShared {
			fmt.Fprintf(w, "%s: prefixes that leave the cache are not stored: %s\n", r.ID, r.WhyNotStored)
		}
	}
	return nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func trimZero(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// short writes a number of parameters as people do: 135M, 7.2B.
func short(n uint64) string {
	switch f := float64(n); {
	case n == 0:
		return "-"
	case f >= 1e9:
		return fmt.Sprintf("%.1fB", f/1e9)
	case f >= 1e6:
		return fmt.Sprintf("%.0fM", f/1e6)
	default:
		return fmt.Sprint(n)
	}
}

func printJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

func newModelsInfoCommand() *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "info FILE",
		Short: "Say what a GGUF file holds, and check that it is whole",
		Long: `Read the header of a GGUF file, check that all its data is there, and print what
it says about the model. The model is not loaded.`,
		Example: `  hearth models info model.gguf
  hearth models info model.gguf --all`,
		Args: usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"gguf"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := models.Open(args[0])
			if err != nil {
				return modelError(err)
			}
			switch {
			case asJSON:
				return printJSON(cmd.OutOrStdout(), describeJSON(args[0], h))
			default:
				return describe(cmd.OutOrStdout(), args[0], h, all)
			}
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&all, "all", false, "print all metadata and tensors too")
	return cmd
}

// describe prints the facts about a file, one a line.
func describe(w io.Writer, path string, h *models.Header, all bool) error {
	s := h.Summary()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, v any) {
		if text := fmt.Sprint(v); text != "" && text != "0" {
			fmt.Fprintf(t, "%s\t%s\n", name, text)
		}
	}
	row("file", path)
	row("id", models.DefaultID(path))
	row("name", s.Name)
	row("architecture", s.Architecture)
	row("parameters", short(uint64(s.Params)))
	row("quantization", s.Quantization)
	row("size", fmt.Sprintf("%.1f MiB", float64(h.FileBytes)/(1<<20)))
	row("trained context", s.Context)
	row("layers", s.Layers)
	row("hidden size", s.Embedding)
	row("attention heads", s.Heads)
	row("key-value heads", s.HeadsKV)
	row("vocabulary", s.Vocabulary)
	row("tokenizer", s.Tokenizer)
	row("memory", s.Memory)
	row("chat template", map[bool]string{true: "yes", false: "no"}[s.ChatTemplate])
	row("license", s.License)
	if s.Shards > 1 {
		row("files", fmt.Sprintf("%d, of which this is one", s.Shards))
	}
	row("tensors", len(h.Tensors))
	row("GGUF version", h.Version)
	if all {
		fmt.Fprintln(t)
		for _, p := range h.Metadata {
			fmt.Fprintf(t, "%s\t%s\n", p.Key, valueText(p.Value))
		}
		fmt.Fprintln(t)
		for i := range h.Tensors {
			fmt.Fprintf(t, "%s\t%v %v\n", h.Tensors[i].Name, h.Tensors[i].Type, h.Tensors[i].Dims)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the description: %w", err)
	}
	return nil
}

// valueText shows a metadata value on one line.
func valueText(v models.Value) string {
	switch s := v.Scalar.(type) {
	case nil:
		return fmt.Sprintf("%d × %v", v.Len, v.Element)
	case string:
		const most = 100
		text := strings.NewReplacer("\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s)
		if r := []rune(text); len(r) > most {
			return string(r[:most]) + fmt.Sprintf("… (%d bytes)", len(s))
		}
		return text
	default:
		return fmt.Sprint(s)
	}
}

func describeJSON(path string, h *models.Header) any {
	s := h.Summary()
	return map[string]any{
		"file": path, "id": models.DefaultID(path), "name": s.Name, "architecture": s.Architecture,
		"parameters": s.Params, "quantization": s.Quantization, "file_bytes": h.FileBytes, "train_context": s.Context,
		"layers": s.Layers, "vocabulary": s.Vocabulary, "chat_template": s.ChatTemplate, "license": s.License, "memory": s.Memory,
		"tensors": len(h.Tensors), "gguf_version": h.Version,
	}
}

// checkModelFile refuses a model whose files cannot be loaded.
func checkModelFile(m *ModelConfig) error {
	h, err := models.Open(m.Path)
	if err != nil {
		return err
	}
	if _, err := m.checkAdapterFiles(h); err != nil {
		return err
	}
	if m.ChatTemplate != "" {
		if _, err := os.Stat(m.ChatTemplate); err != nil {
			return fmt.Errorf("chat template of %s: %w", m.id(), err)
		}
	}
	return nil
}
