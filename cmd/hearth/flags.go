package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"hearth/inference/llama"
)

// modelEnv names the model file where neither flag nor configuration does.
const modelEnv = "HEARTH_MODEL"

// defaultModelFile is what `make` fetches into the cache.
const defaultModelFile = "SmolLM2-135M-Instruct.Q4_1.gguf"

// loadFlags are the flags of every command that may load a model itself.
type loadFlags struct {
	model       string
	context     int
	sequences   int
	threads     int
	gpuLayers   Layers
	device      []string
	tensorSplit []float32
	kvType      string
	rpc         []string
	logLevel    string
	lora        []string
	// asks: the command itself sends requests, so that --lora also says what they
	// use.
	asks bool
}

// addLoadFlags adds the flags; modelHelp says what --model takes.
func addLoadFlags(cmd *cobra.Command, modelHelp string) *loadFlags {
	f := &loadFlags{gpuLayers: llama.AutoLayers}
	d := defaultConfig()
	flags := cmd.Flags()
	flags.StringVarP(&f.model, "model", "m", "", modelHelp)
	flags.IntVarP(&f.context, "context", "c", d.Engine.Context, "cells of the KV cache: tokens of all requests together")
	flags.IntVar(&f.sequences, "sequences", d.Engine.Sequences, "requests that are computed at the same time")
	flags.IntVarP(&f.threads, "threads", "t", 0, "threads on the CPU (default: one for each core)")
	flags.Var(&f.gpuLayers, "gpu-layers", "layers on GPUs")
	flags.StringSliceVar(&f.device, "device", nil, "devices to use, such as CUDA0 (repeat, or separate by commas)")
	flags.Float32SliceVar(&f.tensorSplit, "tensor-split", nil, "share of the model for each device, such as 3,1")
	flags.StringVar(&f.kvType, "kv-type", d.Engine.KVType, "type of the cells: f16, q8_0, q4_0")
	flags.StringSliceVar(&f.rpc, "rpc", nil, "ggml RPC servers whose devices are used too, such as 192.0.2.7:50052 (repeat, or separate by commas)")
	flags.StringArrayVar(&f.lora, "lora", nil, "LoRA adapter to load beside the model: NAME=FILE, or NAME=FILE:SCALE (repeatable)")
	flags.StringVar(&f.logLevel, "log-level", d.Telemetry.LogLevel, "debug, info, warn, error")
	_ = cmd.MarkFlagFilename("model", "gguf") // the flags exist
	_ = cmd.RegisterFlagCompletionFunc("kv-type", cobra.FixedCompletions([]string{"f16", "q8_0", "q4_0"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("gpu-layers", cobra.FixedCompletions([]string{"auto", "all", "0"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	return f
}

// apply puts what was given on the command line over the configuration. A flag
// also overrides what a single model says.
func (f *loadFlags) apply(cmd *cobra.Command, cfg *Config) error {
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	if given("context") {
		cfg.Engine.Context = f.context
	}
	if given("sequences") {
		cfg.Engine.Sequences = f.sequences
	}
	if given("threads") {
		cfg.Engine.Threads = f.threads
	}
	if given("gpu-layers") {
		cfg.Engine.GPULayers = f.gpuLayers
	}
	if given("device") {
		cfg.Engine.Device = f.device
	}
	if given("tensor-split") {
		cfg.Engine.TensorSplit = f.tensorSplit
	}
	if given("kv-type") {
		cfg.Engine.KVType = f.kvType
	}
	if given("rpc") {
		cfg.Engine.RPC = f.rpc
	}
	if given("log-level") {
		cfg.Telemetry.LogLevel = f.logLevel
	}
	for i := range cfg.Models {
		m := &cfg.Models[i]
		if given("context") {
			m.Context = 0
		}
		if given("gpu-layers") {
			m.GPULayers = nil
		}
		if given("device") {
			m.Device = nil
		}
		if given("tensor-split") {
			m.TensorSplit = nil
		}
		if given("kv-type") {
			m.KVType = ""
		}
	}
	if err := selectModel(cfg, f.model); err != nil {
		return err
	}
	if err := f.applyLora(cfg); err != nil {
		return err
	}
	if err := cfg.check(); err != nil {
		return configError(err)
	}
	return nil
}

// selectModel leaves in cfg the models to load: the one that name says (a file,
// or the id of a configured model), else that of HEARTH_MODEL, else the
// configured ones, else the default model where it was fetched.
func selectModel(cfg *Config, name string) error {
	by := "--model"
	if name == "" {
		name, by = os.Getenv(modelEnv), modelEnv
	}
	if name == "" {
		if len(cfg.Models) > 0 {
			return nil
		}
		path, err := defaultModel()
		if err != nil {
			return err
		}
		cfg.Models = []ModelConfig{{Path: path}}
		return nil
	}
	for _, m := range cfg.Models {
		if m.id() == name {
			cfg.Models = []ModelConfig{m}
			return nil
		}
	}
	if _, err := os.Stat(name); err != nil {
		return modelError(fmt.Errorf("%s: %q is neither a file nor the id of a configured model", by, name))
	}
	cfg.Models = []ModelConfig{{Path: name}}
	return nil
}

// defaultModel returns the path of the fetched default model.
func defaultModel() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", modelError(fmt.Errorf("no model is named, and the cache with the default one cannot be found: %w", err))
	}
	path := filepath.Join(dir, "hearth", "models", defaultModelFile)
	if _, err := os.Stat(path); err != nil {
		return "", modelError(fmt.Errorf("no model is named: use --model FILE, set %s, or list models in the configuration (the default model is not at %s)", modelEnv, path))
	}
	return path, nil
}

// checkFiles refuses model files that cannot be loaded, before anything starts.
func checkFiles(cfg *Config) error {
	for i := range cfg.Models {
		if err := checkModelFile(&cfg.Models[i]); err != nil {
			return modelError(err)
		}
	}
	return nil
}
