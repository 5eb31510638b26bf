package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// maxVectors bounds an answer with vectors, in bytes.
const maxVectors = 256 << 20

// embeddingBody is a request for embeddings, byte for byte the same for every
// server but for the model's name.
func embeddingBody(t Target, seed uint64, scenario string, g Group, client, index int) ([]byte, error) {
	texts := make([]string, g.Texts)
	for i := range texts {
		own := newText(seed, scenario, g.Name, "client", strconv.Itoa(client), "request", strconv.Itoa(index), "text", strconv.Itoa(i))
		texts[i] = own.words(max(g.PromptWords>>((client+index+i)%3), 1)) + "."
	}
	body := map[string]any{"model": t.Model, "input": texts}
	if g.Base64 {
		body["encoding_format"] = "base64"
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode request for embeddings: %w", err)
	}
	return raw, nil
}

// sendEmbedding runs one request for embeddings and fills s.
func sendEmbedding(ctx context.Context, client *http.Client, url string, body []byte, since func() float64, s *Sample, onPiece func(pieces int)) error {
	const path = "/v1/embeddings"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("build request for embeddings: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	s.Start = since()
	defer func() { s.End = since() }()
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("send request for embeddings: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return statusError(path, res)
	}
	// The vectors themselves are not read: the generator has the machine's time
	// to share with the server.
	var answer struct {
		Data []struct {
			Index int `json:"index"`
		} `json:"data"`
		Usage struct {
			PromptTokens int `json:"prompt_tokens"`
		} `json:"usage"`
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxVectors))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", path, err)
	}
	s.Arrivals = append(s.Arrivals, since())
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("decode the answer of %s: %w", path, err)
	}
	s.Texts, s.PromptTokens = len(answer.Data), answer.Usage.PromptTokens
	onPiece(startPieces) // who embeds is at work with its first answer
	return nil
}
