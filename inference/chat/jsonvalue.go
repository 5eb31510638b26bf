package chat

// jsonValue follows a JSON value that a model writes, an object or a string, byte
// by byte to its end. That it is valid is for others to say.
type jsonValue struct {
	depth    int // of open brackets
	inString bool
	escaped  bool // the last byte was a backslash of a string
}

// step takes the next byte, and reports whether the value ended with it.
func (v *jsonValue) step(c byte) bool {
	switch {
	case v.escaped:
		v.escaped = false
	case v.inString:
		v.escaped, v.inString = c == '\\', c != '"'
	case c == '"':
		v.inString = true
	case c == '{' || c == '[':
		v.depth++
	case c == '}' || c == ']':
		v.depth--
	}
	return v.depth <= 0 && !v.inString
}
