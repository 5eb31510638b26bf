package batch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// The bounds of an input file.
const (
	MaxRequests  = 1_000_000
	MaxLineBytes = 64 << 20
	MaxIDBytes   = 512
)

// urls are the routes that a line may name.
var urls = []string{"/v1/chat/completions", "/v1/completions", "/v1/responses", embeddings}

// embeddings is the route that knows no tiers: its requests do not wait behind
// text, so there is nothing to make way for.
const embeddings = "/v1/embeddings"

// URLs returns the routes that a line may name.
func URLs() []string { return slices.Clone(urls) }

// Request is one line of the input.
type Request struct {
	CustomID string
	URL      string          // one of URLs
	Body     json.RawMessage // a JSON object, as it stands in the file
}

// parseLine reads a line without its newline. The error says what is wrong with
// it, not where it stands.
func parseLine(line []byte) (*Request, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("is not valid UTF-8")
	}
	members, err := object(line)
	if err != nil {
		return nil, err
	}
	r := &Request{}
	var method string
	for _, m := range members {
		switch m.key {
		case "custom_id":
			err = text(m, &r.CustomID)
		case "method":
			err = text(m, &method)
		case "url":
			err = text(m, &r.URL)
		case "body":
			r.Body = m.value
		default:
			err = fmt.Errorf("has an unknown member %s; these are possible: custom_id, method, url, body", quote(m.key))
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case r.CustomID == "":
		return nil, errors.New("custom_id is missing or empty")
	case len(r.CustomID) > MaxIDBytes:
		return nil, fmt.Errorf("custom_id has %d bytes; at most %d are possible", len(r.CustomID), MaxIDBytes)
	case method != "POST":
		return nil, fmt.Errorf(`method must be "POST", got %s`, quote(method))
	case !slices.Contains(urls, r.URL):
		return nil, fmt.Errorf("url must be one of %s, got %s", strings.Join(urls, ", "), quote(r.URL))
	case r.Body == nil:
		return nil, errors.New("body is missing")
	}
	body, err := object(r.Body)
	if err != nil {
		return nil, fmt.Errorf("body %w", err)
	}
	for _, m := range body {
		if m.key == "stream" && string(m.value) != "false" && string(m.value) != "null" {
			return nil, errors.New("body.stream must be left out: the answer of a batch is one object")
		}
	}
	return r, nil
}

// member is one member of a JSON object.
type member struct {
	key   string
	value json.RawMessage
}

// object reads the members of the one object that data holds.
func object(data []byte) ([]member, error) {
	invalid := func(err error) error {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("is not valid JSON: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	first, err := dec.Token()
	if err != nil {
		return nil, invalid(err)
	}
	if first != json.Delim('{') {
		return nil, errors.New("is not a JSON object")
	}
	var all []member
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, invalid(err)
		}
		m := member{}
		m.key, _ = t.(string)
		if err := dec.Decode(&m.value); err != nil {
			return nil, invalid(err)
		}
		if seen[m.key] {
			return nil, fmt.Errorf("has the member %s twice", quote(m.key))
		}
		seen[m.key] = true
		all = append(all, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, invalid(err)
	}
	if rest := bytes.TrimSpace(data[dec.InputOffset():]); len(rest) > 0 {
		return nil, errors.New("holds more than one JSON object")
	}
	return all, nil
}

func text(m member, to *string) error {
	if len(m.value) == 0 || m.value[0] != '"' || json.Unmarshal(m.value, to) != nil {
		return fmt.Errorf("%s must be a string", m.key)
	}
	return nil
}

// quote shows a name of the file, cut short if it is long.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// payload returns the body to send: with the given model where it names none,
// and with the service tier "flex" where it names no other, so that the server
// serves first those who do not come with a file.
func (r *Request) payload(model string) ([]byte, error) {
	members, err := object(r.Body)
	if err != nil {
		return nil, err
	}
	has := func(key string) bool {
		return slices.ContainsFunc(members, func(m member) bool { return m.key == key && string(m.value) != "null" })
	}
	var b bytes.Buffer
	b.WriteByte('{')
	put := func(key string, value []byte) error {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(key)
		if err != nil {
			return err
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(value)
		return nil
	}
	addTier, addModel := r.URL != embeddings && !has("service_tier"), model != "" && !has("model")
	for _, m := range members {
		if (m.key == "service_tier" && addTier) || (m.key == "model" && addModel) {
			continue // a null, which must not stand beside the value
		}
		if err := put(m.key, m.value); err != nil {
			return nil, err
		}
	}
	if addModel {
		id, err := json.Marshal(model)
		if err != nil {
			return nil, err
		}
		if err := put("model", id); err != nil {
			return nil, err
		}
	}
	if addTier {
		if err := put("service_tier", []byte(`"flex"`)); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
