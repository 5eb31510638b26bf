package upstream

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestProgressOf(t *testing.T) {
	for message, want := range map[string]string{
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"c1","progress":1}}`:     `"c1"`,
		`{"method": "notifications/progress", "params": {"progress": 1, "progressToken": 7}}`:                  `7`,
		`{"params":{"progressToken":7 },"method":"notifications/progress"}`:                                    `7`,
		`{"method":"notifications/progress","params":{"progressToken":"a,b}c","progress":1}}`:                  `"a,b}c"`,
		"data: {\"method\":\"notifications/progress\",\"params\":{\"progressToken\":\ndata: 7}}\n\n":           ``, // in two lines
		`{"method":"notifications/progress","params":{"progress":1}}`:                                          ``,
		`{"method":"notifications/progress","id":1,"params":{"progressToken":7}}`:                              ``, // a request
		`{"id":1,"result":{"method":"notifications/progress","progressToken":7}}`:                              ``,
		`{"method":"notifications/message","params":{"method":"notifications/progress","progressToken":7}}`:    ``,
		`{"method":"notifications/message","params":"\"method\":\"notifications/progress\"","progressToken":7`: ``,
		`{"method":"notifications/progressed","params":{"progressToken":7}}`:                                   ``,
		`{"method":"notifications/progress","params":{"progressToken":"a\"b","progress":1}}`:                   ``,
		`{"method":"notifications/progress","params":{"progressToken":"a`:                                      ``,
		``: ``,
	} {
		if got := string(progressOf([]byte(message))); got != want {
			t.Errorf("%s: %s, want %s", message, got, want)
		}
	}
}

// TestFloodOfProgress: of a burst of progress each first message is handed on, and the
// last of each token before anything else; all other messages come, in order.
func TestFloodOfProgress(t *testing.T) {
	progress := func(token string, n int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%q,"progress":%d}}`, token, n)
	}
	var sent, must []string
	for i := range 10_000 {
		sent = append(sent, progress("a", i))
		if i < messagesAtOnce-1 {
			must = append(must, progress("a", i))
		}
	}
	must = append(must, progress("a", 9999))
	for i := range 50 { // of two by turns nothing is superseded
		sent = append(sent, progress("b", i), progress("c", i))
		must = append(must, progress("b", i), progress("c", i))
	}
	for i := range 50 {
		log := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":%d}}`, i)
		sent, must = append(sent, log), append(must, log)
	}
	answer := `{"jsonrpc":"2.0","id":1,"result":{}}`
	sent, must = append(sent, progress("a", 10_001), answer), append(must, progress("a", 10_001), answer)
	gone := make(chan struct{})
	close(gone) // waits end at once, and are owed all the same
	for name, c := range map[string]struct {
		before, after string
		open          func(io.ReadCloser) io.Reader
	}{
		"lines": {"", "\n", func(r io.ReadCloser) io.Reader {
			return newLines(&process{stdout: r.(*os.File), gone: gone}, 1<<10, newPace(), zerolog.Nop())
		}},
		"events": {"event: message\r\ndata: ", "\r\n\r\n", func(r io.ReadCloser) io.Reader { return newEvents(r, 1<<10, newPace(), gone) }},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer w.Close()
			for _, message := range sent {
				_, _ = io.WriteString(w, c.before+message+c.after)
			}
		}()
		text, err := io.ReadAll(c.open(r))
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(text)) {
			if _, message, ok := strings.Cut(line, "{"); ok {
				got = append(got, "{"+strings.TrimSpace(message))
			}
		}
		left := got
		for _, message := range must {
			at := slices.Index(left, message)
			if at < 0 {
				t.Fatalf("%s: %s did not come, or out of order", name, message)
			}
			left = left[at+1:]
		}
		if len(got) > len(sent)/4 {
			t.Errorf("%s: %d of %d messages were handed on", name, len(got), len(sent))
		}
	}
}

// TestEvents: what is an event is handed on as it came.
func TestEvents(t *testing.T) {
	gone := make(chan struct{})
	close(gone)
	deep := strings.Repeat("[", maxDepth+1)
	for stream, want := range map[string]error{
		"":            nil,
		"data: 1\n\n": nil,
		": ping\n\n\n\nid: 7\ndata: 1\ndata: 2\n\n":                nil,
		"data: 1\r\n\r\ndata: 2\r\n\r\n":                           nil,
		"data: cut off":                                            nil,
		"data: " + strings.Repeat("x", 2000):                       errTooLarge,
		strings.Repeat("data: 1\n", 300):                           errTooLarge, // one event
		strings.Repeat("data: 1\n\n", 300):                         nil,
		"data: " + deep + "\n\n":                                   errDeep,
		"data: " + deep[:200] + "\ndata: " + deep[:100] + "\n\n":   errDeep,
		"data: " + deep[:200] + "\n\ndata: " + deep[:100] + "\n\n": nil,
		"other: " + deep + "\n\n":                                  nil,
	} {
		got, err := io.ReadAll(newEvents(io.NopCloser(strings.NewReader(stream)), 2000, newPace(), gone))
		if !errors.Is(err, want) || err == nil && string(got) != stream {
			t.Errorf("%.40q: %.40q, %v, want %v", stream, got, err, want)
		}
	}
}
