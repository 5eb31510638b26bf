package mcpserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mark3labs/mcp-go/mcp"

	"hearth/inference"
	"hearth/internal/jsonschema"
)

// Bounds of one JSON-RPC message. The size of the whole is Config.MaxBodyBytes.
const (
	maxDepth       = 64  // nested objects and arrays
	maxIDBytes     = 256 // JSON text of an id or a progress token
	maxMethodBytes = 128
	maxSafeInteger = 1<<53 - 1
)

type messageKind int

const (
	kindRequest messageKind = iota
	kindNotification
	kindResponse
)

// message is one JSON-RPC message that passed the strict decoder.
type message struct {
	kind    messageKind
	raw     []byte          // the message as it came: what was checked is what is forwarded
	id      string          // JSON text of the id, in one canonical spelling; "" without one
	method  string          // "" in a response
	token   json.RawMessage // JSON text of _meta.progressToken; nil without one
	version string          // the protocol version that _meta declares
	cancels string          // notifications/cancelled: canonical id of the call to cancel
	params  paramFields     // of a request or a notification
}

// protocolError is a message that cannot be handed on: it is answered with a
// JSON-RPC error and, over HTTP, with status.
type protocolError struct {
	status  int    // HTTP status
	code    int    // JSON-RPC error code
	id      string // canonical id; "" if it could not be read
	message string
}

func (e *protocolError) Error() string { return e.message }

func parseError(format string, args ...any) error {
	return &protocolError{status: http.StatusBadRequest, code: mcp.PARSE_ERROR, message: fmt.Sprintf(format, args...)}
}

func invalidRequest(format string, args ...any) error {
	return &protocolError{status: http.StatusBadRequest, code: mcp.INVALID_REQUEST, message: fmt.Sprintf(format, args...)}
}

// decode reads exactly one JSON-RPC message. It refuses whatever two JSON
// readers may understand differently: keys that occur twice or differ only in
// case from a key of the protocol, a second document, invalid UTF-8, escapes of
// half a character, numbers out of every range. An error is a *protocolError.
func decode(data []byte) (*message, error) {
	if !utf8.Valid(data) {
		return nil, parseError("the message is not valid UTF-8")
	}
	if half, found := inference.HalfSurrogate(data); found {
		return nil, parseError(`the escape \u%04X is half of a surrogate pair`, half)
	}
	if first := bytes.TrimLeft(data, " \t\r\n"); len(first) > 0 && first[0] == '[' {
		return nil, invalidRequest("batches are not supported: send one message at a time")
	}
	f, plain := scan(data)
	if !plain {
		w := walker{dec: json.NewDecoder(bytes.NewReader(data))}
		w.dec.UseNumber()
		if err := w.value(1, placeRoot); err != nil {
			return nil, err
		}
		if _, err := w.dec.Token(); !errors.Is(err, io.EOF) {
			return nil, parseError("there is more after the end of the message: send one JSON document")
		}
		// Keys are known to be unique and spelled exactly, so encoding/json reads them
		// as everybody else does.
		if err := json.Unmarshal(data, &f); err != nil {
			return nil, invalidRequest("the message must be a JSON object")
		}
		f.params.more = true
		if len(f.Params) > 0 && f.Params[0] == '{' {
			if err := json.Unmarshal(f.Params, &f.params); err != nil {
				return nil, invalidRequest("params: must be an object")
			}
		}
	}
	m, err := envelope(data, &f)
	var pe *protocolError
	if errors.As(err, &pe) && m != nil {
		pe.id = m.id
	}
	return m, err
}

// envelope makes a message of its members. If err is not nil the message holds at
// most the id.
func envelope(data []byte, env *fields) (*message, error) {
	m := &message{raw: data, params: env.params}
	if env.ID != nil {
		id, ok := canonicalID(env.ID)
		if !ok {
			return nil, invalidRequest("id: must be a string of at most %d bytes or an integer of at most 53 bits", maxIDBytes)
		}
		m.id = id
	}
	if string(env.JSONRPC) != `"2.0"` {
		return m, invalidRequest(`jsonrpc: must be "2.0"`)
	}
	if env.Method == nil {
		if m.id == "" || (env.Result == nil) == (env.Error == nil) {
			return m, invalidRequest("method: missing; without it the message must be a response with an id and either result or error")
		}
		m.kind = kindResponse
		return m, nil
	}
	if env.Result != nil || env.Error != nil {
		return m, invalidRequest("a message with a method has neither result nor error")
	}
	var ok bool
	if m.method, ok = plainString(env.Method); !ok {
		ok = json.Unmarshal(env.Method, &m.method) == nil
	}
	if !ok || m.method == "" || len(m.method) > maxMethodBytes {
		return m, invalidRequest("method: must be a string of 1 to %d bytes", maxMethodBytes)
	}
	m.kind = kindRequest
	if m.id == "" {
		m.kind = kindNotification
	}
	return m, m.readParams(env.Params)
}

// readParams takes from the parameters what the transport itself needs.
func (m *message) readParams(params json.RawMessage) error {
	if params == nil {
		return nil
	}
	if params[0] != '{' {
		return invalidRequest("params: must be an object")
	}
	p := &m.params
	if m.kind == kindNotification && m.method == string(mcp.MethodNotificationCancelled) {
		id, ok := canonicalID(p.RequestID)
		if !ok {
			return invalidRequest("params.requestId: must be the id of a request")
		}
		m.cancels = id
	}
	if p.Meta == nil {
		return nil
	}
	var meta map[string]json.RawMessage
	if err := json.Unmarshal(p.Meta, &meta); err != nil || meta == nil {
		return invalidRequest("params._meta: must be an object")
	}
	if token, ok := meta["progressToken"]; ok {
		canonical, ok := canonicalID(token)
		if !ok {
			return invalidRequest("params._meta.progressToken: must be a string of at most %d bytes or an integer of at most 53 bits", maxIDBytes)
		}
		m.token = json.RawMessage(canonical)
	}
	if version, ok := meta[mcp.MetaKeyProtocolVersion]; ok {
		if err := json.Unmarshal(version, &m.version); err != nil {
			return invalidRequest("params._meta[%q]: must be a string", mcp.MetaKeyProtocolVersion)
		}
	}
	return nil
}

// canonicalID returns the one spelling of an id: two spellings of one string
// ("a", "\u0061") are the same id, the string "1" and the number 1 are not.
func canonicalID(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 || len(raw) > maxIDBytes {
		return "", false
	}
	if raw[0] == '"' {
		if _, plain := plainString(raw); plain {
			return string(raw), true
		}
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return "", false
		}
		canonical, err := json.Marshal(s)
		return string(canonical), err == nil && len(canonical) <= maxIDBytes
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n > maxSafeInteger || n < -maxSafeInteger {
		return "", false
	}
	return strconv.FormatInt(n, 10), true
}

// plainString returns what a JSON string says that is printable ASCII without
// escapes, in it or in what encoding/json would write.
func plainString(raw json.RawMessage) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	text := raw[1 : len(raw)-1]
	for _, c := range text {
		if c < ' ' || c >= 0x7f || c == '\\' || c == '"' || c == '<' || c == '>' || c == '&' {
			return "", false
		}
	}
	return string(text), true
}

// place says which rules hold for the keys of an object.
type place int

const (
	placeRoot     place = iota // the message
	placeEnvelope              // params, and what they hold that the protocol names
	placeFree                  // what a tool, a schema or an extension names
)

// walker checks a document while it reads it once.
type walker struct {
	dec  *json.Decoder
	path []string
}

func (w *walker) where() string {
	if len(w.path) == 0 {
		return "the message"
	}
	return strings.Join(w.path, ".")
}

func (w *walker) token() (json.Token, error) {
	t, err := w.dec.Token()
	if err != nil {
		return nil, parseError("the message is not valid JSON at byte %d", w.dec.InputOffset())
	}
	return t, nil
}

func (w *walker) value(depth int, at place) error {
	t, err := w.token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case json.Number:
		if !jsonschema.Sensible(string(t)) {
			return invalidRequest("%s: the number has more than %d characters or an exponent beyond %d", w.where(), jsonschema.MaxNumberBytes, jsonschema.MaxExponent)
		}
		return nil
	case json.Delim:
		if depth > maxDepth {
			return invalidRequest("%.200s: nested deeper than %d levels", w.where(), maxDepth)
		}
		if t == '{' {
			return w.object(depth, at)
		}
		for w.dec.More() {
			if err := w.value(depth+1, at); err != nil {
				return err
			}
		}
		_, err := w.token()
		return err
	default:
		return nil
	}
}

func (w *walker) object(depth int, at place) error {
	seen := map[string]string{} // spelling that counts → key as it was written
	for w.dec.More() {
		t, err := w.token()
		if err != nil {
			return err
		}
		key := t.(string) // the decoder returns nothing else for a key
		counts := key
		if at != placeFree {
			counts = fold(key)
			if exact, ok := protocolKeys[counts]; ok && exact != key {
				return invalidRequest("%s: the key %.64q must be spelled %q", w.where(), key, exact)
			}
		}
		if before, twice := seen[counts]; twice {
			if before == key {
				return invalidRequest("%s: the key %.64q appears twice", w.where(), key)
			}
			return invalidRequest("%s: the keys %.64q and %.64q differ only in case", w.where(), before, key)
		}
		seen[counts] = key
		w.path = append(w.path, fmt.Sprintf("%.64s", key))
		if err := w.value(depth+1, inside(at, key)); err != nil {
			return err
		}
		w.path = w.path[:len(w.path)-1]
	}
	_, err := w.token()
	return err
}

// inside returns the place of the value of key.
func inside(at place, key string) place {
	if at == placeFree {
		return placeFree
	}
	switch key {
	case "arguments", "capabilities", "result", "error", "inputResponses", mcp.MetaKeyClientCapabilities:
		return placeFree
	}
	return placeEnvelope
}

// protocolKeys are the names that the protocol gives to members of requests,
// by their folded spelling. encoding/json would also read "Method" as "method".
var protocolKeys = func() map[string]string {
	m := map[string]string{}
	for k := range exactKeys {
		m[fold(k)] = k
	}
	return m
}()

// exactKeys are these names as they are spelled.
var exactKeys = func() map[string]bool {
	m := map[string]bool{}
	for _, k := range []string{
		"jsonrpc", "id", "method", "params", "result", "error", "code", "data",
		"_meta", "progressToken", "progress", "total", "message", "requestId", "reason",
		"name", "title", "version", "arguments", "argument", "value", "ref", "type", "context", "uri",
		"cursor", "level", "task", "ttl", "notifications", "inputResponses", "requestState",
		"protocolVersion", "capabilities", "clientInfo",
		mcp.MetaKeyProtocolVersion, mcp.MetaKeyClientInfo, mcp.MetaKeyClientCapabilities, mcp.MetaKeyLogLevel,
	} {
		m[k] = true
	}
	return m
}()

// fold returns a spelling that is equal for two keys exactly if they are equal
// without regard to case, by the rule that encoding/json matches keys with.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		smallest := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			smallest = min(smallest, f)
		}
		return smallest
	}, s)
}
