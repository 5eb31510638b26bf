package openai

import (
	"slices"
	"strings"
	"testing"

	"hearth/inference"
)

func TestRerank(t *testing.T) {
	f := &fakeModels{}
	s := newServer(t, f, nil)
	for _, c := range []struct {
		body, want string
	}{
		{
			`{"query":"q","documents":["a","bc"]}`,
			`{"object":"list","model":"small","results":[{"index":1,"relevance_score":2},{"index":0,"relevance_score":1}],"usage":{"prompt_tokens":7,"total_tokens":7}}`,
		},
		{
			`{"model":"small","query":"q","documents":[{"text":"a","title":"t"},"é"],"top_n":3,"return_documents":true,"truncate":true,"unknown":1}`,
			`{"object":"list","model":"small","results":[{"index":1,"relevance_score":2,"document":{"text":"é"}},{"index":0,"relevance_score":1,"document":{"text":"a"}}],"usage":{"prompt_tokens":7,"total_tokens":7}}`,
		},
	} {
		resp, body := post(t, s, "/v1/rerank", c.body)
		if resp.StatusCode != 200 || strings.TrimSpace(body) != c.want {
			t.Errorf("%s gives %d %s\nwant %s", c.body, resp.StatusCode, body, c.want)
		}
	}
	if r := f.rerank; r.Query != "q" || !slices.Equal(r.Documents, []string{"a", "é"}) || r.TopN != 3 || !r.Truncate || r.Caller != inference.DefaultCaller {
		t.Errorf("the model was asked for %+v", f.rerank)
	}
}

func TestRerankRefuses(t *testing.T) {
	s := newServer(t, &fakeModels{}, nil)
	for _, c := range []struct{ body, field, says string }{
		{`{}`, "query", "is missing"},
		{`{"query":null,"documents":["a"]}`, "query", "is missing"},
		{`{"query":1,"documents":["a"]}`, "query", "must be a string"},
		{`{"query":"q"}`, "documents", "is missing"},
		{`{"query":"q","documents":"a"}`, "documents", "must be a list"},
		{`{"query":"q","documents":[]}`, "documents", "1 to 2048 documents, got 0"},
		{`{"query":"q","documents":["a"` + strings.Repeat(`,"a"`, 2048) + `]}`, "documents", "got 2049"},
		{`{"query":"q","documents":["a",1]}`, "documents[1]", "got a number"},
		{`{"query":"q","documents":[{"title":"a"}]}`, "documents[0]", `string "text"`},
		{`{"query":"q","documents":[{"text":1}]}`, "documents[0]", `string "text"`},
		{`{"query":"q","documents":["a"],"top_n":0}`, "top_n", "at least 1"},
		{`{"query":"q","documents":["a"],"top_n":"2"}`, "top_n", "must be"},
		{`{"query":"q","documents":["a"],"return_documents":1}`, "return_documents", "true or false"},
		{`{"query":"q","query":"r","documents":["a"]}`, "", "query"},
		{`{"query":"q","Documents":["a"]}`, "", "ocuments"},
	} {
		resp, body := post(t, s, "/v1/rerank", c.body)
		e := errorOf(t, body)
		if resp.StatusCode != 400 || c.field != "" && (e.Param == nil || *e.Param != c.field) || !strings.Contains(e.Message, c.says) {
			t.Errorf("%.80s gives %d %s, want %s: %s", c.body, resp.StatusCode, body, c.field, c.says)
		}
	}
	for err, want := range map[error]int{inference.NoRanking("small"): 400, inference.ErrShutdown: 503} {
		resp, body := post(t, newServer(t, &fakeModels{refuse: err}, nil), "/v1/rerank", `{"query":"q","documents":["a"]}`)
		if resp.StatusCode != want {
			t.Errorf("%v gives %d %s", err, resp.StatusCode, body)
		}
	}
}
