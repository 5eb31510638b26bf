package chat

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"hearth/inference"
)

// decoder turns the text of one choice into pieces. Joined, the pieces are the
// answer; nothing of the text is lost but the marks around what they carry.
type decoder interface {
	feed(text string) []piece
	finish(reason inference.FinishReason) []piece
}

// plainDecoder passes text through.
type plainDecoder struct{}

func (plainDecoder) feed(text string) []piece {
	if text == "" {
		return nil
	}
	return []piece{{content: text}}
}

func (plainDecoder) finish(inference.FinishReason) []piece { return nil }

// textTools reads calls written as text; split, if set, takes the reasoning out
// before.
type textTools struct {
	split *templateDecoder
	tools *toolText
}

func (d *textTools) feed(text string) []piece {
	if d.split == nil {
		return d.tools.feed(text)
	}
	return d.through(d.split.feed(text))
}

func (d *textTools) finish(reason inference.FinishReason) []piece {
	var out []piece
	if d.split != nil {
		out = d.through(d.split.finish(reason))
	}
	return append(out, d.tools.finish()...)
}

func (d *textTools) through(in []piece) []piece {
	var out []piece
	for _, p := range in {
		if p.content == "" {
			out = append(out, p)
			continue
		}
		out = append(out, d.tools.feed(p.content)...)
	}
	return out
}

// message is what a Parser answers.
type message struct {
	Content   string `json:"content"`
	Reasoning string `json:"reasoning_content"`
	ToolCalls []struct {
		ID        string `json:"id"`
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"tool_calls"`
}

// parseShare bounds parsing: after a parse that took d, the next one waits for
// parseShare·d, because every parse reads the whole text again.
const parseShare = 20

// templateDecoder asks the template's own parser for the message so far and
// passes on what is new in it.
type templateDecoder struct {
	parse func(text string, partial bool) (message, error)
	names map[string]bool // the tools that may be called; nil: none
	newID func() string
	now   func() time.Time
	one   bool     // only the first call is passed on: parallel calls were not asked for
	ends  []string // the marks that end a thought

	raw       strings.Builder
	content   string // sent
	reasoning string // sent
	calls     []string
	next      time.Time // no parse before
}

func (d *templateDecoder) feed(text string) []piece {
	d.raw.WriteString(text)
	start := d.now()
	if start.Before(d.next) {
		return nil
	}
	msg, err := d.parse(d.raw.String(), true)
	end := d.now()
	d.next = end.Add(parseShare * end.Sub(start))
	if err != nil {
		return nil // the end of the answer decides what the text was
	}
	return d.diff(msg, false)
}

func (d *templateDecoder) finish(reason inference.FinishReason) []piece {
	cut := reason == inference.FinishLength
	msg, err := d.parse(d.raw.String(), cut)
	if err == nil {
		err = d.callable(msg)
	}
	if err != nil {
		return d.salvage()
	}
	out := d.diff(msg, true)
	if cut && d.reasoning == "" && len(d.calls) == 0 {
		// A partial parse holds back what may be the beginning of a mark; now
		// nothing more comes.
		if rest, ok := strings.CutPrefix(d.raw.String(), d.content); ok {
			content(&out, rest)
		}
	}
	return out
}

// callable refuses a message with a call of no tool that was offered.
func (d *templateDecoder) callable(msg message) error {
	for _, c := range msg.ToolCalls {
		if !d.names[c.Name] {
			return fmt.Errorf("the model called %q, which is no tool", c.Name)
		}
	}
	return nil
}

// diff returns what msg holds beyond what was sent. A partial message may
// shrink again while its end is unclear: then nothing is sent until it grows
// past what was.
func (d *templateDecoder) diff(msg message, final bool) []piece {
	var out []piece
	if s := beyond(&d.reasoning, msg.Reasoning, final); s != "" {
		out = append(out, piece{reasoning: s})
	}
	content(&out, beyond(&d.content, msg.Content, final))
	for i, c := range msg.ToolCalls {
		last := i == len(msg.ToolCalls)-1
		if i > 0 && d.one {
			break
		}
		if i == len(d.calls) {
			// A name may still grow until the arguments begin.
			if !d.names[c.Name] || (last && !final && c.Arguments == "") {
				break
			}
			id := c.ID
			if id == "" {
				id = d.newID()
			}
			out = append(out, piece{call: &inference.ToolCallDelta{Index: i, ID: id, Name: c.Name}})
			d.calls = append(d.calls, "")
		}
		args := c.Arguments
		if args == "" && (final || !last) {
			args = "{}"
		}
		if s := beyond(&d.calls[i], args, final); s != "" {
			out = append(out, piece{call: &inference.ToolCallDelta{Index: i, Arguments: s}})
		}
	}
	return out
}

// beyond returns what text holds after *sent and notes it as sent.
func beyond(sent *string, text string, final bool) string {
	rest, ok := strings.CutPrefix(text, *sent)
	if !ok {
		if !final || strings.HasPrefix(*sent, text) {
			return ""
		}
		// The last word differs from what was sent: pass on all after the part
		// that they have in common.
		n := 0
		for n < len(text) && n < len(*sent) && text[n] == (*sent)[n] {
			n++
		}
		for n > 0 && n < len(text) && text[n]&0xC0 == 0x80 {
			n-- // not inside a character
		}
		rest = text[n:]
	}
	*sent = text
	return rest
}

// salvage is for a text that as a whole is none that the template's model writes.
// What a partial parse makes of it, or of the longest beginning that has one, is
// passed on, and, as content, the text after that.
func (d *templateDecoder) salvage() []piece {
	raw, at := d.raw.String(), 0
	out := d.diff(d.beginning(raw), false)
	for i, s := range append([]string{d.reasoning, d.content}, d.calls...) {
		if j := strings.Index(raw[at:], s); j >= 0 {
			at += j + len(s)
		}
		if i == 0 && s != "" {
			at += d.afterThought(raw[at:])
		}
	}
	content(&out, raw[at:])
	return out
}

// beginningSteps is at how many places beginning looks for one at first.
const beginningSteps = 16

// beginning returns what the longest beginning of raw that can be parsed says. A
// partial parse of one that cannot says nothing, or is an error. It parses about 30
// times, in text that a model wrote in many more steps.
func (d *templateDecoder) beginning(raw string) message {
	parse := func(n int) (msg message, ok bool) {
		for n < len(raw) && !utf8.RuneStart(raw[n]) {
			n--
		}
		msg, err := d.parse(raw[:n], true)
		return msg, err == nil && (msg.Content != "" || msg.Reasoning != "" || len(msg.ToolCalls) > 0)
	}
	good, bad := 0, len(raw)+1
	var said message
	for i := beginningSteps; i > 0 && good == 0; i-- {
		n := len(raw) * i / beginningSteps
		if msg, ok := parse(n); ok {
			good, said = n, msg
		} else {
			bad = n
		}
	}
	for bad-good > 1 {
		n := (good + bad) / 2
		if msg, ok := parse(n); ok {
			good, said = n, msg
		} else {
			bad = n
		}
	}
	return said
}

// afterThought returns the length of the mark that text begins with, if that ends a
// thought.
func (d *templateDecoder) afterThought(text string) int {
	rest := strings.TrimLeft(text, " \n")
	for _, end := range d.ends {
		if end = strings.TrimSpace(end); strings.HasPrefix(rest, end) {
			return len(text) - len(rest) + len(end)
		}
	}
	return 0
}

// parserFunc adapts a Parser, whose lifetime the stream guards.
func parserFunc(p *guardedParser) func(string, bool) (message, error) {
	return func(text string, partial bool) (message, error) {
		var m message
		out, err := p.parse(text, partial)
		if err != nil {
			return m, err
		}
		if err := json.Unmarshal(out, &m); err != nil {
			return m, fmt.Errorf("read the parser's answer: %w", err)
		}
		return m, nil
	}
}
