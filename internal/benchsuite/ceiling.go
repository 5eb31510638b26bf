package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"hearth/internal/loadgen"
)

// ceiling is what llama-batched-bench reaches at a scenario's lengths: what a
// program does that has nothing to do but compute.
type ceiling struct {
	Entry           string   `json:"scenario"`
	Round           int      `json:"round"`
	Command         []string `json:"command"`
	TokensPerSecond float64  `json:"tokens_per_second"` // prefill included
	// StepMS is the time of one step of all sequences while they decode, on
	// average over the depths that the scenario's answers pass.
	StepMS float64 `json:"step_ms"`
}

// ceilingArgs returns the lengths of a run as flags of llama-batched-bench; nil
// for traffic that it has no counterpart of.
func ceilingArgs(r *loadgen.Result, sum loadgen.Summary) []string {
	if len(r.Scenario.Groups) != 1 || r.Scenario.Embeds() || r.Scenario.Converses() || sum.Requests == 0 {
		return nil
	}
	group := r.Scenario.Groups[0]
	args := []string{
		"-npp", strconv.Itoa(max(sum.PromptTokens/sum.Requests, 1)),
		"-ntg", strconv.Itoa(max(sum.Tokens/sum.Requests, 1)),
		"-npl", strconv.Itoa(group.Clients),
	}
	if group.SharedSystemWords > 0 {
		args = append(args, "-pps", "--kv-unified")
	}
	return args
}

// measureCeiling runs llama-batched-bench.
func measureCeiling(ctx context.Context, s settings, e *entry, round int, lengths []string) (ceiling, error) {
	argv := append([]string{
		filepath.Join(s.Yardstick, "llama-batched-bench"), "-m", s.Model,
		"-c", strconv.Itoa(max(s.Context, e.Context)), "-t", strconv.Itoa(s.Threads), "--output-format", "jsonl",
	}, lengths...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = diesWithUs()
	var failure bytes.Buffer
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		return ceiling{}, fmt.Errorf("run %s: %w\n%s", strings.Join(argv, " "), err, failure.String())
	}
	c, err := parseCeiling(out)
	if err != nil {
		return ceiling{}, fmt.Errorf("run %s: %w", strings.Join(argv, " "), err)
	}
	c.Entry, c.Round, c.Command = e.Name, round, argv
	return c, nil
}

// parseCeiling reads the figures of the only row.
func parseCeiling(out []byte) (ceiling, error) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		var row struct {
			Tokens    int     `json:"tg"`
			Sequences int     `json:"pl"`
			Prefill   float64 `json:"t_pp"`
			Decode    float64 `json:"t_tg"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil || row.Sequences == 0 {
			continue // the program prints other lines too
		}
		if seconds := row.Prefill + row.Decode; seconds > 0 && row.Tokens > 0 {
			return ceiling{
				TokensPerSecond: float64(row.Tokens*row.Sequences) / seconds,
				StepMS:          row.Decode / float64(row.Tokens) * 1000,
			}, nil
		}
	}
	return ceiling{}, fmt.Errorf("no result in its output: %.300q", out)
}
