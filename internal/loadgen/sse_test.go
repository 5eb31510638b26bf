package loadgen

import (
	"errors"
	"strings"
	"testing"
)

func TestReadEvents(t *testing.T) {
	tests := []struct {
		name   string
		stream string
		pieces int
		errHas string
	}{
		{"content", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n", 1, ""},
		{"no space after the colon", "data:{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata:[DONE]\n\n", 1, ""},
		{"reasoning is a piece", "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"a\"}}]}\n\ndata: [DONE]\n", 1, ""},
		{"a tool call is a piece", "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\ndata: [DONE]\n", 1, ""},
		{"role, finish and usage are none", "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n", 0, ""},
		{"empty and null calls are none", "data: {\"choices\":[{\"delta\":{\"tool_calls\":[]}},{\"delta\":{\"tool_calls\":null}}]}\n\ndata: [DONE]\n", 0, ""},
		{"comments and other fields", ": ping\nevent: x\nid: 3\n\ndata: [DONE]\r\n", 0, ""},
		{"no end", "data: {\"choices\":[]}\n\n", 0, "without [DONE]"},
		{"error in the stream", "data: {\"error\":{\"message\":\"boom\"}}\n\n", 0, "boom"},
		{"not JSON", "data: {oops\n\n", 0, "decode event"},
		{"line too long", "data: " + strings.Repeat("x", maxEvent+1), 0, "read event stream"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pieces := 0
			err := readEvents(strings.NewReader(tt.stream), func(c *chunk) error {
				if c.hasPiece() {
					pieces++
				}
				return nil
			})
			if pieces != tt.pieces {
				t.Errorf("%d pieces, want %d", pieces, tt.pieces)
			}
			if (err == nil) != (tt.errHas == "") || err != nil && !strings.Contains(err.Error(), tt.errHas) {
				t.Errorf("error %v, want one with %q", err, tt.errHas)
			}
		})
	}
}

func TestReadEventsStopsAtTheCallersError(t *testing.T) {
	mine := errors.New("enough")
	err := readEvents(strings.NewReader("data: {}\n\ndata: {}\n\n"), func(*chunk) error { return mine })
	if !errors.Is(err, mine) {
		t.Errorf("error %v, want the caller's", err)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n")
	f.Add(": ping\n\ndata: {\"error\":null}\n\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":7}}]}\n\n")
	f.Fuzz(func(t *testing.T, stream string) {
		events := 0
		err := readEvents(strings.NewReader(stream), func(c *chunk) error {
			c.hasPiece()
			events++
			return nil
		})
		if err == nil && !strings.Contains(stream, "[DONE]") {
			t.Errorf("a stream without [DONE] ended well after %d events", events)
		}
	})
}
