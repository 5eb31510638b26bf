package sqldb

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// Whatever a server sends as a value is valid JSON and no more than a little
// longer than the limit allows.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"{1,NULL}", `{"a\"b",{x}}`, "{{{{{{{1}}}}}}}", "2026-01-02 03:04:05.5+02", "infinity", `\xdead`, `{"a":1}`, "-0", "1e5", "NaN", "\xff\xfe", "", "{", `{"`, "{,}"} {
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
			escapeCell(plain(v))
		}
	})
}

func FuzzFirstWord(f *testing.F) {
	for _, s := range []string{"SELECT 1", "/* a */ -- b\n DROP", "(SELECT", "", "\xff", "/*", "#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		word, err := firstWord(s)
		if err == nil && len(word) > 3*len(s)+3 {
			t.Fatalf("%q gives %q", s, word)
		}
		_ = checkReads(MySQL, s)
		_ = checkWrites(s)
	})
}
