package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Target is the server that a run sends to.
type Target struct {
	// URL without /v1: "http://127.0.0.1:8080".
	URL string `json:"url"`
	// Model is the id that requests name; empty: the first that the server lists.
	Model string `json:"model"`
	// EndTokens are given a bias of −100, so that an answer has exactly
	// MaxTokens tokens; [Target.Discover] finds them.
	EndTokens []int32 `json:"end_tokens"`
}

// endMarkers are the texts of the end-of-generation tokens of common model
// families. A marker that a vocabulary does not hold as one token is not used.
var endMarkers = []string{
	"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>", "<|return|>", "<|call|>",
	"</s>", "<eos>", "<end_of_turn>", "<|end_of_sentence|>", "<|endofturn|>", "<EOT>", "<|EOT|>", "<turn|>",
}

// tokenizePaths are where servers of this kind turn text into tokens.
var tokenizePaths = []string{"/v1/tokenize", "/tokenize"}

// Discover fills the model, if none is set, and the end tokens. A server without
// a tokenize endpoint leaves EndTokens empty: answers then end where the model
// ends them, which the samples show.
func (t *Target) Discover(ctx context.Context, client *http.Client) error {
	t.URL = strings.TrimSuffix(strings.TrimSuffix(t.URL, "/"), "/v1")
	if t.Model == "" {
		var list struct {
			Data []struct {
				ID string `json:"id"`
			} `json:"data"`
		}
		if err := t.call(ctx, client, http.MethodGet, "/v1/models", nil, &list); err != nil {
			return fmt.Errorf("list models: %w", err)
		}
		if len(list.Data) == 0 {
			return fmt.Errorf("list models: %s serves none", t.URL)
		}
		t.Model = list.Data[0].ID
	}
	for _, path := range tokenizePaths {
		tokens, err := t.markers(ctx, client, path)
		if err == nil {
			t.EndTokens = tokens
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// markers returns the markers that are one token each to the endpoint at path.
func (t *Target) markers(ctx context.Context, client *http.Client, path string) ([]int32, error) {
	var found []int32
	for _, marker := range endMarkers {
		// "content" and "text" are what the two dialects call the text.
		body := map[string]any{"parse_special": true, "add_special": false}
		if path == "/tokenize" {
			body["content"] = marker
		} else {
			body["model"], body["text"] = t.Model, marker
		}
		var answer struct {
			Tokens []int32 `json:"tokens"`
		}
		if err := t.call(ctx, client, http.MethodPost, path, body, &answer); err != nil {
			return nil, err
		}
		if len(answer.Tokens) == 1 {
			found = append(found, answer.Tokens[0])
		}
	}
	return found, nil
}

// call sends body as JSON and decodes the answer into out.
func (t *Target) call(ctx context.Context, client *http.Client, method, path string, body, out any) error {
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request for %s: %w", path, err)
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, t.URL+path, reader)
	if err != nil {
		return fmt.Errorf("build request for %s: %w", path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return statusError(path, res)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(out); err != nil {
		return fmt.Errorf("decode answer of %s: %w", path, err)
	}
	return nil
}

// maxBody bounds what is read of an answer that is not a stream, in bytes.
const maxBody = 16 << 20

// statusError describes an answer that is no 200, with the start of its body.
func statusError(path string, res *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, 512)) // the status alone still tells what happened
	return fmt.Errorf("%s answered %s: %s", path, res.Status, strings.TrimSpace(string(text)))
}
