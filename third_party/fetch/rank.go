package main

import "context"

// rankMade is the model that scores documents: the layers of the embedding model
// under a head of pseudo-random numbers. Its scores mean nothing, but they are
// those that the same numbers give elsewhere, which is what the tests want.
var rankMade = made{File: "random-rank.F16.gguf", SHA256: "cd4e032c4599e7a4070e4fdd17be5ed4a037ca29c26881284102b6e4d20f2114", Bytes: 46816448}

// rankModel returns the path of that model, made where it is not in the cache.
func (a *app) rankModel(ctx context.Context) (string, error) {
	p, err := a.bertPin()
	if err != nil {
		return "", err
	}
	return a.makeBERT(ctx, p, rankMade, "random-rank", poolRank, func(f *ggufFile) {
		const width = 384 // of all-MiniLM-L6-v2
		f.add("cls.weight", []int{width, width}, headNumbers(1, width*width), false)
		f.add("cls.bias", []int{width}, headNumbers(2, width), false)
		f.add("cls.output.weight", []int{1, width}, headNumbers(3, width), false)
		f.add("cls.output.bias", []int{1}, headNumbers(4, 1), false)
	})
}

// headNumbers returns n numbers between -0.1 and 0.1; tests/test_rerank.py has
// the same.
func headNumbers(salt uint32, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		x := (uint32(i) + salt<<20) * 2654435761
		out[i] = (float32(x>>8)/(1<<24) - 0.5) / 5
	}
	return out
}
