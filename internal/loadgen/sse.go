package loadgen

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxEvent bounds one line of an event stream, in bytes.
const maxEvent = 1 << 20

// chunk is one event of a streamed chat answer, as far as it is read.
type chunk struct {
	Choices []struct {
		Delta struct {
			Content   string      `json:"content"`
			Reasoning string      `json:"reasoning_content"`
			ToolCalls []callDelta `json:"tool_calls"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
		Details          struct {
			CachedTokens int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// callDelta is a piece of a tool call.
type callDelta struct {
	Index    int    `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// hasPiece tells whether the event brought a part of the answer.
func (c *chunk) hasPiece() bool {
	for _, choice := range c.Choices {
		d := choice.Delta
		if d.Content != "" || d.Reasoning != "" || len(d.ToolCalls) > 0 {
			return true
		}
	}
	return false
}

// errNoDone reports a stream that broke off.
var errNoDone = errors.New("the stream ended without [DONE]")

// readEvents calls each for every data event until [DONE]. Comments and fields
// other than data are passed over, as the format asks.
func readEvents(r io.Reader, each func(*chunk) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 8<<10), maxEvent)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !ok {
			continue
		}
		data = bytes.TrimSpace(data)
		if bytes.Equal(data, []byte("[DONE]")) {
			return nil
		}
		var c chunk
		if err := json.Unmarshal(data, &c); err != nil {
			return fmt.Errorf("decode event %.120q: %w", data, err)
		}
		if len(c.Error) > 0 && !bytes.Equal(c.Error, []byte("null")) {
			return fmt.Errorf("the server ended the stream with an error: %.500s", c.Error)
		}
		if err := each(&c); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read event stream: %w", err)
	}
	return errNoDone
}
