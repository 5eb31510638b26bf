package chat

import (
	"bytes"
	"encoding/json"
	"strings"

	"hearth/inference"
	"hearth/internal/jsonschema"
)

// Many models that were trained to call tools write the call without the marks
// that their template asks for: the bare object {"name": …, "arguments": …}, or
// that object in a fence of Markdown. An answer that is such a call and nothing
// else is taken as the call, if the tool was offered and its schema accepts the
// arguments. Small models invent names, too: for who answers such calls (UnknownCalls
// of the request), one of no tool there is, with an object of arguments, is a call.

// maxUnknownName bounds the name of a call of no tool there is, in bytes.
const maxUnknownName = 64

// maxBareCall bounds the text that is held back, in bytes. A longer one is text.
const maxBareCall = 64 << 10

// bareCalls is the decoder for such answers. Content is held back for as long as
// it may still become a call, so that nothing of a call is shown as content; what
// turns out to be none is passed on unchanged. Reasoning is never held back.
type bareCalls struct {
	inner decoder
	newID func() string
	taken func() // told of each call
	loose bool   // arguments that the schema does not accept make a call, too

	scan bareScan // with the tools that may be called
	held []byte
	open bool // the content is not a bare call: all passes through
}

func (d *bareCalls) feed(text string) []piece { return d.through(d.inner.feed(text)) }

func (d *bareCalls) finish(reason inference.FinishReason) []piece {
	out := d.through(d.inner.finish(reason))
	if d.open {
		return out
	}
	if name, args, ok := d.call(reason); ok {
		d.open, d.held = true, nil
		d.taken()
		return append(out, piece{call: &inference.ToolCallDelta{ID: d.newID(), Name: name, Arguments: args}})
	}
	return d.release(out)
}

func (d *bareCalls) through(in []piece) []piece {
	if d.open {
		return in
	}
	var out []piece
	for _, p := range in {
		switch {
		case d.open || p.reasoning != "":
			out = append(out, p)
		case p.call != nil: // the model knows its template's form of a call
			out = append(d.release(out), p)
		default:
			d.held = append(d.held, p.content...)
			if len(d.held) > maxBareCall || !d.scan.read(p.content) {
				out = d.release(out)
			}
		}
	}
	return out
}

// release passes on what was held, and all that follows.
func (d *bareCalls) release(out []piece) []piece {
	d.open = true
	content(&out, string(d.held))
	d.held = nil
	return out
}

// call returns what was held as a call. An answer that was cut off might have
// gone on, so it is none.
func (d *bareCalls) call(reason inference.FinishReason) (name, args string, ok bool) {
	if reason != inference.FinishStop || d.scan.state != bareEnd || d.scan.closing%3 != 0 {
		return "", "", false
	}
	var call struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	}
	body := d.held[d.scan.begin:d.scan.end]
	if json.Unmarshal(body, &call) != nil {
		return "", "", false
	}
	tool := d.scan.tools[call.Name]
	if tool == nil { // the scan lets pass that
		return call.Name, string(call.Arguments), true
	}
	if args, ok = objectText(call.Arguments); !ok || !d.loose && !satisfies(args, parameters(tool)) {
		return "", "", false
	}
	return call.Name, args, true
}

// bareScan reads text byte by byte for as long as it may be a bare call.
type bareScan struct {
	tools map[string]*inference.Tool
	any   bool // names that no tool has may be called, too

	state      bareState
	pos        int // bytes read
	begin, end int // of the object

	fenced  int // backquotes of the opening fence
	closing int // backquotes of the closing one
	word    []byte
	name    bool      // the member "name" was read
	args    bool      // so was "arguments"
	isName  bool      // the value being read is that of "name"
	unknown bool      // no tool has the name
	quoted  bool      // the arguments are a string
	value   jsonValue // the arguments
}

type bareState int

const (
	bareStart  bareState = iota // before the object
	bareFence                   // in the line that opens the fence
	bareMember                  // after '{' or ',': a key must follow
	bareKey                     // inside a key
	bareColon                   // after a key
	bareValue                   // before a value
	bareName                    // inside the name
	bareArgs                    // inside the arguments
	bareNext                    // after a value
	bareEnd                     // after the object
)

// read takes more text; false: the text is no bare call, whatever follows.
func (s *bareScan) read(text string) bool {
	for i := range len(text) {
		if !s.step(text[i]) {
			return false
		}
		s.pos++
	}
	return true
}

func (s *bareScan) step(c byte) bool {
	space := c == ' ' || c == '\t' || c == '\r' || c == '\n'
	switch s.state {
	case bareStart:
		switch {
		case c == '`' && s.fenced < 3:
			s.fenced++
			if s.fenced == 3 {
				s.state = bareFence
			}
		case c == '{' && (s.fenced == 0 || s.fenced == 3):
			s.begin, s.state = s.pos, bareMember
		default:
			return space && (s.fenced == 0 || s.fenced == 3)
		}
	case bareFence:
		switch {
		case c == '\n':
			s.state, s.word = bareStart, s.word[:0]
		case c == '\r' || c == ' ':
		default:
			s.word = append(s.word, c)
			return strings.HasPrefix("json", string(s.word))
		}
	case bareMember:
		if c == '"' {
			s.state, s.word = bareKey, s.word[:0]
			return true
		}
		return space
	case bareKey:
		if c != '"' {
			s.word = append(s.word, c)
			return !s.name && strings.HasPrefix("name", string(s.word)) || !s.args && strings.HasPrefix("arguments", string(s.word))
		}
		s.state, s.isName = bareColon, string(s.word) == "name"
		return s.isName && !s.name || string(s.word) == "arguments" && !s.args
	case bareColon:
		if c == ':' {
			s.state = bareValue
			return true
		}
		return space
	case bareValue:
		return space || s.beginValue(c)
	case bareName:
		if c != '"' {
			s.word = append(s.word, c)
			return s.beginsName() || s.any && len(s.word) <= maxUnknownName && c >= ' ' && c != '\\'
		}
		s.name, s.state = true, bareNext
		s.unknown = s.tools[string(s.word)] == nil
		return !s.unknown || s.any && len(bytes.TrimSpace(s.word)) > 0 && !(s.args && s.quoted)
	case bareArgs:
		s.inArgs(c)
	case bareNext:
		switch {
		case c == ',' && !(s.name && s.args):
			s.state = bareMember
		case c == '}' && s.name && s.args:
			s.end, s.state = s.pos+1, bareEnd
		default:
			return space
		}
	case bareEnd:
		if c == '`' && s.fenced == 3 && s.closing < 3 {
			s.closing++
			return true
		}
		return space && s.closing%3 == 0
	}
	return true
}

func (s *bareScan) beginValue(c byte) bool {
	if s.isName {
		s.state, s.word = bareName, s.word[:0]
		return c == '"'
	}
	s.state, s.value, s.quoted = bareArgs, jsonValue{}, c == '"'
	s.inArgs(c)
	return c == '{' || s.quoted && !s.unknown
}

// inArgs follows the arguments, an object or an object in a string, to their end.
func (s *bareScan) inArgs(c byte) {
	if s.value.step(c) {
		s.args, s.state = true, bareNext
	}
}

// beginsName reports whether a tool's name begins with what was read.
func (s *bareScan) beginsName() bool {
	for name := range s.tools {
		if strings.HasPrefix(name, string(s.word)) {
			return true
		}
	}
	return false
}

// satisfies reports whether a schema accepts the arguments. A schema that cannot
// be compiled accepts nothing, nor does one that cannot be checked soon.
func satisfies(args string, schema json.RawMessage) bool {
	if depth, _, err := measure(json.RawMessage(args)); err != nil || depth > inference.MaxSchemaDepth {
		return false
	}
	compiled, err := jsonschema.Compile("tool", string(schema), jsonschema.Options{})
	return err == nil && compiled.Check([]byte(args)) == nil
}
