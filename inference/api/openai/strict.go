package openai

import (
	"bytes"
	"encoding/json"
	"strings"

	"hearth/inference"
)

// maxDepth is how deep objects and arrays of a body may nest: a schema of the
// greatest depth, and what stands around it.
const maxDepth = inference.MaxSchemaDepth + 16

// checkDocument refuses, anywhere in a body, what two JSON readers may understand
// differently (a key twice, an escape of half a character) and what is nested too
// deep for those that recurse. What is no JSON at all is left to the reader that
// follows.
func checkDocument(data []byte) error {
	if half, found := inference.HalfSurrogate(data); found {
		return inference.Invalid("", `the body holds the escape \u%04X, which is half of a surrogate pair: send the whole character`, half)
	}
	w := walker{dec: json.NewDecoder(bytes.NewReader(data))}
	w.dec.UseNumber()
	return w.value(1)
}

// walker reads a document once. A syntax error ends it without an error.
type walker struct {
	dec  *json.Decoder
	path []string
}

// where is the path of what is read, as far as an answer may show it.
func (w *walker) where() string {
	at := strings.Join(w.path, ".")
	return at[:min(len(at), 200)]
}

func (w *walker) value(depth int) error {
	t, err := w.dec.Token()
	if err != nil {
		return nil
	}
	d, nested := t.(json.Delim)
	if !nested {
		return nil
	}
	if depth > maxDepth {
		at := ""
		if len(w.path) > 0 {
			at = w.path[0]
		}
		return inference.Invalid(at, "is nested deeper than %d levels", maxDepth)
	}
	var seen map[string]bool
	if d == '{' {
		seen = map[string]bool{}
	}
	for w.dec.More() {
		if d == '{' {
			t, err := w.dec.Token()
			if err != nil {
				return nil
			}
			key, _ := t.(string) // the decoder returns nothing else for a key
			w.path = append(w.path, key[:min(len(key), 64)])
			if seen[key] {
				return inference.Invalid(w.where(), "appears twice")
			}
			seen[key] = true
		}
		before := w.dec.InputOffset()
		if err := w.value(depth + 1); err != nil {
			return err
		}
		if w.dec.InputOffset() == before {
			return nil // a syntax error: More would say yes for ever
		}
		if d == '{' {
			w.path = w.path[:len(w.path)-1]
		}
	}
	_, _ = w.dec.Token() // the closing one, or a syntax error
	return nil
}

// fold returns a spelling that is equal for two keys that differ only in case:
// up first, which turns the few letters with two small forms into one.
func fold(key string) string { return strings.ToLower(strings.ToUpper(key)) }
