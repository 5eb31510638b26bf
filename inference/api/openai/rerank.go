package openai

import (
	"encoding/json"
	"fmt"
	"net/http"

	"hearth/inference"
)

// rerank serves POST /v1/rerank, in the form that Jina and Cohere gave it.
func (a *API) rerank(w http.ResponseWriter, r *http.Request) {
	f, lease, err := a.open(w, r)
	if err != nil {
		a.refuse(w, r, inference.ActionRerank, modelOf(f), err)
		return
	}
	defer lease.Release()
	info := lease.Info()
	req := &inference.RerankRequest{Caller: inference.CallerFrom(r.Context()), RequestID: requestID(r)}
	withText := readRerank(f, req)
	if err := f.err(); err != nil {
		a.refuse(w, r, inference.ActionRerank, info.ID, err)
		return
	}
	a.ignored(r, f)
	// From here on the model knows of the request.
	out, err := inference.Rerank(r.Context(), lease, req)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.writeJSON(w, http.StatusOK, wireRanking(info.ID, req, out, withText))
}

// readRerank takes the fields; withText: the answer is to repeat the documents.
func readRerank(f *fields, req *inference.RerankRequest) (withText bool) {
	if _, ok := f.take("query"); !ok {
		f.fail("query", "is missing: give the text that the documents are to answer")
	}
	f.str("query", &req.Query)
	req.Documents = readDocuments(f)
	if f.integer("top_n", &req.TopN) && req.TopN < 1 {
		f.fail("top_n", "must be at least 1, got %d; leave it out for all", req.TopN)
	}
	f.boolean("return_documents", &withText)
	f.boolean("truncate", &req.Truncate)
	return withText
}

// readDocuments takes the documents: texts, or objects with one.
func readDocuments(f *fields) []string {
	if _, ok := f.take("documents"); !ok {
		f.fail("documents", "is missing: give a list of texts")
		return nil
	}
	list, ok := f.list("documents")
	if !ok {
		return nil
	}
	if n := len(list); n == 0 || n > inference.MaxRerankDocuments {
		f.fail("documents", "must hold 1 to %d documents, got %d", inference.MaxRerankDocuments, n)
		return nil
	}
	all := make([]string, len(list))
	for i, e := range list {
		at := fmt.Sprintf("documents[%d]", i)
		switch kind(e) {
		case "a string":
			if json.Unmarshal(e, &all[i]) != nil {
				f.fail(at, "must be a string")
			}
		case "an object":
			// The body was read strictly: no key is there twice.
			var d map[string]json.RawMessage
			if json.Unmarshal(e, &d) != nil || kind(d["text"]) != "a string" || json.Unmarshal(d["text"], &all[i]) != nil {
				f.fail(at, `must be a string, or an object with a string "text"`)
			}
		default:
			f.fail(at, `must be a string, or an object with a string "text", got %s`, kind(e))
		}
	}
	return all
}

// ranking is the answer of /v1/rerank.
type ranking struct {
	Object  string   `json:"object"`
	Model   string   `json:"model"`
	Results []ranked `json:"results"`
	Usage   struct {
		Prompt int `json:"prompt_tokens"`
		Total  int `json:"total_tokens"`
	} `json:"usage"`
}

type ranked struct {
	Index    int           `json:"index"`
	Score    float32       `json:"relevance_score"`
	Document *documentText `json:"document,omitempty"`
}

type documentText struct {
	Text string `json:"text"`
}

func wireRanking(model string, req *inference.RerankRequest, r *inference.Ranking, withText bool) *ranking {
	out := &ranking{Object: "list", Model: model, Results: make([]ranked, len(r.Results))}
	out.Usage.Prompt, out.Usage.Total = r.Tokens, r.Tokens
	for i, d := range r.Results {
		out.Results[i] = ranked{Index: d.Index, Score: d.Score}
		if withText {
			out.Results[i].Document = &documentText{Text: req.Documents[d.Index]}
		}
	}
	return out
}
