package main

import (
	"github.com/spf13/cobra"

	"hearth/inference"
)

// samplingFlags say how an answer is drawn and how long it may be.
type samplingFlags struct {
	temperature, topP, minP, repeat float32
	topK, maxTokens                 int
	seed                            uint32
	stop                            []string
}

func addSamplingFlags(cmd *cobra.Command) *samplingFlags {
	f := &samplingFlags{}
	d := inference.DefaultSampling()
	flags := cmd.Flags()
	flags.Float32Var(&f.temperature, "temperature", d.Temperature, "0 (always the likeliest token) to 2")
	flags.Float32Var(&f.topP, "top-p", d.TopP, "keep the likeliest tokens of this probability; 1: off")
	flags.Float32Var(&f.minP, "min-p", d.MinP, "keep tokens of at least this share of the likeliest; 0: off")
	flags.IntVar(&f.topK, "top-k", d.TopK, "keep this many tokens; 0: off")
	flags.Float32Var(&f.repeat, "repeat-penalty", d.RepeatPenalty, "make tokens of late less likely; 1: off")
	flags.IntVar(&f.maxTokens, "max-tokens", 0, "most tokens of an answer; 0: as many as the context holds")
	flags.Uint32Var(&f.seed, "seed", 0, "the same seed draws the same tokens (default: a new one each time)")
	flags.StringArrayVar(&f.stop, "stop", nil, "end the answer before this text (repeatable)")
	return f
}

// options returns a request's options: the model's defaults with what was given.
func (f *samplingFlags) options(cmd *cobra.Command, m inference.Generator) inference.Options {
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	o := inference.Options{Caller: inference.DefaultCaller, N: 1, MaxTokens: f.maxTokens, Stop: f.stop, Sampling: m.Info().Defaults}
	s := &o.Sampling
	if given("temperature") {
		s.Temperature = f.temperature
	}
	if given("top-p") {
		s.TopP = f.topP
	}
	if given("min-p") {
		s.MinP = f.minP
	}
	if given("top-k") {
		s.TopK = f.topK
	}
	if given("repeat-penalty") {
		s.RepeatPenalty = f.repeat
	}
	if given("seed") {
		s.Seed = &f.seed
	}
	return o
}
