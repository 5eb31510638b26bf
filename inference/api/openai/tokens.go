package openai

import (
	"net/http"

	"hearth/inference"
)

// withModel answers with what answer makes of the fields and the model.
func (a *API) withModel(w http.ResponseWriter, r *http.Request, answer func(*fields, inference.Lease) (any, error)) {
	f, lease, err := a.open(w, r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	defer lease.Release()
	out, err := answer(f, lease)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.ignored(r, f)
	a.writeJSON(w, http.StatusOK, out)
}

// readText takes the text to tokenize, and how.
func readText(f *fields) (string, inference.TokenizeOptions) {
	var text string
	var o inference.TokenizeOptions
	if !f.str("text", &text) {
		f.fail("text", "is missing")
	}
	f.boolean("add_special", &o.AddSpecial)
	f.boolean("parse_special", &o.ParseSpecial)
	return text, o
}

// tokenize serves POST /v1/tokenize: {"text", "add_special", "parse_special"}.
func (a *API) tokenize(w http.ResponseWriter, r *http.Request) {
	a.withModel(w, r, func(f *fields, m inference.Lease) (any, error) {
		text, o := readText(f)
		if err := f.err(); err != nil {
			return nil, err
		}
		tokens, err := m.Tokenize(text, o)
		if err != nil {
			return nil, err
		}
		if tokens == nil {
			tokens = []int32{}
		}
		return struct {
			Model  string  `json:"model"`
			Count  int     `json:"count"`
			Tokens []int32 `json:"tokens"`
		}{m.Info().ID, len(tokens), tokens}, nil
	})
}

// detokenize serves POST /v1/detokenize: {"tokens"}.
func (a *API) detokenize(w http.ResponseWriter, r *http.Request) {
	a.withModel(w, r, func(f *fields, m inference.Lease) (any, error) {
		list, ok := f.list("tokens")
		if !ok {
			f.fail("tokens", "is missing")
		}
		tokens := readTokens(f, "tokens", list)
		if err := f.err(); err != nil {
			return nil, err
		}
		text, err := m.Detokenize(tokens)
		if err != nil {
			return nil, err
		}
		return struct {
			Model string `json:"model"`
			Text  string `json:"text"`
		}{m.Info().ID, text}, nil
	})
}

// countTokens serves POST /v1/count_tokens: the body of a chat request, whose
// prompt is counted as it would be rendered, or {"text"} as /v1/tokenize has it.
func (a *API) countTokens(w http.ResponseWriter, r *http.Request) {
	a.withModel(w, r, func(f *fields, m inference.Lease) (any, error) {
		count, err := a.count(r, f, m)
		if err != nil {
			return nil, err
		}
		info := m.Info()
		return struct {
			Model   string `json:"model"`
			Count   int    `json:"count"`
			Context int    `json:"context"` // tokens that prompt and answer may have together
		}{info.ID, count, info.Context}, nil
	})
}

func (a *API) count(r *http.Request, f *fields, m inference.Lease) (int, error) {
	_, chat := f.value["messages"]
	_, text := f.value["text"]
	if chat && text {
		return 0, inference.Invalid("text", "cannot be combined with messages: count one of them")
	}
	if !chat {
		text, o := readText(f)
		if err := f.err(); err != nil {
			return 0, err
		}
		tokens, err := m.Tokenize(text, o)
		return len(tokens), err
	}
	req := &inference.ChatRequest{Options: a.readOptions(r, f, m.Info().Defaults)}
	readChat(f, req)
	if err := f.err(); err != nil {
		return 0, err
	}
	return m.CountChat(req)
}
