package chat

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"hearth/inference"
)

// The syntax in which a model calls tools when its template has none.
const (
	callOpen  = "<tool_call>"
	callClose = "</tool_call>"
)

// callHead is the beginning of a call up to the brace that opens its arguments.
// It can hold no '<', so it never reaches past the end of a call.
var callHead = regexp.MustCompile(`^\s*\{\s*"name"\s*:\s*"([a-zA-Z0-9_-]{1,64})"\s*,\s*"arguments"\s*:\s*\{`)

// callHeadMax bounds how far callHead is looked for.
const callHeadMax = 1024

// piece is a part of an answer: content, reasoning or a part of a call.
type piece struct {
	content   string
	reasoning string
	call      *inference.ToolCallDelta
}

// toolText reads calls out of text, incrementally: what it returns for a text
// does not depend on how the text was cut into feeds, but for the cuts between
// pieces. Arguments are passed on while they are written. What is not a call is
// content, the tags included.
type toolText struct {
	names map[string]bool
	newID func() string

	state toolState
	buf   string // read, but not yet understood
	space string // white space in front of the call that is being read
	calls int
	args  jsonValue // inside arguments
}

type toolState int

const (
	inText toolState = iota // outside a call
	inHead                  // after callOpen, before the arguments
	inArgs                  // inside the arguments
	inTail                  // after the arguments, before callClose
)

func (t *toolText) feed(text string) []piece {
	t.buf += text
	var out []piece
	for t.step(&out) {
	}
	return out
}

// step takes what can be understood from the buffer; false: more text is needed.
func (t *toolText) step(out *[]piece) bool {
	switch t.state {
	case inText:
		return t.stepText(out)
	case inHead:
		return t.stepHead(out)
	case inArgs:
		return t.stepArgs(out)
	default:
		return t.stepTail()
	}
}

func (t *toolText) stepText(out *[]piece) bool {
	if i := strings.Index(t.buf, callOpen); i >= 0 {
		text := strings.TrimRight(t.buf[:i], " \t\r\n")
		content(out, text)
		t.space = t.buf[len(text):i]
		t.buf, t.state = t.buf[i+len(callOpen):], inHead
		return true
	}
	// White space and the beginning of a tag are held back until it is known
	// what they belong to.
	hold := len(t.buf) - tagPrefix(t.buf, callOpen)
	hold = len(strings.TrimRight(t.buf[:hold], " \t\r\n"))
	content(out, t.buf[:hold])
	t.buf = t.buf[hold:]
	return false
}

func (t *toolText) stepHead(out *[]piece) bool {
	if m := callHead.FindStringSubmatchIndex(t.buf[:min(len(t.buf), callHeadMax)]); m != nil && t.names[t.buf[m[2]:m[3]]] {
		t.open(out, t.buf[m[2]:m[3]], "")
		t.buf, t.state = t.buf[m[1]-1:], inArgs
		t.args = jsonValue{}
		return true
	}
	i := strings.Index(t.buf, callClose)
	if i < 0 {
		return false
	}
	t.whole(out, t.buf[:i], callClose)
	t.buf, t.state = t.buf[i+len(callClose):], inText
	return true
}

// stepArgs passes the arguments on up to the bracket that ends them. Outside of
// strings JSON has no '<': there the model broke off.
func (t *toolText) stepArgs(out *[]piece) bool {
	end, ended := len(t.buf), false
	for i := 0; i < len(t.buf) && !ended; i++ {
		if t.buf[i] == '<' && !t.args.inString {
			end, ended = i, true
		} else if t.args.step(t.buf[i]) {
			end, ended = i+1, true
		}
	}
	if end > 0 {
		*out = append(*out, piece{call: &inference.ToolCallDelta{Index: t.calls - 1, Arguments: t.buf[:end]}})
	}
	t.buf = t.buf[end:]
	if ended {
		t.state = inTail
	}
	return ended
}

// stepTail takes the brace and the tag that end a call. Anything else is text.
func (t *toolText) stepTail() bool {
	rest := strings.TrimLeft(t.buf, " \t\r\n")
	if brace, ok := strings.CutPrefix(rest, "}"); ok {
		rest = strings.TrimLeft(brace, " \t\r\n")
	}
	if after, ok := strings.CutPrefix(rest, callClose); ok {
		t.buf, t.state = after, inText
		return true
	}
	if strings.HasPrefix(callClose, rest) {
		return false
	}
	t.state = inText
	return true
}

// finish says what the text that is left means at the end of the answer.
func (t *toolText) finish() []piece {
	var out []piece
	switch t.state {
	case inText:
		if t.calls == 0 || strings.TrimSpace(t.buf) != "" {
			content(&out, t.buf)
		}
	case inHead:
		t.whole(&out, t.buf, "")
	}
	t.buf, t.state = "", inText
	return out
}

// whole reads a call that could not be passed on while it was written: one with
// its members in another order, with arguments as a JSON string, or no call.
func (t *toolText) whole(out *[]piece, body, closing string) {
	var call struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	}
	dec := json.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	err := dec.Decode(&call)
	args, ok := objectText(call.Arguments)
	if err != nil || !ok || !t.names[call.Name] || strings.TrimSpace(body[dec.InputOffset():]) != "" {
		content(out, t.space+callOpen+body+closing)
		return
	}
	t.open(out, call.Name, args)
}

// objectText returns arguments as the text of a JSON object: as they are, or
// out of a JSON string. No arguments are an empty object.
func objectText(args json.RawMessage) (string, bool) {
	args = bytes.TrimSpace(args)
	if len(args) == 0 || string(args) == "null" {
		return "{}", true
	}
	if args[0] == '"' {
		var s string
		if json.Unmarshal(args, &s) != nil {
			return "", false
		}
		s = strings.TrimSpace(s)
		return s, strings.HasPrefix(s, "{") && json.Valid([]byte(s))
	}
	return string(args), args[0] == '{'
}

func (t *toolText) open(out *[]piece, name, args string) {
	*out = append(*out, piece{call: &inference.ToolCallDelta{Index: t.calls, ID: t.newID(), Name: name, Arguments: args}})
	t.calls++
}

func content(out *[]piece, text string) {
	if text != "" {
		*out = append(*out, piece{content: text})
	}
}

// tagPrefix returns the length of the longest end of s that begins tag.
func tagPrefix(s, tag string) int {
	for n := min(len(s), len(tag)-1); n > 0; n-- {
		if strings.HasSuffix(s, tag[:n]) {
			return n
		}
	}
	return 0
}
