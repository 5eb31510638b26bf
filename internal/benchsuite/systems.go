package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// settings are what all systems have in common.
type settings struct {
	Hearth    string `json:"hearth"`     // the binary
	Yardstick string `json:"yardsticks"` // folder of llama-server and llama-batched-bench
	Model     string `json:"model"`
	Embedder  string `json:"embedding_model"` // of the scenarios that embed
	Context   int    `json:"context"`         // cells in all
	Sequences int    `json:"sequences"`       // requests at one time
	Threads   int    `json:"threads"`
	Rounds    int    `json:"rounds"`
	Seed      uint64 `json:"seed"`
	Quick     bool   `json:"quick"`
	// Floor, if above 0, replaces the goals: no row below so many times
	// llama-server as it comes.
	Floor float64 `json:"floor,omitempty"`
	// Tuning, if set, replaces the flags of the tuned llama-server.
	Tuning []string `json:"tuning,omitempty"`
}

// embedBatch is the most tokens of one computation in the scenarios that embed,
// and so of one text: Hearth's default, given to llama-server too, which is made
// for texts of 512 tokens otherwise.
const embedBatch = 2048

// templates are chat templates for models that lack one, or a part of one.
//
//go:embed templates/*.jinja
var templates embed.FS

// adaption says which chat templates a model needs to be compared.
type adaption struct {
	model string // how the name of the model's file begins
	// both is a template that Hearth and llama-server get, for a file without one.
	both string
	// tools is what llama-server gets where tools are offered: it writes what
	// Hearth writes with the file's own template, which has no place for tools.
	tools string
}

var adaptions = []adaption{
	{model: "smollm2-", tools: "smollm2-tools.jinja"},
	{model: "gemma-3-270m.", both: "gemma.jinja"},
}

func adaptionOf(model string) adaption {
	name := strings.ToLower(filepath.Base(model))
	for _, a := range adaptions {
		if strings.HasPrefix(name, a.model) {
			return a
		}
	}
	return adaption{}
}

// place is where a run leaves its files.
type place struct {
	dir  string // absolute: of this run's configuration and templates
	data string // absolute: what DATA in a configuration stands for
}

// template writes a template into the place and returns its path.
func (p *place) template(name string) (string, error) {
	raw, err := templates.ReadFile("templates/" + name)
	if err != nil {
		return "", fmt.Errorf("read the chat template: %w", err)
	}
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		return "", fmt.Errorf("write the chat template: %w", err)
	}
	return path, nil
}

// command returns program and arguments of a system, and the configuration that
// it reads, after writing the files that it needs.
func (s *settings) command(system string, e *entry, port int, at *place) (argv []string, config string, err error) {
	model := s.Model
	if e.Scenario.Embeds() {
		model = s.Embedder
	}
	context, sequences := max(s.Context, e.Context), max(s.Sequences, e.Sequences)
	if config, ok := e.config(system); ok {
		return s.hearthCommand(model, config, context, sequences, port, at)
	}
	args := []string{
		filepath.Join(s.Yardstick, "llama-server"), "-m", model, "--host", "127.0.0.1", "--port", strconv.Itoa(port),
		"-c", strconv.Itoa(context), "-np", strconv.Itoa(sequences), "-t", strconv.Itoa(s.Threads),
	}
	if e.Scenario.Embeds() {
		batch := strconv.Itoa(embedBatch)
		args = append(args, "--embeddings", "--pooling", "mean", "-b", batch, "-ub", batch)
	}
	a := adaptionOf(model)
	name := a.both
	if name == "" && e.ToolTemplate {
		name = a.tools
	}
	if name != "" {
		path, err := at.template(name)
		if err != nil {
			return nil, "", err
		}
		args = append(args, "--jinja", "--chat-template-file", path)
	}
	args = append(args, e.Equal...)
	switch system {
	case plain:
	case tuned:
		if s.Tuning != nil {
			return append(args, s.Tuning...), "", nil
		}
		args = append(args, e.Tuned...)
	default:
		return nil, "", fmt.Errorf("no system %q", system)
	}
	return args, "", nil
}

// hearthCommand returns the command of a Hearth. It always names a configuration
// file, so that none that lies about is read.
func (s *settings) hearthCommand(model, config string, context, sequences, port int, at *place) ([]string, string, error) {
	config = strings.ReplaceAll(config, "DATA", at.data)
	if config != "" {
		config += "\n"
	}
	if name := adaptionOf(model).both; name != "" {
		path, err := at.template(name)
		if err != nil {
			return nil, "", err
		}
		file, err := filepath.Abs(model)
		if err != nil {
			return nil, "", fmt.Errorf("find the model: %w", err)
		}
		config += fmt.Sprintf("models: [{id: bench, path: %q, chat_template: %q}]\n", file, path)
		model = "bench"
	}
	path := filepath.Join(at.dir, "hearth.yaml")
	if err := os.WriteFile(path, []byte("# beside the flags\n"+config), 0o644); err != nil {
		return nil, "", fmt.Errorf("write the configuration: %w", err)
	}
	return []string{
		s.Hearth, "serve", "--config", path, "--model", model, "--listen", "127.0.0.1:" + strconv.Itoa(port),
		"--context", strconv.Itoa(context), "--sequences", strconv.Itoa(sequences), "--threads", strconv.Itoa(s.Threads),
	}, config, nil
}

// isHearth tells whether a system of an entry is a Hearth.
func isHearth(e *entry, system string) bool {
	return system == hearth || slices.ContainsFunc(e.Variants, func(v variant) bool { return v.Name == system })
}
