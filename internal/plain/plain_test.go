package plain_test

import (
	"testing"

	"hearth/internal/plain"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"plain text\n\tÄ 日本":             "plain text\n\tÄ 日本",
		"a\u200bb\u00adc\ufeff":          "abc",
		"\u202eevil\u202c \u2066x\u2069": "evil x",
		"hi\U000e0041\U000e007f":         "hi",
		"a\x00b\x1b[31mc\x7f\u0085":      "ab[31mc",
		"नि\u200dष \U0001f468\u200d\U0001f469": "नि\u200dष \U0001f468\u200d\U0001f469",
	} {
		if got := plain.Text(in); got != want {
			t.Errorf("%q became %q, not %q", in, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	for _, tt := range []struct {
		in    string
		limit int
		want  string
	}{
		{"  a\n b\u200b\t c ", 10, "a b c"}, {"größer", 3, "grö…"}, {"abc", 3, "abc"}, {"", 3, ""},
	} {
		if got := plain.Line(tt.in, tt.limit); got != tt.want {
			t.Errorf("%q became %q, not %q", tt.in, got, tt.want)
		}
	}
}
