package llama

import (
	"encoding/json"

	"hearth/inference"
)

// checkSchema refuses a JSON Schema that is not JSON, or above the bounds that
// the root package names, before anything recursive sees it.
func checkSchema(field string, schema []byte) error {
	if len(schema) > inference.MaxSchemaBytes {
		return inference.Invalid(field, "the schema has %d bytes, and at most %d are possible", len(schema), inference.MaxSchemaBytes)
	}
	depth, nodes := measureJSON(schema)
	if depth > inference.MaxSchemaDepth {
		return inference.Invalid(field, "the schema is nested %d deep, and at most %d is possible", depth, inference.MaxSchemaDepth)
	}
	if nodes > inference.MaxSchemaNodes {
		return inference.Invalid(field, "the schema has %d values, and at most %d are possible", nodes, inference.MaxSchemaNodes)
	}
	if !json.Valid(schema) {
		return inference.Invalid(field, "the schema is not valid JSON")
	}
	return nil
}

// measureJSON returns how deep objects and arrays nest in text, and how many
// values (keys not counted) it has. It neither recurses nor allocates, and makes
// do with text that is not JSON.
func measureJSON(text []byte) (depth, nodes int) {
	open := 0
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '{', '[':
			open++
			nodes++
			depth = max(depth, open)
			i++
		case '}', ']':
			open--
			i++
		case '"':
			i = skipString(text, i)
			for i < len(text) && isSpace(text[i]) {
				i++
			}
			if i >= len(text) || text[i] != ':' {
				nodes++
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			i++
		default: // a number or a word
			nodes++
			for i < len(text) && !isSpace(text[i]) && text[i] != ',' && text[i] != '}' && text[i] != ']' {
				i++
			}
		}
	}
	return depth, nodes
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func skipString(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}
