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
	least    float64 // ns of the quickest step that only decoded; 0: not measured yet
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
		if p.least == 0 || ns < p.least {
			p.least = ns
		}
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

// maxCrowd is how many times the target a step may take where many wait.
const maxCrowd = 4

// crowd is how many times the target a step may take while rows decode and others
// wait for their first token: more of a prompt at once is computed quicker, which
// is for the good of all, and is put off for the sake of those who decode.
func crowd(rows, waiting int) float64 {
	return min(max(float64(waiting)/float64(max(rows, 1)), 1), maxCrowd)
}

// promptShare is how many times as long as the rows of a step prompts may take beside
// them at least, however long those take. Who waits would otherwise pay for a target
// that cannot be met, and so would all: with fewer rows a step costs each of them more.
const promptShare = 2

// limit is how long a step, with what is computed beside it, may take at crowd times
// the target, in nanoseconds.
func (p *pace) limit(crowd float64) float64 {
	return max(p.target*crowd, (1+promptShare)*p.decode)
}

// chunk is how many prompt tokens fit beside the rows that decode, in a step that
// may take crowd times the target. It at most doubles
// what was tried before, for costs do not grow in a straight line.
func (p *pace) chunk(crowd float64) int {
	known := 2 * max(p.min, p.most)
	if p.token <= 0 {
		return min(known, p.max)
	}
	n := (p.limit(crowd) - p.decode) / p.token
	return int(min(max(n, float64(p.min)), float64(p.max), float64(known)))
}
