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
	MaxTopK          = 1 << 20
	MaxMessages      = 4096
	MaxToolNameBytes = 64
	// MaxReasoningBudget bounds the budget of a thinking block, in tokens.
	MaxReasoningBudget = 1 << 20
)

// Sampling says how the next token is chosen from the model's distribution. The
// stages apply in this order: logit bias, penalties, top-k, top-p, min-p,
// temperature, then the draw. Temperature 0 takes the likeliest token.
type Sampling struct {
	Temperature      float32 // 0..2; 0: greedy
	TopK             int     // 0: off
	TopP             float32 // (0..1]; 1: off
	MinP             float32 // [0..1]; 0: off
	RepeatPenalty    float32 // (0..10]; 1: off
	RepeatLastN      int     // tokens that the penalties look back; 0: none
	PresencePenalty  float32 // -2..2; 0: off
	FrequencyPenalty float32 // -2..2; 0: off
	LogitBias        map[int32]float32
	// Seed makes the draw repeatable: the same seed gives the same tokens when
	// the request runs alone. Nil: a fresh random seed.
	Seed *uint32
}

// DefaultSampling is used where neither request, configuration nor model file
// say otherwise. The values are llama.cpp's own defaults.
func DefaultSampling() Sampling {
	return Sampling{
		Temperature: 0.8, TopK: 40, TopP: 0.95, MinP: 0.05,
		RepeatPenalty: 1, RepeatLastN: 64,
	}
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
		{"repeat_penalty", s.RepeatPenalty, 0.01, 10},
		{"presence_penalty", s.PresencePenalty, -2, 2},
		{"frequency_penalty", s.FrequencyPenalty, -2, 2},
	} {
		if err := check(c.field, c.v, c.lo, c.hi); err != nil {
			return err
		}
	}
	if s.TopP == 0 {
		return Invalid("top_p", "must be above 0 (1 switches it off), got 0")
	}
	if s.TopK < 0 || s.TopK > MaxTopK {
		return Invalid("top_k", "must be between 0 (off) and %d, got %d", MaxTopK, s.TopK)
	}
	if s.RepeatLastN < 0 || s.RepeatLastN > MaxRepeatLastN {
		return Invalid("repeat_last_n", "must be between 0 and %d, got %d", MaxRepeatLastN, s.RepeatLastN)
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
