package engine

import "time"

// pace measures what steps cost and sizes the chunk of prompt tokens that a
// step may compute while others decode.
type pace struct {
	target   float64 // ns between two tokens
	min, max int     // tokens of a chunk
	decode   float64 // ns of a step that only decodes; 0: not measured yet
	token    float64 // ns that one more prompt token costs; 0: not measured yet
}

const paceWeight = 0.2 // of the newest measurement

// observe takes the time of one step that ended with sampling. A step that
// samples nothing is no measure: an asynchronous backend returns before it has
// computed.
func (p *pace) observe(rows, prefill int, d time.Duration) {
	ns := float64(d)
	switch {
	case prefill == 0:
		smooth(&p.decode, ns)
	case rows > 0:
		smooth(&p.token, max(ns-p.decode, 0)/float64(prefill))
	default:
		smooth(&p.token, ns/float64(prefill))
	}
}

func smooth(v *float64, x float64) {
	if *v == 0 {
		*v = x
		return
	}
	*v += paceWeight * (x - *v)
}

// chunk is how many prompt tokens fit beside the rows that decode.
func (p *pace) chunk() int {
	if p.token <= 0 {
		return min(2*p.min, p.max)
	}
	n := (p.target - p.decode) / p.token
	return int(min(max(n, float64(p.min)), float64(p.max)))
}
