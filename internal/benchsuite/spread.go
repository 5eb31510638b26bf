package main

import "slices"

// spread is a median with the extremes, over the rounds.
type spread struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Values []float64 `json:"values"` // by round, of the rounds that have one
}

func spreadOf(values []float64) spread {
	s := spread{Values: values}
	if len(values) == 0 {
		return s
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	s.Min, s.Median, s.Max = sorted[0], sorted[middle], sorted[len(sorted)-1]
	if len(sorted)%2 == 0 {
		s.Median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return s
}

// byRound is a figure of a system in each round that has one.
type byRound map[int]float64

func (b byRound) spread() spread {
	var values []float64
	for _, round := range b.rounds() {
		values = append(values, b[round])
	}
	return spreadOf(values)
}

func (b byRound) rounds() []int {
	var rounds []int
	for round := range b {
		rounds = append(rounds, round)
	}
	slices.Sort(rounds)
	return rounds
}

// over returns the ratios of the rounds that both have, but for those whose
// divisor is zero.
func (b byRound) over(other byRound) byRound {
	out := byRound{}
	for round, v := range b {
		if o, ok := other[round]; ok && o != 0 {
			out[round] = v / o
		}
	}
	return out
}
