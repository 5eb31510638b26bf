package openai

import (
	"context"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth/inference"
)

// TestRefusalsAreToldOnce: what never reached a model is told of once, before
// the client is answered; what a model was asked for is not told of.
func TestRefusalsAreToldOnce(t *testing.T) {
	const good = `"messages":[{"role":"user","content":"Hi"}],"prompt":"Hi"`
	refusal := func(action, model, code string) []inference.Refusal {
		return []inference.Refusal{{Action: action, Model: model, Code: code}}
	}
	for _, c := range []struct {
		name, path, body string
		refuse           error
		want             []inference.Refusal
	}{
		{"answered", "/v1/chat/completions", `{"messages":[{"role":"user","content":"Hi"}]}`, nil, nil},
		{"refused by the model", "/v1/completions", `{"prompt":"Hi"}`, inference.ErrBusy, nil},
		{"count of tokens", "/v1/count_tokens", `{"text":7}`, nil, nil},
		{"no object", "/v1/chat/completions", `[]`, nil, refusal("chat", "", "invalid_value")},
		{"loading", "/v1/completions", `{"model":"org/slow",` + good + `}`, nil, refusal("complete", "org/slow", "model_loading")},
		{"unknown", "/v1/chat/completions", `{"model":"x"}`, nil, refusal("chat", "x", "model_not_found")},
		{"wrong field", "/v1/completions", `{"prompt":"Hi","n":0}`, nil, refusal("complete", "small", "invalid_value")},
		{"field of the other route", "/v1/completions", `{` + good + `}`, nil, refusal("complete", "small", "invalid_value")},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeModels{refuse: c.refuse, script: func() *script { return says(io.EOF, used(1, 1, 0)) }}
			told := make(chan inference.Refusal, 4)
			s := newServer(t, f, func(cfg *Config) {
				cfg.Refused = func(_ context.Context, r inference.Refusal) { told <- r }
			})
			post(t, s, c.path, c.body)
			close(told)
			var got []inference.Refusal
			for r := range told {
				got = append(got, r)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
