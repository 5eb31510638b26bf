package inference

import (
	"fmt"
	"math"
)

// Bounds of what a request may ask for. They are part of the API: docs/api.md
// lists them, and every refusal names the one that was crossed.
const (
	MaxChoices       = 16
	MaxStops         = 16
	MaxStopBytes     = 512
	MaxTopLogprobs   = 20
	MaxLogitBias     = 1024
	MaxTools         = 512
	MaxSchemaBytes   = 64 << 10
	MaxSchemaDepth   = 64
	MaxSchemaNodes   = 2000
	MaxRepeatLastN   = 4096
	MaxBanned        = 64
	MaxBannedBytes   = 128
	MaxDryBreakers   = 16
	MaxBreakerBytes  = 40
	MaxTopK          = 1 << 20
	MaxMessages      = 4096
	MaxToolNameBytes = 64
	// MaxTextBytes bounds a text that is tokenized, such as a rendered conversation.
	MaxTextBytes = 1 << 20
	// MaxReasoningBudget bounds the budget of a thinking block, in tokens.
	MaxReasoningBudget = 1 << 20
)

// Sampling says how the next token is chosen from the model's distribution. The
// stages apply in llama.cpp's order: logit bias, penalties, DRY, top-n-sigma,
// top-k, typical, top-p, min-p, XTC, temperature, the draw. With Mirostat only
// the bias and the temperature come before its own draw. The zero value of a
// stage switches it off, but for those whose comment names another one.
type Sampling struct {
	Temperature      float32 // 0..2; 0: greedy
	TopK             int     // 0: off
	TopP             float32 // (0..1]; 1: off
	MinP             float32 // [0..1]; 0: off
	RepeatPenalty    float32 // [0.01..10]; 1: off
	RepeatLastN      int     // tokens that the penalties look back, prompt included; 0: none
	PresencePenalty  float32 // -2..2; 0: off
	FrequencyPenalty float32 // -2..2; 0: off
	LogitBias        map[int32]float32

	// TypicalP keeps the tokens whose surprise is nearest to the expected one, up
	// to this probability together. 0..1; 0 and 1: off. (Meister et al., Locally
	// Typical Sampling, 2022.)
	TypicalP float32
	// TopNSigma keeps the tokens within so many standard deviations of the
	// greatest logit. 0..100; 0: off. (Tang et al., Top-nσ, 2024.)
	TopNSigma float32
	// DryMultiplier scales the penalty of tokens that would extend a repetition of
	// at least DryAllowedLength tokens by DryBase^(length - DryAllowedLength).
	// 0..100; 0: off. DRY looks back on DryLastN tokens, prompt included, and no
	// further than to the last of DryBreakers. (The sampler "Don't Repeat
	// Yourself" of text-generation-webui, by p-e-w.)
	DryMultiplier    float32
	DryBase          float32 // 1..10, unless DRY is off
	DryAllowedLength int     // 0..MaxRepeatLastN
	DryLastN         int     // 0..MaxRepeatLastN; 0: DRY is off
	DryBreakers      []string
	// XTCProbability is how often the likeliest tokens are left out: of those
	// with at least XTCThreshold all but the least likely. 0..1; 0: off. (The
	// sampler "Exclude Top Choices" of text-generation-webui, by p-e-w.)
	XTCProbability float32
	XTCThreshold   float32 // 0..1; above 0.5: off
	// Mirostat steers the surprise of the tokens to MirostatTau bits, learning at
	// the rate MirostatEta. 0: off; 1 and 2: the algorithm's versions. (Basu et
	// al., Mirostat, 2021.)
	Mirostat    int
	MirostatTau float32 // 0..100
	MirostatEta float32 // 0..1
	// DynatempRange lets the temperature move by so much around Temperature: low
	// where the model is sure, high where it is not, along the entropy to the
	// power of DynatempExponent. 0..2; 0: off.
	DynatempRange    float32
	DynatempExponent float32 // 0..10
	// Banned strings never appear in the generated text: no token is drawn that
	// would complete one. Compared byte by byte.
	Banned []string

	// Seed makes the draw repeatable: the same seed gives the same tokens when
	// the request runs alone. Nil: a fresh random seed.
	Seed *uint32
}

// DefaultSampling is used where neither request, configuration nor model file
// say otherwise. The values are llama.cpp's own defaults.
func DefaultSampling() Sampling {
	return Sampling{
		Temperature: 0.8, TopK: 40, TopP: 0.95, MinP: 0.05,
		RepeatPenalty: 1, RepeatLastN: 64, TypicalP: 1,
		DryBase: 1.75, DryAllowedLength: 2, DryLastN: 64, DryBreakers: []string{"\n", ":", "\"", "*"},
		XTCThreshold: 0.1, MirostatTau: 5, MirostatEta: 0.1, DynatempExponent: 1,
	}
}

// LookBack returns how many tokens before the answer its sampler has to know.
func (s *Sampling) LookBack() int {
	n := 0
	if s.RepeatPenalty != 1 || s.PresencePenalty != 0 || s.FrequencyPenalty != 0 {
		n = s.RepeatLastN
	}
	if s.DryMultiplier != 0 {
		n = max(n, s.DryLastN)
	}
	return n
}

// Validate reports the first value out of its range as an *InvalidError that
// names the field as OpenAI's API spells it.
func (s *Sampling) Validate(vocab int) error {
	check := func(field string, v, lo, hi float32) error {
		if math.IsNaN(float64(v)) || v < lo || v > hi {
			return Invalid(field, "must be between %g and %g, got %g", lo, hi, v)
		}
		return nil
	}
	for _, c := range []struct {
		field     string
		v, lo, hi float32
	}{
		{"temperature", s.Temperature, 0, 2},
		{"top_p", s.TopP, 0, 1},
		{"min_p", s.MinP, 0, 1},
		{"typical_p", s.TypicalP, 0, 1},
		{"top_n_sigma", s.TopNSigma, 0, 100},
		{"repeat_penalty", s.RepeatPenalty, 0.01, 10},
		{"presence_penalty", s.PresencePenalty, -2, 2},
		{"frequency_penalty", s.FrequencyPenalty, -2, 2},
		{"dry_multiplier", s.DryMultiplier, 0, 100},
		{"xtc_probability", s.XTCProbability, 0, 1},
		{"xtc_threshold", s.XTCThreshold, 0, 1},
		{"mirostat_tau", s.MirostatTau, 0, 100},
		{"mirostat_eta", s.MirostatEta, 0, 1},
		{"dynatemp_range", s.DynatempRange, 0, 2},
		{"dynatemp_exponent", s.DynatempExponent, 0, 10},
	} {
		if err := check(c.field, c.v, c.lo, c.hi); err != nil {
			return err
		}
	}
	if s.DryMultiplier != 0 || s.DryBase != 0 {
		if err := check("dry_base", s.DryBase, 1, 10); err != nil {
			return err
		}
	}
	if s.TopP == 0 {
		return Invalid("top_p", "must be above 0 (1 switches it off), got 0")
	}
	if s.TopK < 0 || s.TopK > MaxTopK {
		return Invalid("top_k", "must be between 0 (off) and %d, got %d", MaxTopK, s.TopK)
	}
	for _, c := range []struct {
		field string
		v, hi int
	}{
		{"repeat_last_n", s.RepeatLastN, MaxRepeatLastN},
		{"dry_allowed_length", s.DryAllowedLength, MaxRepeatLastN},
		{"dry_penalty_last_n", s.DryLastN, MaxRepeatLastN},
		{"mirostat", s.Mirostat, 2},
	} {
		if c.v < 0 || c.v > c.hi {
			return Invalid(c.field, "must be between 0 and %d, got %d", c.hi, c.v)
		}
	}
	if err := checkStrings("dry_sequence_breakers", s.DryBreakers, MaxDryBreakers, MaxBreakerBytes); err != nil {
		return err
	}
	if err := checkStrings("banned_strings", s.Banned, MaxBanned, MaxBannedBytes); err != nil {
		return err
	}
	if len(s.LogitBias) > MaxLogitBias {
		return Invalid("logit_bias", "may hold at most %d tokens, got %d", MaxLogitBias, len(s.LogitBias))
	}
	for t, b := range s.LogitBias {
		if t < 0 || int(t) >= vocab {
			return Invalid("logit_bias", "token %d is not in the vocabulary (0..%d)", t, vocab-1)
		}
		if err := check(fmt.Sprintf("logit_bias[%d]", t), b, -100, 100); err != nil {
			return err
		}
	}
	return nil
}

// checkStrings refuses lists that are too long, and strings that are empty or too
// long.
func checkStrings(field string, list []string, most, bytes int) error {
	if len(list) > most {
		return Invalid(field, "may hold at most %d strings, got %d", most, len(list))
	}
	for i, v := range list {
		if v == "" || len(v) > bytes {
			return Invalid(fmt.Sprintf("%s[%d]", field, i), "must have 1 to %d bytes, has %d", bytes, len(v))
		}
	}
	return nil
}
