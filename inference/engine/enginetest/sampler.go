package enginetest

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"hearth/inference"
)

// errClosed is what a second Close returns.
var errClosed = errors.New("enginetest: sampler closed twice")

// Sampler is the state of one choice.
type Sampler struct {
	b        *Backend
	spec     inference.SamplerSpec
	accepted []int32
	rng      *rand.Rand
	closed   atomic.Bool
}

// NewSampler implements engine.Samplers. A grammar without a root rule is
// refused, as the real one does; its rules are not followed.
func (b *Backend) NewSampler(spec *inference.SamplerSpec) (inference.Sampler, error) {
	if spec.Grammar != nil && !strings.Contains(spec.Grammar.GBNF, "root") {
		return nil, inference.Invalid("grammar", "has no rule named root")
	}
	if b.o.OnSampler != nil {
		if err := b.o.OnSampler(spec); err != nil {
			return nil, err
		}
	}
	b.samplers.Add(1)
	return b.sampler(*spec), nil
}

func (b *Backend) sampler(spec inference.SamplerSpec) *Sampler {
	return &Sampler{b: b, spec: spec, rng: rand.New(rand.NewPCG(uint64(spec.Seed), 0))}
}

// Close implements inference.Sampler.
func (s *Sampler) Close() error {
	if s.closed.Swap(true) {
		s.b.oldSamplers.Add(1)
		return errClosed
	}
	s.b.samplers.Add(-1)
	return nil
}

// OpenSamplers returns how many samplers are not closed, and how often one was
// closed a second time.
func (b *Backend) OpenSamplers() (open, twice int) {
	return int(b.samplers.Load()), int(b.oldSamplers.Load())
}

// draw chooses the token behind history and accepts it.
func (s *Sampler) draw(history []int32, adapters uint64) inference.Sampled {
	token := s.next(history, adapters)
	s.accepted = append(s.accepted, token)
	out := inference.Sampled{Token: token}
	if s.spec.Logprobs {
		out.Logprob = -float32(token%7) / 8
		for i := range s.spec.TopLogprobs {
			out.Top = append(out.Top, inference.TokenLogprob{Token: (token + int32(i)) % EOG, Logprob: -float32(i)})
		}
	}
	return out
}

// foresee looks ahead behind the last token of each sampler.
func (b *Backend) foresee(rows []inference.SampleRow, out []inference.Sampled) {
	for i, r := range rows {
		if out[i].Skipped || i+1 < len(rows) && rows[i+1].Guess && !out[i+1].Skipped {
			continue
		}
		s := r.Sampler.(*Sampler)
		if b.o.Forced == nil || s.spec.Grammar == nil || out[i].Err != nil || out[i].Token == EOG {
			continue
		}
		history := append(b.history(b.last.Seq[r.Index], b.last.Pos[r.Index]), out[i].Token)
		text := Tokens(b.o.Forced(history))
		if s.spec.Append && !s.spec.Logprobs {
			s.accepted = append(s.accepted, text...)
			out[i].Appended, text = text, nil
		}
		if s.spec.Foresee > 0 && (len(out[i].Appended) > 0 || len(text) > 0) {
			text = append(text, '?') // which may be wrong
		}
		out[i].Likely = text[:min(len(text), s.spec.Foresee)]
	}
}

func (s *Sampler) next(history []int32, adapters uint64) int32 {
	b := s.b
	if b.o.Forced != nil && s.spec.Grammar != nil {
		if text := b.o.Forced(history); text != "" {
			return int32(text[0])
		}
	}
	if b.o.Next != nil {
		return b.o.Next(history)
	}
	if b.o.Reply != nil {
		n := len(s.accepted)
		reply := b.o.Reply(b.Text(history[:len(history)-n]))
		if n < len(reply) {
			return int32(reply[n])
		}
		return EOG
	}
	h := uint64(14695981039346656037) ^ adapters
	for _, t := range history {
		h = (h ^ uint64(t)) * 1099511628211
	}
	if s.spec.Temperature > 0 {
		h ^= s.rng.Uint64()
	}
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	if n := uint64(b.o.EOGEvery); n > 0 && h%n == 0 {
		return EOG
	}
	return int32('a' + h>>8%26)
}

// Reference is the answer to a prompt without any scheduler: what every
// request of that specification must get, whatever runs beside it. It ends with
// EOG, or after limit tokens.
func (b *Backend) Reference(prompt []int32, spec inference.SamplerSpec, limit int, adapters ...inference.AdapterScale) []int32 {
	s := b.sampler(spec)
	history := append([]int32(nil), prompt...)
	var answer []int32
	for len(answer) < limit {
		t := s.draw(history, mark(adapters)).Token
		answer = append(answer, t)
		if t == EOG {
			break
		}
		history = append(history, t)
	}
	return answer
}
