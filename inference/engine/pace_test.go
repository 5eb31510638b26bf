package engine

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	type step struct {
		rows, prefill int
		d             time.Duration
	}
	const ms = time.Millisecond
	for _, c := range []struct {
		name  string
		steps []step
		want  int
	}{
		{"nothing measured", nil, 32},
		{"decode alone tells nothing of prompts", []step{{4, 0, 30 * ms}}, 32},
		{"a prompt alone", []step{{0, 100, 300 * ms}}, 32},
		{"decode 30 ms, 3 ms a token", []step{{4, 0, 30 * ms}, {4, 20, 90 * ms}}, 40},
		{"slow machine", []step{{4, 0, 200 * ms}, {4, 10, 400 * ms}}, 20},
		{"rows alone exceed the target", []step{{4, 0, 400 * ms}, {4, 50, 800 * ms}}, 100},
		{"fast machine", []step{{4, 0, 5 * ms}, {4, 10, 5 * ms}, {4, 100, 6 * ms}}, 200},
		{"a token that costs nothing", []step{{4, 0, 5 * ms}, {4, 300, 4 * ms}}, 500},
		{"a mixed step cheaper than decode", []step{{4, 0, 30 * ms}, {4, 10, 20 * ms}}, 32},
	} {
		p := pace{target: float64(150 * ms), min: 16, max: 500}
		for _, s := range c.steps {
			p.observe(s.rows, s.prefill, s.d)
		}
		if got := p.chunk(1); got != c.want {
			t.Errorf("%s: %d tokens, want %d", c.name, got, c.want)
		}
	}
}

func TestPaceFollowsAChange(t *testing.T) {
	p := pace{target: float64(100 * time.Millisecond), min: 1, max: 500, most: 500}
	for range 50 {
		p.observe(0, 10, 10*time.Millisecond)
	}
	for range 50 {
		p.observe(0, 10, 100*time.Millisecond)
	}
	if got := p.chunk(1); got < 9 || got > 11 {
		t.Errorf("%d tokens, want about 10", got)
	}
}

// TestCrowd: the more wait for each that decodes, the larger the chunk.
func TestCrowd(t *testing.T) {
	p := pace{target: 150, min: 1, max: 500, most: 500, decode: 50, token: 2}
	for _, c := range []struct{ rows, waiting, want int }{
		{1, 0, 50}, {4, 4, 50}, {8, 2, 50}, {4, 8, 125}, {1, 3, 200}, {1, 7, 275}, {1, 31, 275}, {0, 5, 275},
	} {
		if got := p.chunk(crowd(c.rows, c.waiting)); got != c.want {
			t.Errorf("%d decode and %d wait: %d tokens, want %d", c.rows, c.waiting, got, c.want)
		}
	}
}
