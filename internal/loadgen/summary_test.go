package loadgen

import (
	"math"
	"reflect"
	"testing"
)

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[99-i] = float64(i + 1) // unsorted on purpose
	}
	tests := []struct {
		name   string
		values []float64
		p      float64
		want   float64
	}{
		{"median of a hundred", hundred, 50, 50},
		{"p99 of a hundred", hundred, 99, 99},
		{"maximum", hundred, 100, 100},
		{"p0 is the minimum", hundred, 0, 1},
		{"one value", []float64{7}, 99, 7},
		{"p99 of few is the largest", []float64{3, 1, 2}, 99, 3},
		{"median of two is the lower", []float64{2, 1}, 50, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Percentile(tt.values, tt.p); got != tt.want {
				t.Errorf("Percentile(%v) = %v, want %v", tt.p, got, tt.want)
			}
		})
	}
	if hundred[0] != 100 {
		t.Error("Percentile sorted its caller's slice")
	}
	if got := Percentile(nil, 50); !math.IsNaN(got) {
		t.Errorf("Percentile of nothing = %v, want NaN", got)
	}
}

func TestSummarizeCountsTheWatchedGroupInTheWindowOnly(t *testing.T) {
	r := &Result{
		Scenario: Scenario{Name: "x", Watch: "a", Groups: []Group{
			{Name: "a", Clients: 1, MaxTokens: 8}, {Name: "b", Clients: 1, Requests: 1, MaxTokens: 2},
		}},
		WindowFrom: 100, WindowTo: 200,
		Samples: []Sample{
			// Gaps 40 (before the window), 30 (into it), 50 (in it), 60 (out of it).
			{Group: "a", Start: 10, Arrivals: []float64{50, 90, 120, 170, 230}, End: 231, Cut: true},
			{Group: "b", Start: 100, Arrivals: []float64{150, 195}, End: 196, PromptTokens: 9, CachedTokens: 3, CompletionTokens: 2, Finish: "length"},
		},
	}
	got := Summarize(r)
	want := Summary{
		Requests: 1, Tokens: 4, WindowMS: 100, TokensPerSecond: 40,
		TTFT: Dist{N: 1, P50: 50, P99: 50, Max: 50}, ITL: Dist{N: 3, P50: 50, P99: 60, Max: 60},
		PromptTokens: 9, CachedTokens: 3,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Summarize =\n%+v, want\n%+v", got, want)
	}
}

func TestSummarizeCountsShortAndCoalesced(t *testing.T) {
	r := &Result{
		Scenario: Scenario{Groups: []Group{{Name: "a", Clients: 1, Requests: 2, MaxTokens: 5}}},
		WindowTo: 1000,
		Samples: []Sample{
			{Group: "a", Arrivals: []float64{10, 20, 30}, End: 40, CompletionTokens: 5},
			{Group: "a", Start: 50, Arrivals: []float64{60, 70}, End: 80, CompletionTokens: 2},
		},
	}
	got := Summarize(r)
	if got.Short != 1 || got.Coalesced != 2 || got.Tokens != 7 {
		t.Errorf("short %d, coalesced %d, tokens %d; want 1, 2, 7", got.Short, got.Coalesced, got.Tokens)
	}
}

func TestSummarizeNothing(t *testing.T) {
	if got := Summarize(&Result{}); !reflect.DeepEqual(got, Summary{}) {
		t.Errorf("Summarize of nothing = %+v", got)
	}
}
