package sqldb

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// typeName is what PostgreSQL calls a type, where it is one of its own.
func (p *postgres) typeName(oid uint32) string {
	if t, ok := p.types.TypeForOID(oid); ok {
		if elem, ok := strings.CutPrefix(t.Name, "_"); ok {
			return elem + "[]"
		}
		return t.Name
	}
	return ""
}

// value is a value in its text form as JSON.
func (p *postgres) value(oid uint32, s string, limit int) json.RawMessage {
	switch oid {
	case pgtype.BoolOID:
		if s == "t" {
			return json.RawMessage("true")
		}
		return json.RawMessage("false")
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		return numberText(s, limit)
	case pgtype.Float4OID:
		return floatText(s, 32, limit)
	case pgtype.Float8OID:
		return floatText(s, 64, limit)
	case pgtype.JSONOID, pgtype.JSONBOID:
		return jsonValue(s, limit)
	case pgtype.TimestampOID, pgtype.TimestamptzOID:
		return timestampValue(s, limit)
	case pgtype.ByteaOID:
		if digits, ok := strings.CutPrefix(s, `\x`); ok {
			if b, err := hex.DecodeString(digits); err == nil {
				return bytesValue(b, limit)
			}
		}
	}
	if elem, ok := p.element(oid); ok && len(s) <= limit {
		if v, rest, ok := p.array(elem, s, limit, 0); ok && rest == "" {
			return v
		}
	}
	return textValue(s, limit)
}

// element is the type of an array's elements.
func (p *postgres) element(oid uint32) (uint32, bool) {
	t, ok := p.types.TypeForOID(oid)
	if !ok {
		return 0, false
	}
	codec, ok := t.Codec.(*pgtype.ArrayCodec)
	if !ok || codec.ElementType.OID == pgtype.BoxOID { // boxes are apart by semicolons
		return 0, false
	}
	return codec.ElementType.OID, true
}

// maxDimensions is how deep PostgreSQL nests arrays.
const maxDimensions = 6

// array reads an array's text form, {1,NULL,"a b"}, as a JSON array. One whose
// indexes do not begin at 1 ([0:1]={…}) stays a text.
func (p *postgres) array(elem uint32, s string, limit, depth int) (_ json.RawMessage, rest string, ok bool) {
	if depth >= maxDimensions || !strings.HasPrefix(s, "{") {
		return nil, "", false
	}
	s = s[1:]
	out := []byte{'['}
	if after, empty := strings.CutPrefix(s, "}"); empty {
		return append(out, ']'), after, true
	}
	for {
		var v json.RawMessage
		switch {
		case strings.HasPrefix(s, "{"):
			v, s, ok = p.array(elem, s, limit, depth+1)
		case strings.HasPrefix(s, `"`):
			var text string
			if text, s, ok = quoted(s[1:]); ok {
				v = p.value(elem, text, limit)
			}
		default:
			n := strings.IndexAny(s, ",}")
			if ok = n > 0; ok {
				v = null
				if !strings.EqualFold(s[:n], "NULL") {
					v = p.value(elem, s[:n], limit)
				}
				s = s[n:]
			}
		}
		if !ok || s == "" {
			return nil, "", false
		}
		out = append(out, v...)
		switch s[0] {
		case ',':
			out = append(out, ',')
			s = s[1:]
		case '}':
			return append(out, ']'), s[1:], true
		default:
			return nil, "", false
		}
	}
}

// quoted reads to the closing quote.
func quoted(s string) (text, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
			b.WriteByte(s[i])
		case '"':
			return b.String(), s[i+1:], true
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

func floatText(s string, bits, limit int) json.RawMessage {
	f, err := strconv.ParseFloat(s, bits)
	if err != nil {
		return textValue(s, limit)
	}
	return floatValue(f, bits)
}
