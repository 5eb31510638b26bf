package llama

/*
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"hearth/inference"
)

// Sampler is the sampling state of one choice. Its penalties look back over the
// tokens that it drew, and before them over SamplerSpec.History.
type Sampler struct {
	once
	m   *Model
	h   *C.hearth_sampler
	top int // places for likeliest tokens
	// logprobs tells whether probabilities were asked for.
	logprobs bool
	// by and call are the context and the number of the Sample call that used it
	// last.
	by   *Context
	call uint64
}

var errRow = errors.New("row cannot be sampled")

// NewSampler makes a sampler. It refuses values out of range, and a grammar that
// does not compile, with an *inference.InvalidError.
func (c *Context) NewSampler(spec *inference.SamplerSpec) (inference.Sampler, error) {
	s, err := c.m.newSampler(spec, false)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// newSampler makes a sampler; with reference set it runs llama.cpp's own chain
// over the whole vocabulary, for tests to compare with.
func (m *Model) newSampler(spec *inference.SamplerSpec, reference bool) (*Sampler, error) {
	if err := spec.Validate(m.info.Vocabulary); err != nil {
		return nil, err
	}
	if spec.TopLogprobs < 0 || spec.TopLogprobs > inference.MaxTopLogprobs {
		return nil, inference.Invalid("top_logprobs", "must be between 0 and %d, got %d", inference.MaxTopLogprobs, spec.TopLogprobs)
	}
	if spec.Foresee < 0 || spec.Foresee > C.HEARTH_MAX_FORESEEN {
		return nil, inference.Invalid("foresee", "must be between 0 and %d, got %d", C.HEARTH_MAX_FORESEEN, spec.Foresee)
	}
	for i, t := range spec.History {
		if t < 0 || int(t) >= m.info.Vocabulary {
			return nil, inference.Invalid("prompt", "token %d at place %d of its end is not in the vocabulary (0..%d)", t, i, m.info.Vocabulary-1)
		}
	}
	s := &Sampler{m: m, logprobs: spec.Logprobs}
	if spec.Logprobs {
		s.top = min(spec.TopLogprobs, m.info.Vocabulary)
	}
	p := C.hearth_sampler_params{
		temperature: C.float(spec.Temperature), top_k: C.int32_t(spec.TopK), top_p: C.float(spec.TopP), min_p: C.float(spec.MinP),
		repeat_penalty: C.float(spec.RepeatPenalty), repeat_last_n: C.int32_t(spec.RepeatLastN),
		presence_penalty: C.float(spec.PresencePenalty), frequency_penalty: C.float(spec.FrequencyPenalty),
		seed: C.uint32_t(spec.Seed), logprobs: flag(spec.Logprobs), top_logprobs: C.int32_t(s.top), reference: flag(reference),
		typical_p: C.float(spec.TypicalP), top_n_sigma: C.float(spec.TopNSigma),
		dry_multiplier: C.float(spec.DryMultiplier), dry_base: C.float(spec.DryBase),
		dry_allowed_length: C.int32_t(spec.DryAllowedLength), dry_last_n: C.int32_t(spec.DryLastN),
		xtc_probability: C.float(spec.XTCProbability), xtc_threshold: C.float(spec.XTCThreshold),
		mirostat: C.int32_t(spec.Mirostat), mirostat_tau: C.float(spec.MirostatTau), mirostat_eta: C.float(spec.MirostatEta),
		foresee: C.int32_t(spec.Foresee), scope: C.uint64_t(spec.Scope), append: flag(spec.Append && !spec.Logprobs),
		dynatemp_range: C.float(spec.DynatempRange), dynatemp_exponent: C.float(spec.DynatempExponent),
	}
	biasToken, bias := make([]int32, 0, len(spec.LogitBias)), make([]float32, 0, len(spec.LogitBias))
	for t, b := range spec.LogitBias {
		biasToken, bias = append(biasToken, t), append(bias, b)
	}
	var strings []byte
	var lengths []int64
	for _, list := range [][]string{spec.DryBreakers, spec.Banned} {
		for _, one := range list {
			strings, lengths = append(strings, one...), append(lengths, int64(len(one)))
		}
	}
	n := C.hearth_sampler_counts{
		n_breakers: C.int32_t(len(spec.DryBreakers)), n_banned: C.int32_t(len(spec.Banned)),
		n_bias: C.int32_t(len(bias)), n_history: C.int32_t(len(spec.History)),
	}
	g, err := packGrammar(spec.Grammar)
	if err != nil {
		return nil, err
	}
	rules, err := clientRules(spec.Grammar)
	if err != nil {
		return nil, err
	}
	err = m.use(func(h *C.hearth_model) error {
		var cerr *C.char
		s.h = C.hearth_sampler_new(h, &p, &n,
			(*C.int32_t)(unsafe.SliceData(biasToken)), (*C.float)(unsafe.SliceData(bias)), (*C.int32_t)(unsafe.SliceData(spec.History)),
			(*C.char)(ptr(unsafe.SliceData(strings))), (*C.int64_t)(unsafe.SliceData(lengths)),
			(*C.char)(ptr(unsafe.SliceData(g.text))), (*C.int64_t)(unsafe.SliceData(g.len)), flag(g.lazy),
			(*C.int32_t)(unsafe.SliceData(g.kind)), (*C.int32_t)(unsafe.SliceData(g.token)), C.int32_t(len(g.kind)), &cerr)
		if s.h == nil {
			return takeError(&cerr)
		}
		if rules != nil && rules.give(s.h, &cerr) != 0 {
			C.hearth_sampler_free(s.h)
			return takeError(&cerr)
		}
		m.users.add(&m.users.samplers, 1)
		return nil
	})
	if errors.Is(err, ErrClosed) {
		return nil, fmt.Errorf("create sampler: %w", err)
	}
	if err != nil {
		return nil, inference.Invalid("grammar", "%v", err)
	}
	return s, nil
}

// Accept advances the sampler over a token that it did not draw; tests script
// with it.
func (s *Sampler) Accept(token int32) error {
	var cerr *C.char
	if C.hearth_sampler_accept(s.h, C.int32_t(token), &cerr) != 0 {
		return takeError(&cerr)
	}
	return nil
}

// foresee returns what a draw would foresee behind the last token; tests look with
// it.
func (s *Sampler) foresee() (sure, likely []int32, err error) {
	var next [C.HEARTH_MAX_FORESEEN]int32
	var nSure, nLikely C.int32_t
	var cerr *C.char
	if C.hearth_sampler_foresee(s.h, (*C.int32_t)(&next[0]), &nSure, &nLikely, &cerr) != 0 {
		return nil, nil, takeError(&cerr)
	}
	return next[:nSure], next[nSure : nSure+nLikely], nil
}

// Allowed returns 1 for each token that the grammar allows next; tests compare
// with it.
func (s *Sampler) Allowed() ([]uint8, error) {
	out := make([]uint8, s.m.info.Vocabulary)
	var cerr *C.char
	if C.hearth_sampler_allowed(s.h, (*C.uint8_t)(unsafe.SliceData(out)), &cerr) != 0 {
		return nil, takeError(&cerr)
	}
	return out, nil
}

// Close frees the sampler.
func (s *Sampler) Close() error {
	if !s.close() {
		return fmt.Errorf("close sampler: %w", ErrClosed)
	}
	C.hearth_sampler_free(s.h)
	s.m.users.add(&s.m.users.samplers, -1)
	return nil
}
