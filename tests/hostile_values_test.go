package tests

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// text has what tokenizers, templates and JSON stumble over.
func (h hostile) text() string {
	switch h.IntN(24) {
	case 0:
		return strings.Repeat(pick(h, "a", "1", " ", "\n", "é", "字", "🏠", "(", "`", "\u200d"), 1<<h.IntN(13))
	case 1:
		return pick(h, "<|im_start|>system\nx<|im_end|>", "<|endoftext|>", "<s>", "</s>", "[INST]", "<|im_start|>", "<tool_call>{")
	case 2:
		return pick(h, "{{ 1/0 }}", "{% for i in range(10**9) %}x{% endfor %}", "{{ messages }}", "{%", "{#")
	case 3:
		return pick(h, "\x00", "a\x00b", "\ufffd", "\ufeff", "\u202e", "e\u0301\u0301\u0301", string(rune(0x10ffff)))
	case 4:
		return pick(h, "../../../etc/passwd", "%s%n", "'; --", "\r\n\r\nHTTP/1.1 200", "hearth://models")
	case 5:
		return pick(h, "", "", " ")
	}
	b := make([]rune, 1+h.IntN(24))
	for i := range b {
		b[i] = rune(pick(h, 32+h.IntN(95), 32+h.IntN(95), h.IntN(0x800), 0x4e00+h.IntN(0x5000)))
	}
	return string(b)
}

func (h hostile) tokens() any {
	list := make([]any, h.IntN(20))
	for i := range list {
		list[i] = pick[any](h, h.IntN(49152), h.IntN(30000), h.IntN(30000), h.IntN(20))
	}
	if len(list) > 0 && h.IntN(3) == 0 {
		list[h.IntN(len(list))] = h.number()
	}
	return list
}

func (h hostile) integer() int64 {
	return pick(h, 0, 1, -1, 49151, 49152, math.MaxInt32, math.MinInt32, math.MaxInt32+1, math.MaxInt64, math.MinInt64, h.Int64N(1<<40), -h.Int64N(1<<40))
}

func (h hostile) number() any {
	return pick[any](h, 0, 1, -1, 0.5, h.Float64()*4-1, h.integer(), 1e-30, 1e30, 1e300, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, "1", true, nil)
}

// junk is a value of no form in particular.
func (h hostile) junk(depth int) any {
	if depth <= 0 {
		return h.number()
	}
	switch h.IntN(6) {
	case 0:
		return map[string]any{h.text(): h.junk(depth - 1), pick(h, "type", "name", "role"): h.junk(depth - 1)}
	case 1:
		return []any{h.junk(depth - 1), h.junk(depth - 1)}
	case 2:
		return h.text()
	case 3:
		return nest(1<<h.IntN(12), pick(h, "[]", "{}"))
	}
	return h.number()
}

// nest is a value in which so many lists or objects stand one in the other.
func nest(n int, kind string) json.RawMessage {
	if kind == "[]" {
		return json.RawMessage(strings.Repeat("[", n) + strings.Repeat("]", n))
	}
	return json.RawMessage(strings.Repeat(`{"items":`, n) + "{}" + strings.Repeat("}", n))
}

// schema is a JSON Schema of some sort.
func (h hostile) schema(depth int) any {
	if depth <= 0 {
		return map[string]any{"type": pick(h, "string", "integer", "number", "boolean", "null", "x")}
	}
	switch h.IntN(14) {
	case 0:
		p := map[string]any{}
		for range h.IntN(8) {
			p[h.text()] = h.schema(depth - 1)
		}
		return map[string]any{"type": "object", "properties": p, "required": pick[any](h, []any{"a", h.text()}, h.junk(2)), "additionalProperties": pick[any](h, false, true, h.schema(depth-1))}
	case 1:
		return map[string]any{"type": "array", "items": h.schema(depth - 1), "minItems": h.number(), "maxItems": h.number()}
	case 2:
		return map[string]any{"type": "string", "minLength": h.number(), "maxLength": h.number()}
	case 3:
		return map[string]any{"type": "string", "pattern": pick(h, "^a+$", "^(a|b){1,1000000}$", "(", "^[z-a]$", "^(?=x)$", "^\\", "^"+strings.Repeat("(", 2000)+"$", "^"+strings.Repeat("a?", 2000)+"$", h.text())}
	case 4:
		return map[string]any{"$ref": pick(h, "#", "#/$defs/a", "#/nowhere", "http://127.0.0.1:1/x", h.text()), "$defs": map[string]any{"a": map[string]any{"$ref": pick(h, "#/$defs/a", "#")}}}
	case 5:
		return map[string]any{pick(h, "anyOf", "oneOf", "allOf"): []any{h.schema(depth - 1), h.schema(depth - 1)}}
	case 6:
		return map[string]any{"enum": pick[any](h, []any{}, []any{h.text(), h.number()}, h.junk(2))}
	case 7:
		return map[string]any{"type": "integer", "minimum": h.number(), "maximum": h.number()}
	case 8:
		return nest(1<<h.IntN(14), "{}")
	case 9:
		return map[string]any{"type": []any{"string", "null"}, "format": pick(h, "date", "uuid", "date-time", h.text())}
	case 10:
		return map[string]any{"const": h.junk(2)}
	case 11:
		return h.junk(3)
	case 12:
		long := make([]any, 1<<h.IntN(12))
		for i := range long {
			long[i] = fmt.Sprint("v", i)
		}
		return map[string]any{"enum": long}
	}
	return map[string]any{"not": h.schema(depth - 1), "if": h.schema(depth - 1)}
}

// grammar is one in GBNF, or nearly.
func (h hostile) grammar() string {
	switch h.IntN(8) {
	case 0:
		return pick(h, "", h.text(), "root ::= "+h.text(), "root ::= "+strings.Repeat("(", 30000), `root ::= root`, `root ::= "a"{5,2}`,
			"root ::= "+strings.Repeat(".? ", 1000)+`"\u0378"`, "root ::= a* root \"b\" | a\na ::= \"a\" a a | |")
	case 1:
		return "root ::= " + strings.Repeat(pick(h, `"a"? `, `"a"* `, "[a-z] | ", `"a"{1,30} `, "(", "# x\n", "x\nx ::= "), 1<<h.IntN(11))
	}
	rules := 1 + h.IntN(5)
	var b strings.Builder
	for i := range rules {
		name := "root"
		if i > 0 {
			name = string(rune('a' + i))
		}
		fmt.Fprintf(&b, "%s ::= %s%s", name, h.alternatives(rules, 3), pick(h, "\n", "\n", "\n\n", " # x\n"))
	}
	return b.String()
}

// alternatives are those of a rule, of a grammar with so many.
func (h hostile) alternatives(rules, depth int) string {
	var b strings.Builder
	for i := range 1 + h.IntN(3) {
		if i > 0 {
			b.WriteString(" | ")
		}
		for range h.IntN(4) {
			switch h.IntN(8) {
			case 0, 1:
				b.WriteString(pick(h, `"a"`, `"yes"`, `""`, `"\n"`, `"\x41"`, `"\u00e9"`, `"\U0010ffff"`, `"\""`, `"é🏠"`, `"\xff"`, `"\ud800"`, `"`))
			case 2, 3:
				b.WriteString(pick(h, "[a-z]", "[^a-z]", "[0-9a-fA-F]", "[]", "[^]", "[z-a]", `[\]]`, `[\x00-\U0010ffff]`, ".", "[é-字]", "[", "[-]", "[a-]"))
			case 4:
				b.WriteString(pick(h, "root", "nowhere", "a", "<x>", "<[2]>", "!<[2]>"))
			case 5:
				b.WriteByte(byte('b' + h.IntN(rules)))
			default:
				if depth == 0 {
					b.WriteString(`"b"`)
					break
				}
				b.WriteString("(" + h.alternatives(rules, depth-1) + ")")
			}
			b.WriteString(pick(h, " ", " ", " ", "* ", "+ ", "? ", "{2} ", "{0,} ", "{,3} ", "{1,3} ", fmt.Sprintf("{%d,%d} ", h.integer(), h.integer()), "** "))
		}
	}
	return b.String()
}
