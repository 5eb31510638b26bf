package loadgen

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Sample is one request. All times are milliseconds since the run began.
type Sample struct {
	Group  string  `json:"group"`
	Client int     `json:"client"`
	Index  int     `json:"index"`          // number of the request among its client's
	Turn   int     `json:"turn,omitempty"` // number of the request in its conversation
	Start  float64 `json:"start_ms"`
	// Arrivals has the time of each piece of the answer. A piece is one token
	// with most servers; Pieces against CompletionTokens shows where it is not.
	Arrivals         []float64 `json:"arrivals_ms"`
	End              float64   `json:"end_ms"`
	PromptTokens     int       `json:"prompt_tokens"`
	CachedTokens     int       `json:"cached_tokens"`
	CompletionTokens int       `json:"completion_tokens"`
	// Texts that were embedded; 0: the request was a chat. Their vectors arrive
	// as one piece.
	Texts  int    `json:"texts,omitempty"`
	Finish string `json:"finish"`
	// What was answered; not of embeddings.
	Text  string `json:"text,omitempty"`
	Calls []Call `json:"calls,omitempty"`
	// Document marks an answer that is whole and what its schema, or that of the
	// tool that it calls, asks for.
	Document bool `json:"document,omitempty"`
	// Cut marks a request that the run ended because the others were done.
	Cut bool `json:"cut,omitempty"`
}

// TTFT is the time to the first token in milliseconds; false if there was none.
func (s *Sample) TTFT() (float64, bool) {
	if len(s.Arrivals) == 0 {
		return 0, false
	}
	return s.Arrivals[0] - s.Start, true
}

// Tokens is what the server counted, or for a request that was cut off the
// pieces that arrived; of a request for embeddings, the tokens of its texts.
func (s *Sample) Tokens() int {
	if s.Texts > 0 {
		return s.PromptTokens
	}
	return max(s.CompletionTokens, len(s.Arrivals))
}

// Gaps returns the times between pieces in milliseconds that overlap from..to.
func (s *Sample) Gaps(from, to float64) []float64 {
	var gaps []float64
	for i := 1; i < len(s.Arrivals); i++ {
		if s.Arrivals[i] > from && s.Arrivals[i-1] < to {
			gaps = append(gaps, s.Arrivals[i]-s.Arrivals[i-1])
		}
	}
	return gaps
}

// NewHTTPClient returns a client that opens a connection for each request: some
// servers close a kept-alive connection after a stream, and a pooling client
// sees that as a failure of the next request.
func NewHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
}

// requestBody is what every server gets, byte for byte the same but for the
// model's name and for the answers that it gave before.
func requestBody(t Target, g *Group, messages []message) ([]byte, error) {
	body := map[string]any{
		"model":          t.Model,
		"messages":       messages,
		"max_tokens":     g.MaxTokens,
		"temperature":    0,
		"stream":         true,
		"stream_options": map[string]any{"include_usage": true},
	}
	if len(g.Schema) > 0 {
		body["response_format"] = map[string]any{
			"type":        "json_schema",
			"json_schema": map[string]any{"name": "answer", "strict": true, "schema": g.Schema},
		}
	}
	if g.Tools > 0 {
		body["tools"], body["tool_choice"], body["parallel_tool_calls"] = tools[:g.Tools], cmp.Or(g.ToolChoice, toolRequired), false
	}
	// Where a grammar ends an answer, no end token is biased.
	if !g.grammar() && len(t.EndTokens) > 0 {
		bias := make(map[string]int, len(t.EndTokens))
		for _, token := range t.EndTokens {
			bias[strconv.Itoa(int(token))] = -100
		}
		body["logit_bias"] = bias
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode chat request: %w", err)
	}
	return raw, nil
}

// send runs one request and fills s. onPiece is called after each piece.
func send(ctx context.Context, client *http.Client, url string, body []byte, since func() float64, s *Sample, onPiece func(pieces int)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("build chat request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	s.Start = since()
	defer func() { s.End = since() }()
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("send chat request: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return statusError("/v1/chat/completions", res)
	}
	var a answer
	err = readEvents(res.Body, func(c *chunk) error {
		a.add(c)
		if c.hasPiece() {
			s.Arrivals = append(s.Arrivals, since())
			onPiece(len(s.Arrivals))
		}
		for _, choice := range c.Choices {
			if choice.FinishReason != "" {
				s.Finish = choice.FinishReason
			}
		}
		if c.Usage != nil {
			s.PromptTokens = c.Usage.PromptTokens
			s.CompletionTokens = c.Usage.CompletionTokens
			s.CachedTokens = c.Usage.Details.CachedTokens
		}
		return nil
	})
	s.Text, s.Calls = a.text.String(), a.calls
	return err
}

// milliseconds since start, by the monotonic clock.
func sinceFunc(start time.Time) func() float64 {
	return func() float64 { return float64(time.Since(start).Nanoseconds()) / 1e6 }
}
