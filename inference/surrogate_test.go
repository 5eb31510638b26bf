package inference

import "testing"

func TestHalfSurrogate(t *testing.T) {
	for text, want := range map[string]rune{
		``: 0, `"plain"`: 0, `"\n\\"`: 0, `"\u00e9"`: 0, `"\ud83c\udfe0"`: 0, `"\uD83C\uDFE0 and \ud83c\udfe0"`: 0,
		`"\ud83c"`: 0xd83c, `"\udfe0"`: 0xdfe0, `"\ud83c\u0041"`: 0xd83c, `"\ud83c\ud83c\udfe0"`: 0xd83c, `"a\ud83cb\udfe0"`: 0xd83c,
		`"\\ud83c"`: 0, `"\\\ud83c"`: 0xd83c, `"\ud83`: 0, `"\`: 0, `"\ud83c\`: 0xd83c, `"\uzzzz\udc00"`: 0xdc00,
	} {
		if got, found := HalfSurrogate([]byte(text)); got != want || found != (want != 0) {
			t.Errorf("%s: %04X %v, want %04X", text, got, found, want)
		}
	}
}
