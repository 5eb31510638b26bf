package main

import (
	"github.com/spf13/cobra"

	"hearth/inference"
)

// samplingFlags say how an answer is drawn and how long it may be.
type samplingFlags struct {
	temperature, topP, minP, repeat float32
	typical, sigma, dry, xtc        float32
	dynatemp                        float32
	topK, maxTokens, mirostat       int
	seed                            uint32
	stop, ban                       []string
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
	flags.Float32Var(&f.typical, "typical-p", d.TypicalP, "keep the tokens of the most expected surprise, of this probability; 1: off")
	flags.Float32Var(&f.sigma, "top-n-sigma", d.TopNSigma, "keep tokens within so many standard deviations of the likeliest; 0: off")
	flags.Float32Var(&f.dry, "dry-multiplier", d.DryMultiplier, "make tokens that extend a repetition less likely; 0: off")
	flags.Float32Var(&f.xtc, "xtc-probability", d.XTCProbability, "how often the likeliest tokens are left out; 0: off")
	flags.IntVar(&f.mirostat, "mirostat", d.Mirostat, "steer the surprise of the tokens, by version 1 or 2; 0: off")
	flags.Float32Var(&f.dynatemp, "dynatemp-range", d.DynatempRange, "let the temperature move by so much; 0: off")
	flags.StringArrayVar(&f.ban, "ban", nil, "never write this text (repeatable)")
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
	if given("typical-p") {
		s.TypicalP = f.typical
	}
	if given("top-n-sigma") {
		s.TopNSigma = f.sigma
	}
	if given("dry-multiplier") {
		s.DryMultiplier = f.dry
	}
	if given("xtc-probability") {
		s.XTCProbability = f.xtc
	}
	if given("mirostat") {
		s.Mirostat = f.mirostat
	}
	if given("dynatemp-range") {
		s.DynatempRange = f.dynatemp
	}
	s.Banned = f.ban
	if given("seed") {
		s.Seed = &f.seed
	}
	return o
}
