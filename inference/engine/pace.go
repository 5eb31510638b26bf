package engine

import "time"

// pace measures what steps cost and sizes the chunk of prompt tokens that a
// step may compute while others decode.
type pace struct {
	target   float64 // ns between two tokens
	min, max int     // tokens of a chunk
	decode   float64 // ns of a step that only decodes; 0: not measured yet
	token    float64 // ns that one more prompt token costs; 0: not measured yet
	most     int     // prompt tokens of the largest chunk measured beside rows
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
		// At least 1 ns: beside many rows a few tokens may seem to be free.
		smooth(&p.token, max(ns-p.decode, 1)/float64(prefill))
		p.most = max(p.most, prefill)
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

// chunk is how many prompt tokens fit beside the rows that decode. Where the
// rows alone take the time there is, prompts get half as much again: those who
// wait would otherwise pay for a target that cannot be met. It at most doubles
// what was tried before, for costs do not grow in a straight line.
func (p *pace) chunk() int {
	known := 2 * max(p.min, p.most)
	if p.token <= 0 {
		return min(known, p.max)
	}
	n := max(p.target-p.decode, p.decode/2) / p.token
	return int(min(max(n, float64(p.min)), float64(p.max), float64(known)))
}
