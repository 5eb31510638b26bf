package mcpserver

import (
	"encoding/json"

	"hearth/internal/jsonschema"
)

// fields are the members of a message and of its parameters that the server looks
// at itself, as they were written; nil: it has none.
type fields struct {
	JSONRPC json.RawMessage `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  json.RawMessage `json:"method"`
	Params  json.RawMessage `json:"params"`
	Result  json.RawMessage `json:"result"`
	Error   json.RawMessage `json:"error"`

	params paramFields
}

// paramFields are those of the parameters.
type paramFields struct {
	RequestID json.RawMessage `json:"requestId"`
	Meta      json.RawMessage `json:"_meta"`
	Name      json.RawMessage `json:"name"`
	Arguments json.RawMessage `json:"arguments"`

	more bool // there are others
}

// mostKeys is how many members an object may have for scan to compare each with
// each.
const mostKeys = 16

// scan reads a plain message in one go. It takes only what the walker would take,
// and not all of that: keys are plain ASCII and known, or free, numbers are short
// and have no exponent. What it does not take, the walker judges, which says what is
// wrong. Most messages are plain, and reading them by tokens takes ten times as long.
func scan(data []byte) (f fields, ok bool) {
	if !json.Valid(data) {
		return f, false
	}
	s := scanner{data: data}
	s.space()
	if s.at == len(data) || data[s.at] != '{' {
		return f, false
	}
	ok = s.object(1, placeRoot, func(key, value []byte) bool {
		switch string(key) {
		case "jsonrpc":
			f.JSONRPC = value
		case "id":
			f.ID = value
		case "method":
			f.Method = value
		case "result":
			f.Result = value
		case "error":
			f.Error = value
		case "params":
			f.Params = value
			return value[0] != '{' || f.params.read(value)
		}
		return true
	})
	return f, ok
}

// read reads the members of the parameters, which were scanned already.
func (p *paramFields) read(params []byte) bool {
	s := scanner{data: params}
	return s.object(2, placeFree, func(key, value []byte) bool {
		switch string(key) {
		case "requestId":
			p.RequestID = value
		case "_meta":
			p.Meta = value
		case "name":
			p.Name = value
		case "arguments":
			p.Arguments = value
		default:
			p.more = true
		}
		return true
	})
}

// scanner reads data, which is valid JSON.
type scanner struct {
	data []byte
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// text reads a string, and says whether it is plain: ASCII without escapes.
func (s *scanner) text() (inside []byte, plain bool) {
	s.at++
	begin := s.at
	plain = true
	for {
		switch c := s.data[s.at]; {
		case c == '"':
			s.at++
			return s.data[begin : s.at-1], plain
		case c == '\\':
			plain = false
			s.at++
		case c >= 0x80:
			plain = false
		}
		s.at++
	}
}

// value reads any value; false: the walker is to judge it.
func (s *scanner) value(depth int, in place) bool {
	switch c := s.data[s.at]; c {
	case '"':
		s.text()
	case '{', '[':
		if depth > maxDepth {
			return false
		}
		if c == '{' {
			return s.object(depth, in, nil)
		}
		return s.array(depth, in)
	default: // a number, true, false, null
		begin := s.at
		for s.at < len(s.data) {
			c := s.data[s.at]
			if c == ',' || c == '}' || c == ']' || c <= ' ' {
				break
			}
			if c == 'E' || c == 'e' && s.data[begin] != 't' && s.data[begin] != 'f' {
				return false
			}
			s.at++
		}
		return s.at-begin <= jsonschema.MaxNumberBytes
	}
	return true
}

func (s *scanner) array(depth int, in place) bool {
	s.at++
	for {
		s.space()
		switch s.data[s.at] {
		case ']':
			s.at++
			return true
		case ',':
			s.at++
		default:
			if !s.value(depth+1, in) {
				return false
			}
		}
	}
}

// object reads an object and gives each of its members to member, unless it is nil.
func (s *scanner) object(depth int, in place, member func(key, value []byte) bool) bool {
	var few [mostKeys][]byte
	keys := few[:0]
	s.at++
	for {
		s.space()
		switch s.data[s.at] {
		case '}':
			s.at++
			return true
		case ',':
			s.at++
			continue
		}
		key, plain := s.text()
		if !plain || len(keys) == mostKeys || in != placeFree && !exactKeys[string(key)] {
			return false
		}
		for _, k := range keys {
			if string(k) == string(key) {
				return false
			}
		}
		keys = append(keys, key)
		s.space()
		s.at++ // the colon
		s.space()
		begin := s.at
		if !s.value(depth+1, inside(in, string(key))) {
			return false
		}
		if member != nil && !member(key, s.data[begin:s.at]) {
			return false
		}
	}
}
