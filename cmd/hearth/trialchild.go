package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"hearth/inference"
	"hearth/inference/llama"
)

// trialAdapter is the name that an adapter is tried by.
const trialAdapter = "tried"

// trialCommand is the command that the server runs itself with for a trial load.
const trialCommand = "trial-load"

func newTrialCommand() *cobra.Command {
	return &cobra.Command{
		Use:    trialCommand + " REQUEST",
		Short:  "Load a model file in this process, for another process that wants to know whether it can be",
		Hidden: true,
		Args:   usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var req trialRequest
			if err := json.Unmarshal([]byte(args[0]), &req); err != nil {
				return usageError(fmt.Errorf("the request: %w", err))
			}
			return runTrialLoad(cmd.Context(), &req, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}

// runTrialLoad does with the file what a server would, on one thread of the CPU
// and with few cells: it loads it, makes its context and its engine, and lets it
// answer with a few tokens. What it finds goes to out.
func runTrialLoad(ctx context.Context, req *trialRequest, out, errOut io.Writer) error {
	report := func(r trialReport) error { return json.NewEncoder(out).Encode(r) }
	dir, err := libDir()
	if err != nil {
		return modelError(err)
	}
	log := &errorLog{w: errOut}
	if err := llama.Init(dir, log.write); err != nil {
		return modelError(err)
	}
	if err := limitTrial(req.Memory); err != nil {
		return fmt.Errorf("limit the trial: %w", err)
	}
	cfg := defaultConfig()
	cfg.Engine.Trial.Off = true
	p := req.Placement
	p.Context, p.Batch, p.MicroBatch, p.Threads = 512, 64, 64, 1
	p.GPULayers, p.Device, p.TensorSplit, p.Mlock = 0, nil, nil, false
	cfg.Engine.Placement = p
	cfg.Engine.Sequences, cfg.Engine.Reserve = 1, 32
	l := &loader{cfg: &cfg, log: zerolog.Nop()}
	m := &ModelConfig{Path: req.Path, ChatTemplate: req.ChatTemplate}
	var use []inference.AdapterUse
	if req.Adapter != "" {
		m.Lora = []AdapterConfig{{Name: trialAdapter, Path: req.Adapter}}
		use = []inference.AdapterUse{{Name: trialAdapter}}
	}
	loaded, err := l.load(ctx, m, func(done float32) {
		_ = report(trialReport{Progress: done * 0.9}) // nobody may be listening
	})
	if err == nil {
		err = errors.Join(tryModel(ctx, loaded, use), loaded.Close())
	}
	if err != nil {
		err = log.explain(err)
		return errors.Join(report(trialReport{Refused: err.Error()}), modelError(err))
	}
	return report(trialReport{Passed: true})
}

// errorLog writes llama.cpp's errors and keeps the first, which says most: those
// that follow are of the callers.
type errorLog struct {
	w     io.Writer
	mu    sync.Mutex
	first string
}

func (l *errorLog) write(level int, msg string) {
	msg = strings.TrimSpace(msg)
	if level < llama.LogError || msg == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == "" {
		l.first = msg[:min(len(msg), 500)]
	}
	fmt.Fprintln(l.w, msg)
}

// explain adds to err what was logged, which llama.cpp's own errors leave out.
func (l *errorLog) explain(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == "" || strings.Contains(err.Error(), l.first) {
		return err
	}
	return fmt.Errorf("%w: %s", err, strings.ToValidUTF8(l.first, "?"))
}

// limitTrial bounds what the rest of this process may take: memory of its own
// (what is mapped from a file does not count), no core dump, no file written.
func limitTrial(memory int64) error {
	for _, l := range []struct {
		resource int
		value    uint64
	}{
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_FSIZE, 0},
		{unix.RLIMIT_DATA, dataBytes() + uint64(memory)},
	} {
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return err
		}
	}
	return nil
}

// dataBytes is what RLIMIT_DATA counts of this process already.
func dataBytes() uint64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmData:")
	line, _, _ := strings.Cut(rest, "kB")
	n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// tryModel tokenizes, renders the template and generates. That a model cannot do
// one of these, or not with this message, is no fault of its file.
func tryModel(ctx context.Context, m inference.Model, use []inference.AdapterUse) error {
	const text = "Hello, hearth: 1 + 1 = 2?"
	tokens, err := m.Tokenize(text, inference.TokenizeOptions{AddSpecial: true})
	if err != nil {
		return unlessRefused(err)
	}
	if _, err := m.Detokenize(tokens); err != nil {
		return unlessRefused(err)
	}
	o := inference.Options{Sampling: inference.DefaultSampling(), N: 1, MaxTokens: 4, Adapters: use}
	s, err := m.Chat(ctx, &inference.ChatRequest{Options: o, Messages: []inference.Message{{Role: "user", Content: text}}})
	if err != nil {
		if err := unlessRefused(err); err != nil {
			return err
		}
		if s, err = m.Complete(ctx, &inference.CompletionRequest{Options: o, Prompt: text}); err != nil {
			return unlessRefused(err)
		}
	}
	defer s.Close()
	for {
		_, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return unlessRefused(err)
		}
	}
}

// unlessRefused drops an error that says that the request was not for this model.
func unlessRefused(err error) error {
	if errors.Is(err, inference.ErrInvalid) || errors.Is(err, inference.ErrUnsupported) || errors.Is(err, inference.ErrOverflow) {
		return nil
	}
	return err
}
