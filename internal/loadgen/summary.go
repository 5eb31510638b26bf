package loadgen

import (
	"math"
	"slices"
)

// Dist is a distribution of times in milliseconds.
type Dist struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// Percentile returns the smallest value that at least p percent (0..100) of the
// values do not exceed, and NaN of no values. The slice is not changed.
func Percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func distribution(values []float64) Dist {
	if len(values) == 0 {
		return Dist{}
	}
	return Dist{N: len(values), P50: Percentile(values, 50), P99: Percentile(values, 99), Max: Percentile(values, 100)}
}

// Summary is what a run comes to.
type Summary struct {
	Requests int `json:"requests"` // that ran to their end
	// Tokens produced in the window, and their rate; of embeddings, the tokens
	// of the texts.
	Tokens          int     `json:"tokens"`
	WindowMS        float64 `json:"window_ms"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	// TTFT of the requests of groups that have a number of them; of embeddings,
	// the time to the whole answer.
	TTFT Dist `json:"ttft"`
	// ITL is the time between pieces of the watched group (or of all) in the window.
	ITL          Dist `json:"itl"`
	PromptTokens int  `json:"prompt_tokens"` // of the groups that have a number of requests
	CachedTokens int  `json:"cached_tokens"`
	// Short counts the requests that ended before MaxTokens tokens, where no
	// grammar decides when an answer ends.
	Short int `json:"short"`
	// Documents are the whole documents that were finished in the window, of
	// scenarios that ask for documents.
	Documents          int     `json:"documents,omitempty"`
	DocumentsPerSecond float64 `json:"documents_per_second,omitempty"`
	// Turns of the conversations, of scenarios that have any.
	Turns []Turn `json:"turns,omitempty"`
	// Coalesced counts the tokens that came together with another in one piece.
	Coalesced int `json:"coalesced"`
}

// Summarize reduces a run to its figures.
func Summarize(r *Result) Summary {
	limits := map[string]Group{}
	for _, g := range r.Scenario.Groups {
		limits[g.Name] = g
	}
	sum := Summary{WindowMS: r.WindowTo - r.WindowFrom}
	var ttft, gaps []float64
	for i := range r.Samples {
		s := &r.Samples[i]
		group := limits[s.Group]
		if !s.Cut && s.Start >= r.WindowFrom && s.End <= r.WindowTo {
			sum.Tokens += s.Tokens()
		} else {
			sum.Tokens += arrivedIn(s.Arrivals, r.WindowFrom, r.WindowTo)
		}
		if r.Scenario.Watch == "" || r.Scenario.Watch == s.Group {
			gaps = append(gaps, s.Gaps(r.WindowFrom, r.WindowTo)...)
		}
		if !s.Cut {
			sum.Requests++
			sum.Coalesced += max(s.CompletionTokens-len(s.Arrivals), 0)
			if s.CompletionTokens < group.MaxTokens && !group.grammar() {
				sum.Short++
			}
			if s.Document && s.Start >= r.WindowFrom && s.End <= r.WindowTo {
				sum.Documents++
			}
		}
		if group.Requests > 0 {
			if t, ok := s.TTFT(); ok {
				ttft = append(ttft, t)
			}
			sum.PromptTokens += s.PromptTokens
			sum.CachedTokens += s.CachedTokens
		}
	}
	if sum.WindowMS > 0 {
		sum.TokensPerSecond = float64(sum.Tokens) / sum.WindowMS * 1000
		sum.DocumentsPerSecond = float64(sum.Documents) / sum.WindowMS * 1000
	}
	sum.Turns = turns(r)
	sum.TTFT, sum.ITL = distribution(ttft), distribution(gaps)
	return sum
}

func arrivedIn(arrivals []float64, from, to float64) int {
	n := 0
	for _, at := range arrivals {
		if at >= from && at <= to {
			n++
		}
	}
	return n
}
