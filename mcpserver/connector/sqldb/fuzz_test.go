package sqldb

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// Whatever a server sends as a value is valid JSON and no more than a little
// longer than the limit allows; whatever a model sends as a statement has a first
// word or none.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"{1,NULL}", `{"a\"b",{x}}`, "{{{{{{{1}}}}}}}", "2026-01-02 03:04:05.5+02", "infinity", `\xdead`, `{"a":1}`, "-0", "1e5", "/* a */ -- b\n DROP", "(SELECT", "/*", "#", "NaN", "\xff\xfe", "", "{", `{"`, "{,}"} {
		f.Add(s)
	}
	p := &postgres{types: pgtype.NewMap()}
	oids := []uint32{
		pgtype.BoolOID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID, pgtype.JSONOID, pgtype.JSONBOID, pgtype.TimestamptzOID,
		pgtype.ByteaOID, pgtype.TextOID, pgtype.TextArrayOID, pgtype.Int4ArrayOID, pgtype.JSONBArrayOID, pgtype.TimestampArrayOID, pgtype.BoxArrayOID, 99999,
	}
	f.Fuzz(func(t *testing.T, s string) {
		var all []json.RawMessage
		for _, oid := range oids {
			all = append(all, p.value(oid, s, 64))
		}
		for _, kind := range []string{"BLOB", "BIT", "JSON", "DATETIME", "TIMESTAMP", "VARCHAR"} {
			all = append(all, mysqlText(kind, s, 64))
		}
		for i, v := range all {
			if !json.Valid(v) || !utf8.Valid(v) {
				t.Fatalf("%d: %q gives %q, which is no JSON", i, s, v)
			}
			if len(s) > 1000 && len(v) > 1000 {
				t.Fatalf("%d: %d bytes give %d", i, len(s), len(v))
			}
			if strings.ContainsAny(escapeCell(plain(v)), "\n\r\x00") {
				t.Fatalf("%d: %q leaves its line", i, s)
			}
		}
		// The same text as a statement: a word of it, or nothing.
		if word, err := firstWord(s); err == nil && len(word) > 3*len(s) {
			t.Fatalf("%q begins with %q", s, word)
		}
		_ = checkReads(MySQL, s)
		_ = checkWrites(s)
	})
}
