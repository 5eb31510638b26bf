package openai

import (
	"math"
	"strings"

	"hearth/inference"
)

// usage is OpenAI's usage object.
type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
	Details          struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	// Rounds are the answers of the model that the whole took, where the server
	// runs tools: each computes only what is new.
	Rounds []roundUsage `json:"rounds,omitempty"`
}

func wireUsage(u *inference.Usage) *usage {
	out := &usage{PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens, TotalTokens: u.PromptTokens + u.CompletionTokens}
	out.Details.Cached = u.CachedTokens
	return out
}

// toolCall is a call in a message, and in a delta with Index set.
type toolCall struct {
	Index    *int         `json:"index,omitempty"`
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function functionCall `json:"function"`
}

type functionCall struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

// chatLogprobs are the log probabilities of a chat's tokens.
type chatLogprobs struct {
	Content []chatToken `json:"content"`
	Refusal *string     `json:"refusal"`
}

type chatToken struct {
	Token   string      `json:"token"`
	Logprob float32     `json:"logprob"`
	Bytes   []int       `json:"bytes"`
	Top     []chatToken `json:"top_logprobs,omitzero"`
}

func wireTokens(in []inference.TokenLogprob) []chatToken {
	out := make([]chatToken, len(in))
	for i, t := range in {
		out[i] = wireToken(&t)
		out[i].Top = make([]chatToken, len(t.Top))
		for j := range t.Top {
			out[i].Top[j] = wireToken(&t.Top[j])
		}
	}
	return out
}

func wireToken(t *inference.TokenLogprob) chatToken {
	bytes := make([]int, len(t.Bytes))
	for i, b := range t.Bytes {
		bytes[i] = int(b)
	}
	return chatToken{Token: tokenText(t), Logprob: logprob(t.Logprob), Bytes: bytes}
}

// tokenText shows a token; a part of a character is U+FFFD, its bytes are exact.
func tokenText(t *inference.TokenLogprob) string {
	return strings.ToValidUTF8(string(t.Bytes), "\uFFFD")
}

// logprob is a number that JSON can hold: OpenAI writes -9999 for "impossible".
func logprob(v float32) float32 {
	if v < -9999 || math.IsNaN(float64(v)) {
		return -9999
	}
	return v
}

// textLogprobs are the log probabilities of a text completion.
type textLogprobs struct {
	Tokens        []string             `json:"tokens"`
	TokenLogprobs []float32            `json:"token_logprobs"`
	TopLogprobs   []map[string]float32 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"`
}

// add appends tokens; offset is where the text of the first one begins, in
// characters, and add returns where the next begins.
func (l *textLogprobs) add(in []inference.TokenLogprob, offset int) int {
	for i := range in {
		t := &in[i]
		text := tokenText(t)
		top := make(map[string]float32, len(t.Top))
		for j := range t.Top {
			name := tokenText(&t.Top[j])
			if _, twice := top[name]; !twice { // the likelier of two that look alike
				top[name] = logprob(t.Top[j].Logprob)
			}
		}
		l.Tokens = append(l.Tokens, text)
		l.TokenLogprobs = append(l.TokenLogprobs, logprob(t.Logprob))
		l.TopLogprobs = append(l.TopLogprobs, top)
		l.TextOffset = append(l.TextOffset, offset)
		offset += len([]rune(text))
	}
	return offset
}

func newTextLogprobs() *textLogprobs {
	return &textLogprobs{Tokens: []string{}, TokenLogprobs: []float32{}, TopLogprobs: []map[string]float32{}, TextOffset: []int{}}
}

// promptProgress is how much of the prompt is computed, in a chunk of its own.
type promptProgress struct {
	Total     int `json:"total"`
	Processed int `json:"processed"` // shared tokens included
}

func wireProgress(p inference.Progress) *promptProgress {
	return &promptProgress{Total: p.Prompt, Processed: p.Prefilled}
}
