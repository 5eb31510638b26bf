package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"hearth/inference"
)

// readBody reads the request's body as one JSON object.
func (a *API) readBody(w http.ResponseWriter, r *http.Request) (*fields, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.cfg.MaxBodyBytes))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, err
		}
		return nil, inference.Invalid("", "the body could not be read: %v", err)
	}
	return parseBody(data)
}

func parseBody(data []byte) (*fields, error) {
	if !utf8.Valid(data) {
		return nil, inference.Invalid("", "the body is not valid UTF-8")
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, inference.Invalid("", "the body is empty; it must be a JSON object")
	}
	if err := checkDocument(data); err != nil {
		return nil, err
	}
	return parseObject("", data)
}

// fields is a JSON object whose members are taken out one by one. The first
// error stays; a member that is null counts as absent. Names are matched
// exactly, and a member whose name differs only in case from one that is taken
// is an error: others would read it as that.
type fields struct {
	at     string // where the object stands, "" for the body
	value  map[string]json.RawMessage
	folded map[string][]string // names as they were written, by their folded spelling
	taken  map[string]bool
	first  error
}

// parseObject reads an object of which data holds exactly one.
func parseObject(at string, data []byte) (*fields, error) {
	bad := func(err error) error {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if at == "" {
			return inference.Invalid("", "the body is not valid JSON: %v", err)
		}
		return inference.Invalid(at, "is not valid JSON: %v", err)
	}
	must := "must be a JSON object, got %s"
	if at == "" {
		must = "the body " + must
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	t, err := dec.Token()
	if err != nil {
		return nil, bad(err)
	}
	if t != json.Delim('{') {
		return nil, inference.Invalid(at, must, kind(data))
	}
	f := &fields{at: at, value: map[string]json.RawMessage{}, folded: map[string][]string{}, taken: map[string]bool{}}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, bad(err)
		}
		key, _ := t.(string)
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, bad(err)
		}
		if _, twice := f.value[key]; twice {
			return nil, inference.Invalid(f.path(key), "appears twice")
		}
		f.value[key] = v
		f.folded[fold(key)] = append(f.folded[fold(key)], key)
	}
	if _, err := dec.Token(); err != nil {
		return nil, bad(err)
	}
	if rest := bytes.TrimSpace(data[dec.InputOffset():]); len(rest) > 0 {
		return nil, inference.Invalid(at, "the JSON object is followed by more data; send one object")
	}
	return f, nil
}

// kind names what a JSON value is.
func kind(v json.RawMessage) string {
	switch v = bytes.TrimSpace(v); {
	case len(v) == 0:
		return "nothing"
	case v[0] == '{':
		return "an object"
	case v[0] == '[':
		return "a list"
	case v[0] == '"':
		return "a string"
	case v[0] == 't' || v[0] == 'f':
		return "a boolean"
	case v[0] == 'n':
		return "null"
	}
	return "a number"
}

func (f *fields) path(key string) string {
	if f.at == "" {
		return key
	}
	return f.at + "." + key
}

func (f *fields) err() error { return f.first }

func (f *fields) fail(key, format string, args ...any) {
	f.failed(inference.Invalid(f.path(key), format, args...))
}

func (f *fields) failed(err error) {
	if f.first == nil {
		f.first = err
	}
}

// take returns a member; false: absent or null.
func (f *fields) take(key string) (json.RawMessage, bool) {
	f.taken[key] = true
	for _, written := range f.folded[fold(key)] {
		if written != key {
			f.fail(written, "must be spelled %q", key)
		}
	}
	v, ok := f.value[key]
	return v, ok && string(v) != "null"
}

func (f *fields) str(key string, to *string) bool {
	v, ok := f.take(key)
	if ok && (v[0] != '"' || json.Unmarshal(v, to) != nil) {
		f.fail(key, "must be a string, got %s", kind(v))
	}
	return ok
}

func (f *fields) boolean(key string, to *bool) bool {
	v, ok := f.take(key)
	if ok && json.Unmarshal(v, to) != nil {
		f.fail(key, "must be true or false, got %s", kind(v))
	}
	return ok
}

func (f *fields) float(key string, to *float32) bool {
	v, ok := f.take(key)
	if ok && json.Unmarshal(v, to) != nil {
		f.fail(key, "must be a number, got %s", number(v))
	}
	return ok
}

func (f *fields) integer(key string, to *int) bool {
	v, ok := f.take(key)
	var n int64
	if ok && (json.Unmarshal(v, &n) != nil || n > math.MaxInt32 || n < math.MinInt32) {
		f.fail(key, "must be an integer, got %s", number(v))
		return ok
	}
	if ok {
		*to = int(n)
	}
	return ok
}

// number shows a number that cannot be used, and names anything else.
func number(v json.RawMessage) string {
	if k := kind(v); k != "a number" || len(v) > 40 {
		return k
	}
	return string(v)
}

// list returns the elements of a list.
func (f *fields) list(key string) ([]json.RawMessage, bool) {
	v, ok := f.take(key)
	var out []json.RawMessage
	if ok && (v[0] != '[' || json.Unmarshal(v, &out) != nil) {
		f.fail(key, "must be a list, got %s", kind(v))
		return nil, false
	}
	return out, ok
}

// object returns a member that is an object.
func (f *fields) object(key string) (*fields, bool) {
	v, ok := f.take(key)
	if !ok {
		return nil, false
	}
	o, err := parseObject(f.path(key), v)
	if err != nil {
		f.failed(err)
		return nil, false
	}
	return o, true
}

// refuse makes the presence of a member an error, unless its value asks for
// nothing.
func (f *fields) refuse(key, why string) {
	v, ok := f.take(key)
	if !ok || slices.Contains([]string{"false", "0", `""`, "[]", "{}"}, string(v)) {
		return
	}
	f.fail(key, "%s", why)
}

// rest names the members that nobody took.
func (f *fields) rest() []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(f.value)) {
		if !f.taken[k] {
			out = append(out, k)
		}
	}
	return out
}

// ignored logs the names of members without effect. Names are the client's, so
// they are cut short.
func (a *API) ignored(r *http.Request, f *fields) {
	if e := a.cfg.Log.Debug(); e.Enabled() {
		if rest := f.rest(); len(rest) > 0 {
			names := fmt.Sprintf("%q", strings.Join(rest, " "))
			e.Str("request_id", requestID(r)).Str("fields", names[:min(len(names), 400)]).Msg("ignored fields")
		}
	}
}
