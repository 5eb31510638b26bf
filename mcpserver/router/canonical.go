package router

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// canonical spells a JSON value in one way: members sorted, no white space, numbers
// as they were written. What two spellings have in common is the call that they
// mean.
func canonical(data []byte) ([]byte, error) {
	var v any
	if err := unmarshalNumbers(data, &v); err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	return marshalPlain(v)
}

// compact spells a JSON value without white space, and leaves it in its order.
func compact(data []byte) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(len(data))
	if err := json.Compact(&b, data); err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	return b.Bytes(), nil
}

// unmarshalNumbers reads one JSON value and keeps numbers as they were written.
func unmarshalNumbers(data []byte, v *any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// marshalPlain writes a JSON value without escapes that only HTML needs.
func marshalPlain(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// digest is the SHA-256 of parts, each with its length in front, so that no two
// lists of parts look alike.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// definition is the hash of all that a tool says of itself.
func definition(full string, t *Tool) string {
	effects, _ := json.Marshal(t.Effects) // plain booleans
	return digest([]byte(full), []byte(t.Title), []byte(t.Description), t.Input, t.Output, effects, t.Meta)
}
