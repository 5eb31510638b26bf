package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"hearth/inference"
)

// TestCallersHaveTheirWeight: a request carries the weight that the configuration
// gives its principal.
func TestCallersHaveTheirWeight(t *testing.T) {
	for _, c := range []struct {
		weights map[string]float64
		want    float64
	}{
		{nil, 0},
		{map[string]float64{"somebody": 3}, 0},
		{map[string]float64{inference.DefaultCaller.Principal: 3}, 3},
	} {
		cfg := defaultConfig()
		cfg.Engine.Weights = c.weights
		var got inference.Caller
		h := (&app{cfg: cfg}).identify(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = inference.CallerFrom(r.Context()) }))
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		if got.Weight != c.want || !got.Is(inference.DefaultCaller) {
			t.Errorf("%v: %+v", c.weights, got)
		}
	}
}
