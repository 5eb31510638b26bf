package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"hearth/internal/loadgen"
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
}

// The systems that are compared.
const (
	hearth = "hearth"
	plain  = "llama-server"
	tuned  = "llama-server, tuned"
)

// systems in the order of the first round.
var systems = []string{hearth, plain, tuned}

// tuning holds the flags that llama-server gets on top, by scenario: what was
// found to serve it best there.
var tuning = map[string][]string{
	"single":        {"--cache-ram", "0"},
	"parallel":      {"--cache-ram", "0"},
	"shared-prefix": {"--cache-ram", "0"},
	"mixed":         {"--cache-ram", "0", "-b", "128", "-ub", "128"},
	"json-schema":   {"--cache-ram", "0"},
	"embed":         {"-b", "512", "-ub", "512"},
	"embed-lists":   {"-b", "512", "-ub", "512"},
}

// embedBatch is the most tokens of one computation in the scenarios that embed,
// and so of one text: Hearth's default, given to llama-server too, which is made
// for texts of 512 tokens otherwise.
const embedBatch = 2048

// order returns the systems in the order of a round: A B C, then C B A, so that
// a machine that slows down or warms up favours nobody.
func order(round int) []string {
	o := slices.Clone(systems)
	if round%2 == 1 {
		slices.Reverse(o)
	}
	return o
}

// command returns program and arguments of a system for a scenario.
func (s settings) command(system string, scenario loadgen.Scenario, port int) ([]string, error) {
	model := s.Model
	if scenario.Embeds() {
		model = s.Embedder
	}
	switch system {
	case hearth:
		return []string{
			s.Hearth, "serve", "--model", model, "--listen", "127.0.0.1:" + strconv.Itoa(port),
			"--context", strconv.Itoa(s.Context), "--sequences", strconv.Itoa(s.Sequences), "--threads", strconv.Itoa(s.Threads),
		}, nil
	case plain, tuned:
		args := []string{
			filepath.Join(s.Yardstick, "llama-server"), "-m", model, "--host", "127.0.0.1", "--port", strconv.Itoa(port),
			"-c", strconv.Itoa(s.Context), "-np", strconv.Itoa(s.Sequences), "-t", strconv.Itoa(s.Threads),
		}
		if scenario.Embeds() {
			batch := strconv.Itoa(embedBatch)
			args = append(args, "--embeddings", "--pooling", "mean", "-b", batch, "-ub", batch)
		}
		if system == tuned {
			args = append(args, tuning[scenario.Name]...)
		}
		return args, nil
	}
	return nil, fmt.Errorf("no system %q", system)
}
