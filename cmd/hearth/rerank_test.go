package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hearth/inference"
)

// TestRemoteRerank: what a model is asked for, and its ranking, cross the API
// unchanged.
func TestRemoteRerank(t *testing.T) {
	m := &fakeModel{}
	l := lease(t, serveFake(t, m))
	defer l.Release()
	if got, want := l.Info().Rerank, m.Info().Rerank; got != want {
		t.Errorf("the model ranks %+v, want %+v", got, want)
	}
	want := &inference.Ranking{Results: []inference.Ranked{{Index: 1, Score: 3.25}, {Index: 0, Score: -1e-7}}, Tokens: 9}
	m.ranking = want
	req := &inference.RerankRequest{Query: "q", Documents: []string{"a", "b"}, TopN: 2, Truncate: true}
	got, err := inference.Rerank(t.Context(), l, req)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(req, m.rerank, cmpopts.IgnoreFields(inference.RerankRequest{}, "Caller", "RequestID")); diff != "" {
		t.Error(diff)
	}
	m.ranking = nil
	if _, err := inference.Rerank(t.Context(), l, req); !errors.Is(err, inference.ErrUnsupported) {
		t.Errorf("a model that ranks nothing: %v", err)
	}
	m.ranking = &inference.Ranking{Results: []inference.Ranked{{Index: 2}}}
	if _, err := inference.Rerank(t.Context(), l, req); err == nil || !strings.Contains(err.Error(), "document 2 of 2") {
		t.Errorf("a document that was not sent: %v", err)
	}
}

func TestRankingIsPrinted(t *testing.T) {
	var out strings.Builder
	r := &inference.Ranking{Results: []inference.Ranked{{Index: 1, Score: 2.5}, {Index: 0, Score: -0.125}}}
	if err := writeRanking(&out, r, []string{"first", "second"}); err != nil {
		t.Fatal(err)
	}
	if want := "2.5000\t2\tsecond\n-0.1250\t1\tfirst\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	got, err := documents(strings.NewReader("a\r\nb\n\nc"))
	if err != nil || !cmp.Equal(got, []string{"a", "b", "", "c"}) {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := documents(strings.NewReader(strings.Repeat("x\n", inference.MaxRerankDocuments+1))); err == nil || !strings.Contains(err.Error(), "more than 2048 lines") {
		t.Errorf("too many lines: %v", err)
	}
}
