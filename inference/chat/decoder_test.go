package chat

import (
	"errors"
	"strings"
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

// A call that cannot be parsed takes neither the thought nor the call before it
// with it, whether any of that was passed on before or not.
func TestSalvage(t *testing.T) {
	p := &fakeParser{f: &fakeModel{thinking: true}, calls: true}
	for _, c := range []struct{ text, reasoning, content, call string }{
		{"<think>Hm.</think>So: «weather{}»BROKEN", "Hm.", "BROKEN", "weather{}"},
		{"<think>Hm.</think>So: BROKEN", "Hm.", "So: BROKEN", ""},
		{"<think>Hm.</think>BROKEN", "Hm.", "BROKEN", ""},
		{"BROKEN", "", "BROKEN", ""},
		{"\u00e9\u00e9BROKEN\u00e9", "", "\u00e9\u00e9BROKEN\u00e9", ""},
	} {
		for _, parts := range [][]string{{c.text}, runes(c.text)} {
			d := &templateDecoder{
				names: map[string]bool{"weather": true}, newID: func() string { return "id" }, now: time.Now, ends: []string{"</think>"},
				parse: func(text string, partial bool) (message, error) {
					if strings.Contains(text, "BROKEN") {
						return message{}, errors.New("this is no call")
					}
					return parserFunc(&guardedParser{p: p})(text, partial)
				},
			}
			var pieces []piece
			for _, part := range parts {
				pieces = append(pieces, d.feed(part)...)
			}
			reasoning, text, call := "", "", ""
			for _, p := range append(pieces, d.finish(inference.FinishStop)...) {
				reasoning += p.reasoning
				text += p.content
				if p.call != nil {
					call += p.call.Name + p.call.Arguments
				}
			}
			if reasoning != c.reasoning || call != c.call || !strings.HasSuffix(text, c.content) {
				t.Errorf("%q in %d parts: reasoning %q, content %q, call %q", c.text, len(parts), reasoning, text, call)
			}
		}
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
