package chat

import (
	"testing"
	"time"

	"hearth/inference"
)

// TestParsingIsBounded: with parses that take a second each, the next one waits
// until twenty times that has passed, and nothing is lost by it.
func TestParsingIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	parses := 0
	d := &templateDecoder{
		now: func() time.Time { return now },
		parse: func(text string, partial bool) (message, error) {
			parses++
			now = now.Add(time.Second)
			return message{Content: text}, nil
		},
	}
	text := ""
	take := func(pieces []piece) {
		for _, p := range pieces {
			text += p.content
		}
	}
	for range 100 {
		take(d.feed("x"))
		now = now.Add(time.Second)
	}
	if parses > 6 {
		t.Errorf("%d parses in about 100 s", parses)
	}
	take(d.finish(inference.FinishStop))
	if len(text) != 100 {
		t.Errorf("%d of 100 characters came out", len(text))
	}
}

func TestBeyond(t *testing.T) {
	for _, c := range []struct {
		sent, text string
		final      bool
		want, now  string
	}{
		{"", "ab", false, "ab", "ab"},
		{"ab", "abc", false, "c", "abc"},
		{"abc", "ab", false, "", "abc"},
		{"abc", "ab", true, "", "abc"},
		{"abc", "xyz", false, "", "abc"},
		{"abc", "abX", true, "X", "abX"},
		{"ä", "ö", true, "ö", "ö"},
	} {
		sent := c.sent
		if got := beyond(&sent, c.text, c.final); got != c.want || sent != c.now {
			t.Errorf("after %q, %q (final %v): got %q and remembered %q", c.sent, c.text, c.final, got, sent)
		}
	}
}
