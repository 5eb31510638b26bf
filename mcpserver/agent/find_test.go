package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"hearth/inference"
)

// embedder is a model that answers, beside one that makes embeddings: of what has to
// do with weather, and of all else.
type embedder struct {
	*fakeModel
	inputs []string
}

func (m *embedder) List() []inference.ModelStatus {
	info := inference.ModelInfo{ID: "vectors"}
	info.Embedding.Pooling = "mean"
	return append(m.fakeModel.List(), inference.ModelStatus{Info: info, State: inference.ModelReady})
}

func (m *embedder) Acquire(ctx context.Context, id string) (inference.Lease, error) {
	if id == "vectors" {
		return m, nil
	}
	return m.fakeModel.Acquire(ctx, id)
}

func (m *embedder) Embed(_ context.Context, r *inference.EmbedRequest) (*inference.Embeddings, error) {
	out := &inference.Embeddings{}
	for i := range r.Inputs {
		text := r.Inputs[i].Text
		m.inputs = append(m.inputs, text)
		v := []float32{0, 1}
		if strings.Contains(text, "umbrella") || strings.Contains(text, "Forecasts") {
			v = []float32{1, 0}
		}
		out.Vectors = append(out.Vectors, v)
	}
	return out, nil
}

// TestIndexIsBuiltOnce: tools are found by what is meant, the vectors of the tools are
// computed for the first who looks, and every prompt begins with the same tools.
func TestIndexIsBuiltOnce(t *testing.T) {
	m := &embedder{fakeModel: &fakeModel{context: 4096}}
	tools := &fakeTools{}
	for i := range 40 {
		what := fmt.Sprintf("Does thing number %d.", i)
		if i == 7 {
			what = "Forecasts the sky of tomorrow."
		}
		tools.more = append(tools.more, Tool{Label: "x", Name: fmt.Sprintf("tool%d", i), Full: fmt.Sprintf("x__tool%d", i), Description: what, Input: json.RawMessage(`{}`), ReadOnly: true})
	}
	c := DefaultConfig()
	c.ToolTokens, c.Found = 500, 1
	a, err := New(m, tools, c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{model: m.fakeModel, tools: tools, agent: a}
	for i, who := range []string{"first", "second"} {
		m.answers = append(m.answers, calls(findName, `{"query":"is an umbrella needed"}`))
		q := ask()
		q.Caller.Principal = who
		before := len(m.inputs)
		if _, err := w.run(t, q); err != nil {
			t.Fatal(err)
		}
		if found := m.requests[2*i+1].Messages[2].Content; !strings.HasPrefix(found, "x__tool7: ") {
			t.Errorf("%s found %q", who, found)
		}
		if diff := cmp.Diff(m.requests[0].Tools, m.requests[2*i].Tools); diff != "" {
			t.Errorf("%s was offered other tools:\n%s", who, diff)
		}
		// The query, and once the 43 tools.
		if got, want := len(m.inputs)-before, []int{44, 1}[i]; got != want {
			t.Errorf("%s: %d texts were embedded, want %d", who, got, want)
		}
	}
}
