package openai

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"

	"hearth/inference"
)

// embeddings serves POST /v1/embeddings.
func (a *API) embeddings(w http.ResponseWriter, r *http.Request) {
	f, lease, err := a.open(w, r)
	if err != nil {
		a.refuse(w, r, inference.ActionEmbed, modelOf(f), err)
		return
	}
	defer lease.Release()
	info := lease.Info()
	req := &inference.EmbedRequest{Caller: inference.CallerFrom(r.Context()), RequestID: requestID(r)}
	asBase64 := readEmbed(f, req)
	if err := f.err(); err != nil {
		a.refuse(w, r, inference.ActionEmbed, info.ID, err)
		return
	}
	a.ignored(r, f)
	// From here on the model knows of the request.
	out, err := inference.Embed(r.Context(), lease, req)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.writeJSON(w, http.StatusOK, wireEmbeddings(info.ID, out, asBase64))
}

// readEmbed takes the fields; base64: how the vectors are to be written.
func readEmbed(f *fields, req *inference.EmbedRequest) (base64 bool) {
	req.Inputs = readInputs(f)
	if f.integer("dimensions", &req.Dimensions) && req.Dimensions < 1 {
		f.fail("dimensions", "must be at least 1, got %d; leave it out for all", req.Dimensions)
	}
	f.boolean("truncate", &req.Truncate)
	format := "float"
	if f.str("encoding_format", &format) && format != "float" && format != "base64" {
		f.fail("encoding_format", "must be float or base64, got %q", format[:min(len(format), 40)])
	}
	f.take("user")
	return format == "base64"
}

// readInputs takes the input: a text, a list of tokens, or a list of texts and
// lists of tokens.
func readInputs(f *fields) []inference.EmbedInput {
	v, ok := f.take("input")
	if !ok {
		f.fail("input", "is missing: give a text, a list of texts, or tokens")
		return nil
	}
	if v[0] == '"' {
		var text string
		f.str("input", &text)
		return []inference.EmbedInput{{Text: text}}
	}
	if v[0] != '[' {
		f.fail("input", "must be a string or a list, got %s", kind(v))
		return nil
	}
	list, _ := f.list("input")
	if len(list) == 0 {
		f.fail("input", "must hold at least one input")
		return nil
	}
	if !slices.ContainsFunc(list, func(e json.RawMessage) bool { return kind(e) != "a number" }) {
		return []inference.EmbedInput{{Tokens: readTokens(f, "input", list)}}
	}
	if len(list) > inference.MaxEmbedInputs {
		f.fail("input", "must hold at most %d inputs, got %d", inference.MaxEmbedInputs, len(list))
		return nil
	}
	all := make([]inference.EmbedInput, len(list))
	for i, e := range list {
		at := fmt.Sprintf("input[%d]", i)
		switch kind(e) {
		case "a string":
			if json.Unmarshal(e, &all[i].Text) != nil {
				f.fail(at, "must be a string")
			}
		case "a list":
			var tokens []json.RawMessage
			if json.Unmarshal(e, &tokens) != nil {
				f.fail(at, "must be a list of tokens")
			}
			all[i].Tokens = readTokens(f, at, tokens)
			if all[i].Tokens == nil {
				all[i].Tokens = []int32{} // not a text
			}
		default:
			f.fail(at, "must be a string or a list of tokens, got %s", kind(e))
		}
	}
	return all
}

// embeddingList is OpenAI's list of embeddings.
type embeddingList struct {
	Object string          `json:"object"`
	Data   []embeddingItem `json:"data"`
	Model  string          `json:"model"`
	Usage  struct {
		Prompt int `json:"prompt_tokens"`
		Total  int `json:"total_tokens"`
	} `json:"usage"`
}

type embeddingItem struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // []float32, or their bytes in base64
}

func wireEmbeddings(model string, e *inference.Embeddings, asBase64 bool) *embeddingList {
	out := &embeddingList{Object: "list", Model: model, Data: make([]embeddingItem, len(e.Vectors))}
	out.Usage.Prompt, out.Usage.Total = e.Tokens, e.Tokens
	for i, v := range e.Vectors {
		out.Data[i] = embeddingItem{Object: "embedding", Index: i, Embedding: v}
		if asBase64 {
			out.Data[i].Embedding = base64Vector(v)
		}
	}
	return out
}

// base64Vector writes v as little-endian 32-bit floats in base64.
func base64Vector(v []float32) string {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}
